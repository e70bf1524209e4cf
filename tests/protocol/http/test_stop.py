from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.http.stop import Bounds, Cutter, bounded, cut
from protocol.model import (
    Document,
    Exchange,
    Finish,
    Media,
    MediaKind,
    MediaRef,
    Rewritten,
    Served,
    Text,
    Thought,
    UpstreamEnd,
    Usage,
    WebImage,
    estimate_tokens,
)

USAGE = Usage(input_tokens=1, output_tokens=9)
END = Finish(reason="stop", usage=USAGE, upstream=UpstreamEnd("SPII", "Blocked."))
PIECES = st.lists(st.text(st.sampled_from("abS"), max_size=6), max_size=12)
STOPS = st.lists(st.text(st.sampled_from("abS"), min_size=1, max_size=4), min_size=1, max_size=4)


@given(PIECES, STOPS)
def test_the_text_ends_before_the_first_stop_for_any_split(pieces, stops):
    cutter = Cutter(tuple(stops))
    said = ""
    for piece in pieces:
        said += cutter.push(piece)
        if cutter.found:
            break
    else:
        said += cutter.rest()
    whole = "".join(pieces)
    places = [whole.find(stop) for stop in stops if stop in whole]
    if not places:
        assert not cutter.found
        assert said == whole
    else:
        assert cutter.found in stops
        assert whole[len(said) :].startswith(cutter.found)
        assert whole.startswith(said)
        assert any(whole[len(said) :].startswith(stop) for stop in stops)
        assert all(stop not in said for stop in stops)


async def events(*given):
    for event in given:
        yield event


async def test_an_answer_without_the_stop_is_unchanged():
    usage = Usage(input_tokens=1, output_tokens=1)
    given = [Thought(text="hm"), Text(text="one S"), Finish(reason="stop", usage=usage)]
    got = [event async for event in cut(events(*given), Bounds(stops=("STOP",)))]
    assert "".join(event.text for event in got if isinstance(event, Text)) == "one S"
    assert got[-1] == given[-1]


async def test_an_answer_cut_at_a_stop_has_its_own_usage():
    given = [Text(text="one ST"), Text(text="OP two"), Thought(text="hm"), Text(text="never"), END]
    got = [event async for event in cut(events(*given), Bounds(stops=("STOP",)))]
    assert "".join(event.text for event in got if isinstance(event, Text)) == "one "
    assert got[-1] == Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1), stop_sequence="STOP")


@given(PIECES, STOPS)
def test_the_end_does_not_depend_on_how_the_text_is_split(pieces, stops):
    assert said_of(pieces, stops) == said_of(list("".join(pieces)), stops)


def said_of(pieces, stops):
    cutter = Cutter(tuple(stops))
    said = ""
    for piece in pieces:
        said += cutter.push(piece)
        if cutter.found:
            return said
    return said + cutter.rest()


class Counted(str):
    """A text that counts how often its characters are looked at."""

    __slots__ = ()

    looks = 0

    def __getitem__(self, place):
        type(self).looks += 1
        return super().__getitem__(place)


def test_a_repetitive_stop_is_searched_in_linear_time():
    Counted.looks = 0
    cutter = Cutter((Counted("a" * 50_000 + "b"),))
    for _ in range(100):
        assert cutter.push("a" * 999 + "c") == "a" * 999 + "c"
    assert 0 < Counted.looks < 10 * 100_000


@given(st.lists(st.text(max_size=6), max_size=12), st.integers(1, 12))
async def test_the_token_limit_cuts_the_text(pieces, tokens):
    usage = Usage(input_tokens=1, output_tokens=1)
    given_events = [
        Thought(text="hm " * 50),
        *(Text(text=piece) for piece in pieces),
        Finish(reason="stop", usage=usage),
    ]
    got = [event async for event in cut(events(*given_events), Bounds(tokens=tokens))]
    whole = "".join(pieces)
    said = "".join(event.text for event in got if isinstance(event, Text))
    assert whole.startswith(said)
    if estimate_tokens(whole) <= tokens:
        assert (said, got[-1]) == (whole, given_events[-1])
    else:
        assert said
        assert estimate_tokens(said) <= tokens
        assert got[-1].reason == "length"
        assert got[-1].usage.output_tokens - got[-1].usage.reasoning_tokens == estimate_tokens(said)


async def test_the_first_limit_reached_ends_the_answer():
    given_events = [Text(text="one two "), Text(text="three STOP"), Text(text=" four"), END]
    for tokens, reason, text in (
        (1, "length", "one two"),
        (2, "length", "one two three"),
        (9, "stop", "one two three "),
    ):
        got = [event async for event in cut(events(*given_events), Bounds(stops=("STOP",), tokens=tokens))]
        assert ("".join(event.text for event in got[:-1]), got[-1].reason) == (text, reason)


async def test_what_the_upstream_made_comes_after_the_words_have_ended():
    ref = MediaRef(transport="t", account="a", kind=MediaKind.VIDEO, url="https://x")
    made = [Media(ref=ref), WebImage(url="https://x/1.jpg"), Document(title="t", kind="html"), Media(ref=ref)]
    for bounds, reason, said in ((Bounds(stops=("STOP",)), "stop", "one "), (Bounds(tokens=1), "length", "one ST")):
        given_events = [Text(text="one STOP two"), made[0], Text(text="three"), *made[1:], END]
        got = [event async for event in cut(events(*given_events), bounds)]
        assert got[0] == Text(text=said)
        assert got[1:-1] == made
        assert (got[-1].reason, got[-1].usage.output_tokens) == (reason, 1)


async def test_a_rewritten_answer_is_cut_in_its_final_form():
    image = WebImage(url="https://x/1.jpg")
    whole = Rewritten(pieces=(Text("one ST"), Text("OP two"), image), thoughts="hm", usage=USAGE)
    finish = Finish(reason="stop", usage=USAGE, rewritten=whole)
    stop = [event async for event in cut(events(Text("another"), finish), Bounds(stops=("STOP",)))]
    assert stop[0] == Text("another")
    assert (stop[-1].reason, stop[-1].usage) == ("stop", USAGE)
    assert stop[-1].rewritten.pieces == (Text("one "), image)
    assert stop[-1].rewritten.reason == "stop"
    (*_, short) = [event async for event in cut(events(finish), Bounds(tokens=1))]
    assert (short.rewritten.pieces, short.rewritten.reason) == ((Text("one ST"), image), "length")
    assert (short.rewritten.usage.output_tokens, short.rewritten.usage.reasoning_tokens) == (2, 1)
    (*_, same) = [event async for event in cut(events(finish), Bounds())]
    assert same.rewritten == whole


class Engine:
    def __init__(self, *applied):
        self._served = Served(transport="t", account="a", applied=frozenset(applied), counts=True)

    @asynccontextmanager
    async def open(self, _request):
        yield Exchange(lambda: self._served, events(Text(text="one two three"), END))


@pytest.mark.parametrize(
    ("applied", "text", "counts"),
    [((), "one ", False), (("stops",), "one two", False), (("max_tokens",), "one ", False),
     (("stops", "max_tokens"), "one two three", True)],
)  # fmt: skip
async def test_only_what_the_upstream_has_not_applied_is_cut(applied, text, counts):
    bounds = Bounds(stops=("two",), tokens=1)
    async with bounded(Engine(*applied), None, bounds) as exchange:
        got = [event.text async for event in exchange if isinstance(event, Text)]
    assert ("".join(got), exchange.served.counts) == (text, counts)
