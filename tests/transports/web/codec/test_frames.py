from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.model import DriftDetected
from transports.simulator import encode
from transports.web.codec.frames import FrameParser, utf16_units

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
    body = encode.PREFIX + b"".join(encode.frame(["x", text]) for text in texts)
    whole, parser = parsed(body)
    assert len(whole) == len(texts)
    assert not parser.in_frame
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=20))
    assert parsed(body, cuts)[0] == whole


def test_every_split_point_of_a_capture_gives_the_same_frames():
    body = encode.PREFIX + encode.frame(["é😀", "\u2028"]) + encode.frame(["你好", "x" * 50]) + encode.end(7)
    whole, _ = parsed(body)
    for cut in range(len(body)):
        assert parsed(body, [cut])[0] == whole


@pytest.mark.parametrize("body", [encode.PREFIX + encode.frame(["é"]), encode.frame(["é"])], ids=["prefix", "none"])
def test_a_byte_order_mark_is_skipped(body):
    marked = b"\xef\xbb\xbf" + body
    for cut in range(len(marked)):
        assert parsed(marked, [cut])[0] == ['\n[["é"]]\n'.encode()]


def test_frames_before_a_broken_character_are_read_for_any_cut():
    body = encode.PREFIX + encode.frame(["é"]) + encode.frame(["x"])
    for cut in range(len(body) + 2):
        parser, frames = FrameParser(1 << 20), []
        with pytest.raises(DriftDetected):
            for piece in (body[:cut], (body + b"\xff\xff")[cut:]):
                frames += parser.feed(piece)
        assert frames == ['\n[["é"]]\n'.encode(), b'\n[["x"]]\n']


def test_lengths_count_utf16_code_units():
    assert [utf16_units(text.encode()) for text in ("abc", "é", "你", "😀", "a😀é")] == [3, 1, 1, 2, 4]


@given(st.text(), st.integers(0, 300))
@example("é你😀\U0010ffff", 3)
def test_code_units_are_counted_for_any_cut_of_the_bytes(text, cut):
    data = text.encode()
    units = len(text.encode("utf-16-le")) // 2
    assert utf16_units(data) == units
    assert utf16_units(data[:cut]) + utf16_units(data[cut:]) == units


@pytest.mark.parametrize(
    "body",
    [
        b"no prefix at all, and no length either, just words",
        b")]}'\n\n-5\n[]\n",
        b")]}'\n\n0\n[]\n",
        b")]}'\n\n999999999999\n[]\n",
        b")]}'\n\nabc\n[]\n",
        b")]}'\n\n3\n[1]\nxx\n",
        b"\xff\xfe\x00",
    ],
)
def test_bytes_in_another_format_are_reported_as_drift(body):
    with pytest.raises(DriftDetected):
        parsed(body)


def test_a_frame_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(DriftDetected):
        parsed(b")]}'\n\n101\n", max_frame=100)


FRAMES = ["[1]", '["é😀"]', '["你好"]', "[]"]


def framed(lengths, frames=FRAMES, end="\n"):
    pieces = [f"{length}\n{frame}\n" for length, frame in zip(lengths, frames, strict=True)]
    return (")]}'\n\n" + "".join(pieces).removesuffix("\n") + end).encode()


@given(st.lists(st.integers(1, 60), min_size=4, max_size=4), st.sampled_from(["", "\n"]), st.data())
def test_wrong_lengths_lose_no_frame_if_the_lines_are_complete(lengths, end, data):
    body = framed(lengths, end=end)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    frames, parser = parsed(body, cuts)
    assert [frame.decode().strip() for frame in [*frames, *parser.end()]] == FRAMES
    assert not parser.in_frame


@pytest.mark.parametrize("body", [b"5\n[1]\n", b"[1]\n", b")]}'\n[1]", b"\n\n[1]\n"])
def test_frames_are_read_without_prefix_or_lengths(body):
    for cut in range(len(body)):
        frames, parser = parsed(body, [cut])
        assert [frame.decode().strip() for frame in [*frames, *parser.end()]] == ["[1]"]


def test_the_last_newline_may_be_missing():
    body = encode.PREFIX + encode.frame(["x"]) + encode.frame(["é"])
    frames, parser = parsed(body[:-1])
    assert len([*frames, *parser.end()]) == 2
    assert not parser.in_frame


@given(st.integers(1, 20))
def test_a_truncated_frame_is_not_returned(missing):
    body = encode.PREFIX + encode.frame(["x" * 30])
    frames, parser = parsed(body[: -1 - missing])
    assert [*frames, *parser.end()] == []
    assert parser.in_frame


def test_an_incomplete_frame_is_detected():
    _, parser = parsed(encode.PREFIX + encode.frame(["x"])[:-3])
    assert parser.in_frame
