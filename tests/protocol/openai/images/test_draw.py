"""The turns that are requested for a number of pictures, and the handling of turns that fail."""

from contextlib import asynccontextmanager

import anyio
import pytest

from protocol.model import (
    Caller,
    Capability,
    Catalogue,
    Finish,
    GenerationRequest,
    Media,
    MediaKind,
    MediaRef,
    Refused,
    Role,
    Saturated,
    Served,
    SignedOut,
    Text,
    TextPart,
    Turn,
    UpstreamFailed,
    Usage,
)
from protocol.openai.images.draw import drawing

SELECTION = next(one for one in Catalogue.build().selections() if one.capability is Capability.IMAGEN)
ASKED = GenerationRequest(
    id="req_1",
    caller=Caller(id="me"),
    selection=SELECTION,
    turns=(Turn(role=Role.USER, parts=(TextPart(text="a fox"),)),),
)


class Exchange:
    served = Served(transport="t", account="a")

    def __init__(self, pictures, said, number):
        self._pictures, self._said, self._number = pictures, said, number

    async def __aiter__(self):
        yield Text(text=self._said)
        for index in range(self._pictures):
            url = f"https://pictures/{self._number}/{index}"
            yield Media(ref=MediaRef(transport="t", account="a", kind=MediaKind.IMAGE, url=url))
        yield Finish(reason="stop", usage=Usage(input_tokens=10, output_tokens=5))


class Engine:
    """Answers each turn with the next of `answers`: a count of pictures, words, or an error; an event is awaited."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.asked = []
        self.open_now = self.most_open = 0

    @asynccontextmanager
    async def open(self, request):
        self.asked.append(request)
        answer, number = self._answers.pop(0), len(self.asked)
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await anyio.lowlevel.checkpoint()
            if isinstance(answer, anyio.Event):
                await answer.wait()
                answer = 1
            if isinstance(answer, Exception):
                raise answer
            words = answer if isinstance(answer, str) else ""
            yield Exchange(0 if words else answer, words, number)
        finally:
            self.open_now -= 1


async def pictures(engine, n):
    async with drawing(engine, ASKED) as begun:
        return [one async for drawn in begun.pictures(n) for one in drawn]


async def test_one_turn_with_enough_pictures_is_the_only_one():
    engine = Engine(3)
    assert len(await pictures(engine, 3)) == 3
    assert len(engine.asked) == 1


async def test_missing_pictures_are_drawn_by_concurrent_turns_after_the_first():
    engine = Engine(1, 1, 1, 1)
    drawn = await pictures(engine, 4)
    assert len({one.media.ref.url for one in drawn}) == 4
    assert (len(engine.asked), engine.most_open, engine.open_now) == (4, 3, 0)
    assert sum(one.usage.output_tokens for one in drawn) == 20


async def test_surplus_pictures_are_dropped_and_usage_is_counted_once():
    engine = Engine(2, 4)
    drawn = await pictures(engine, 3)
    assert len(drawn) == 3
    assert sum(one.usage.input_tokens for one in drawn) == 20


async def test_a_refused_first_turn_is_raised():
    with pytest.raises(SignedOut):
        await pictures(Engine(SignedOut("nobody")), 2)


async def test_a_first_turn_without_pictures_quotes_the_answer_shortened():
    with pytest.raises(Refused) as caught:
        await pictures(Engine("I cannot draw that. " * 100), 2)
    assert caught.value.message.startswith(
        "The model drew no image for this prompt: change the prompt. It answered: I cannot draw that."
    )
    assert len(caught.value.message) < 600


async def test_a_concurrent_turn_that_was_refused_is_retried_once():
    engine = Engine(1, SignedOut("nobody"), 1, 1)
    assert len(await pictures(engine, 3)) == 3
    engine = Engine(1, "I would rather not.", 1)
    assert len(await pictures(engine, 2)) == 2


async def test_with_one_free_slot_pictures_are_drawn_one_by_one():
    full = [Saturated("no room") for _ in range(3)]
    engine = Engine(1, 1, *full[:2], 1, full[2], 1)
    assert len(await pictures(engine, 4)) == 4


async def test_a_concurrent_turn_that_fails_twice_fails_the_request():
    engine = Engine(1, SignedOut("nobody"), "No.")
    with pytest.raises(Refused):
        await pictures(engine, 2)
    assert len(engine.asked) == 3


async def test_a_concurrent_turn_that_may_be_running_is_not_retried():
    engine = Engine(1, UpstreamFailed("lost"), SignedOut("nobody"))
    with pytest.raises(UpstreamFailed):
        await pictures(engine, 3)
    assert len(engine.asked) == 3


async def test_pictures_of_each_turn_are_yielded_as_they_arrive():
    first, second = anyio.Event(), anyio.Event()
    engine = Engine(1, second, first)
    async with drawing(engine, ASKED) as begun:
        turns = aiter(begun.pictures(3))
        [one] = await anext(turns)
        await anyio.wait_all_tasks_blocked()
        assert (one.media.ref.url, engine.open_now) == ("https://pictures/1/0", 2)
        first.set()
        [two] = await anext(turns)
        assert two.media.ref.url == "https://pictures/3/0"
        second.set()
        [three] = await anext(turns)
        assert three.media.ref.url == "https://pictures/2/0"
        with pytest.raises(StopAsyncIteration):
            await anext(turns)


async def test_delivered_pictures_are_kept_when_the_rest_fails():
    engine, given = Engine(1, 1, UpstreamFailed("lost")), []
    with pytest.raises(UpstreamFailed):
        async with drawing(engine, ASKED) as begun:
            async for drawn in begun.pictures(3):
                given += drawn
    assert len(given) == 2


async def test_a_disconnect_ends_the_running_turns():
    engine = Engine(1, anyio.Event(), anyio.Event())
    async with drawing(engine, ASKED) as begun:
        async for _ in begun.pictures(3):
            await anyio.wait_all_tasks_blocked()
            break
    assert (len(engine.asked), engine.open_now) == (3, 0)
