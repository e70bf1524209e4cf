from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import DriftDetected
from transports.simulator import emit
from transports.web.frames import FrameParser, utf16_length

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def parsed(data, cuts=(), max_frame=1 << 20):
    parser = FrameParser(max_frame)
    edges = [0, *sorted(cuts), len(data)]
    frames = []
    for start, end in pairwise(edges):
        frames += parser.feed(data[start:end])
    return frames, parser


@given(st.lists(TEXTS, max_size=5), st.data())
def test_any_chunking_gives_the_same_frames(texts, data):
    body = emit.PREFIX + b"".join(emit.frame(["x", text]) for text in texts)
    whole, parser = parsed(body)
    assert len(whole) == len(texts)
    assert not parser.inside
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=20))
    assert parsed(body, cuts)[0] == whole


def test_every_split_point_of_a_capture_gives_the_same_frames():
    body = emit.PREFIX + emit.frame(["é😀", "\u2028"]) + emit.frame(["你好", "x" * 50]) + emit.end(7)
    whole, _ = parsed(body)
    for cut in range(len(body)):
        assert parsed(body, [cut])[0] == whole


def test_lengths_count_utf16_code_units():
    assert [utf16_length(text) for text in ("abc", "é", "你", "😀", "a😀é")] == [3, 1, 1, 2, 4]


@pytest.mark.parametrize(
    "body",
    [
        b"no prefix at all, and no length either, just words",
        b")]}'\n\n-5\n[]\n",
        b")]}'\n\n0\n[]\n",
        b")]}'\n\n999999999999\n[]\n",
        b")]}'\n\nabc\n[]\n",
        b")]}'\n\n3\n[1]\n",
        b")]}'\n\n6\n[1]\nxx",
        b"5\n[1]\n",
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_frame_is_drift(body):
    with pytest.raises(DriftDetected):
        parsed(body)


def test_a_frame_over_the_cap_is_refused_before_it_comes():
    with pytest.raises(DriftDetected):
        parsed(b")]}'\n\n101\n", max_frame=100)


def test_a_frame_that_ends_inside_a_character_is_drift():
    with pytest.raises(DriftDetected):
        parsed(b")]}'\n\n4\n[\xf0\x9f\x98\x80]\n" + b"x" * 9)


def test_an_unfinished_frame_shows():
    _, parser = parsed(emit.PREFIX + emit.frame(["x"])[:-3])
    assert parser.inside
