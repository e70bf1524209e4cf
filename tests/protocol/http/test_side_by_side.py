from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from protocol.http.side_by_side import Numbered, fold_each, side_by_side
from protocol.model import Exchange, Finish, RateLimited, Served, Text, UpstreamFailed, Usage, Waiting


def finish(tokens):
    return Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=tokens))


class Turns:
    """Opens turns with the events of a test; a `Text` waits until all turns are open."""

    def __init__(self, *turns):
        self._turns = turns
        self.open, self.closed, self.all_open = 0, 0, anyio.Event()
        self.openings = [partial(self._opened, index) for index in range(len(turns))]

    @asynccontextmanager
    async def _opened(self, index):
        async def events():
            for event in self._turns[index]:
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, Text):
                    await self.all_open.wait()
                yield event

        if isinstance(self._turns[index][0], RateLimited):
            raise self._turns[index][0]
        self.open += 1
        if self.open == len(self._turns):
            self.all_open.set()
        try:
            yield Exchange(lambda: Served(transport="t", account=f"a{index}"), events())
        finally:
            self.closed += 1


async def test_turns_run_at_once_and_each_event_has_the_number_of_its_turn():
    turns = Turns(*([Waiting(), Text(text=f"{n}"), Text(text="!"), finish(n)] for n in range(8)))
    async with side_by_side(turns.openings) as steps:
        assert steps.served.account.startswith("a")
        found = [step async for step in steps]
    for n in range(8):
        assert [step.event for step in found if step.index == n] == [Text(text=f"{n}"), Text(text="!"), finish(n)]
    assert [step.usage for step in found if step.index == 3] == [None, None, finish(3).usage]
    assert turns.closed == 8


async def test_whole_answers_are_in_order_and_their_usage_is_summed():
    turns = Turns([Text(text="a"), finish(2)], [Text(text="b"), Text(text="c"), finish(3)])
    async with side_by_side(turns.openings) as steps:
        folded = await fold_each(steps)
    assert [reply.text for reply in folded.replies] == ["a", "bc"]
    assert folded.usage == Usage(input_tokens=2, output_tokens=5)


async def test_a_refusal_before_the_first_event_is_raised_when_the_turns_are_opened():
    turns = Turns([Text(text="a"), finish(1)], [RateLimited("no")])
    with pytest.raises(RateLimited):
        async with side_by_side(turns.openings):
            pytest.fail("a turn was refused")
    assert turns.closed == turns.open


async def test_an_answer_that_breaks_off_ends_all_turns():
    turns = Turns([Text(text="a"), *[Text(text="x")] * 1000, finish(1)], [Text(text="b"), UpstreamFailed("broken")])
    seen = []
    with pytest.raises(UpstreamFailed, match="broken"):
        async with side_by_side(turns.openings) as steps:
            async for step in steps:
                seen.append(step)
    assert Numbered(1, Text(text="b")) in seen
    assert turns.closed == 2


async def test_turns_end_when_their_reader_leaves():
    turns = Turns([Text(text="a"), *[Text(text="x")] * 1000, finish(1)], [Text(text="b"), finish(1)])
    async with side_by_side(turns.openings) as steps:
        await anext(aiter(steps))
    assert turns.closed == 2
