"""Streams that are cut at every byte, and resumed after the last whole event."""

import json
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from protocol.model import Thought, UpstreamFailed, Waiting
from transports.api.interaction_follower import InteractionFollower, Polling, Progress

EVENTS = [
    {"event_type": "interaction.created", "interaction": {"id": "v1_x", "status": "queued"}},
    {"event_type": "step.start", "index": 0, "step": {"type": "thought"}},
    *(
        {"event_type": "step.delta", "index": 0, "delta": {"type": "thought_summary", "content": {"text": text}}}
        for text in ("Größe", "😀", "done")
    ),
    {"event_type": "interaction.completed", "interaction": {"id": "v1_x", "status": "completed"}},
]


def frame_of(number, event):
    data = json.dumps(event | {"event_id": f"ev-{number}"}, ensure_ascii=False)
    return f"event: {event['event_type']}\r\ndata: {data}\r\n\r\n".encode()


FRAMES = [frame_of(number, event) for number, event in enumerate(EVENTS)]


class QuickClock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds


class CutApi:
    """Cuts the first stream after some bytes, by an end or an error; the next one is whole."""

    def __init__(self, cut, error=None, cuts=1):
        self.cut, self.error, self.cuts, self.asked = cut, error, cuts, []

    @asynccontextmanager
    async def download(self, path):
        query = parse_qs(urlsplit(path).query)
        self.asked.append(query.get("last_event_id", [""])[0])
        first = int(self.asked[-1].removeprefix("ev-")) + 1 if self.asked[-1] else 0
        whole = b"".join(FRAMES[first:]) + b"event: done\ndata: [DONE]\n\n"
        cut = len(self.asked) <= self.cuts
        yield iter([whole[: self.cut] if cut else whole, self.error if cut else b""])

    async def next_piece(self, response, seconds):
        piece = next(response)
        if piece is None:
            raise UpstreamFailed("The connection broke.")
        return piece


async def followed(api):
    clock = QuickClock()
    follower = InteractionFollower(api, "v1_x", Progress(clock, 20.0), Polling(clock, 5.0))
    return [event async for event in follower.events()]


@pytest.mark.parametrize("error", [b"", None])
async def test_a_stream_that_is_cut_anywhere_shows_each_thought_once(error):
    for cut in range(len(b"".join(FRAMES))):
        events = await followed(CutApi(cut, error))
        assert [event.text for event in events if isinstance(event, Thought)] == ["Größe\n", "😀\n", "done\n"]


async def test_a_stream_is_resumed_after_the_last_whole_event():
    api = CutApi(len(b"".join(FRAMES[:3])) + 20)
    await followed(api)
    assert api.asked == ["", "ev-2"]


async def test_a_stream_that_only_breaks_is_given_up_with_signs_of_life():
    api = CutApi(10, None, cuts=100)
    events = await followed(api)
    assert len(api.asked) == len(events) == 5
    assert isinstance(events[0], Waiting)
    assert any(isinstance(event, Thought) for event in events)  # 20 seconds are over


def test_thoughts_that_were_shown_are_not_shown_again():
    progress = Progress(QuickClock(), 20.0)
    assert [event.text for event in progress.news(["a"])] == ["a\n"]
    assert [event.text for event in progress.thoughts(["a", "b"])] == ["b\n"]
