from contextlib import asynccontextmanager

import pytest

from protocol.gemini.deliver import FetchedPicture, collect_answer, delivered
from protocol.http.side_by_side import Numbered
from protocol.model import (
    NO_USAGE,
    Declined,
    Exchange,
    Finish,
    Media,
    MediaKind,
    MediaRef,
    Refused,
    Served,
    Text,
    UpstreamFailed,
    Usage,
)

USAGE = Usage(input_tokens=1, output_tokens=2)
DONE = Finish(reason="stop", usage=USAGE)
REFUSED = [Declined("No."), Finish(reason="content_filter", usage=NO_USAGE)]


def media(kind):
    return Media(ref=MediaRef(transport="t", account="a", kind=kind, url=f"https://x.example/{kind}"))


IMAGE, FILM = media(MediaKind.IMAGE), media(MediaKind.VIDEO)


async def fetch(one):
    return FetchedPicture(content=one.ref.url.encode(), mime="image/png", ref=one.ref)


@asynccontextmanager
async def opening(*events, refusal=None):
    if refusal is not None:
        raise refusal

    async def each():
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event

    yield Exchange(lambda: Served(transport="t", account="a"), each())


async def steps(exchange, context, fetch=None):
    async with delivered(exchange, context, fetch) as opened:
        return opened.served, [step async for step in opened]


async def test_pictures_of_a_stream_come_with_their_bytes(context):
    served, found = await steps(opening(Text("a"), IMAGE, FILM, DONE), context, fetch)
    assert served.transport == "t"
    assert found == [Text("a"), await fetch(IMAGE), FILM, DONE]


async def test_candidates_keep_their_numbers(context):
    turns = [Numbered(1, IMAGE), Numbered(0, Text("a")), Numbered(0, DONE), Numbered(1, DONE)]
    assert (await steps(opening(*turns), context, fetch))[1] == [Numbered(1, await fetch(IMAGE)), *turns[1:]]
    async with delivered(opening(*turns), context) as opened:
        whole = await collect_answer(fetch, opened)
    assert [reply.text for reply in whole.replies] == ["a", ""]
    assert (list(whole.pictures), whole.usage) == ([IMAGE.ref], USAGE + USAGE)


async def test_without_a_fetcher_pictures_stay(context):
    assert (await steps(opening(IMAGE, DONE), context))[1] == [IMAGE, DONE]


@pytest.mark.parametrize("exchange", [{"refusal": Refused("No.")}, {"events": [Refused("No.")]}])
async def test_a_refused_prompt_is_an_answer(context, exchange):
    opened = opening(*exchange.get("events", ()), refusal=exchange.get("refusal"))
    assert (await steps(opened, context))[1] == REFUSED
    assert context.record.error == "content_filter"


async def test_other_errors_stay_errors(context):
    for exchange in (opening(refusal=UpstreamFailed("x")), opening(UpstreamFailed("x"))):
        with pytest.raises(UpstreamFailed):
            await steps(exchange, context)


async def test_the_pictures_of_a_whole_answer_are_fetched_once_each(context):
    fetched = []

    async def counting(one):
        fetched.append(one)
        return await fetch(one)

    async with delivered(opening(Text("a"), IMAGE, IMAGE, FILM, DONE), context) as opened:
        whole = await collect_answer(counting, opened)
    assert fetched == [IMAGE]
    assert whole.pictures == {IMAGE.ref: await fetch(IMAGE)}
    assert (whole.usage, whole.replies[0].text) == (USAGE, "a")
    assert "bytes" not in repr(whole.pictures[IMAGE.ref])
