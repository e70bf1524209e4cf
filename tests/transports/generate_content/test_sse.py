"""Server-sent events, cut anywhere."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import UpstreamFailed
from transports.generate_content import wire
from transports.generate_content.answer_events import ChunkReader, new_call_ids
from transports.generate_content.sse import SseReader, SseTooLong

LINES = st.lists(st.sampled_from(["a", "bé", '{"x":1}', " blank", ""]), min_size=1, max_size=3)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(st.lists(LINES, max_size=6), ENDS, st.data())
def test_events_are_the_same_however_the_bytes_are_cut(events, end, data):
    text = "".join(
        f": comment{end}event: x{end}" + "".join(f"data: {line}{end}" for line in lines) + end for lines in events
    ).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    reader, found = SseReader(1000), []
    for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
        found += reader.feed(text[start:stop])
    assert found + reader.end() == [joined for lines in events if (joined := "\n".join(lines).encode())]


def test_an_empty_piece_does_not_part_a_line_end():
    reader = SseReader(100)
    pieces = [b"data:1\r", b"", b"\ndata:2\r\n\r\n"]
    assert [found for piece in pieces for found in reader.feed(piece)] == [b"1\n2"]


def test_an_event_at_the_end_of_the_stream_needs_no_blank_line():
    reader = SseReader(100)
    assert reader.feed(b"data:1\n") == []
    assert reader.end() == [b"1"]


def test_a_byte_order_mark_is_left_out_of_the_first_line():
    reader = SseReader(100)
    assert [data for piece in (b"\xef", b"\xbb\xbfdata: 1\n\n") for data in reader.feed(piece)] == [b"1"]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_lines_outside_of_events_are_kept_up_to_a_limit(end):
    reader = SseReader(1 << 20)
    page = f'<html>\r\n{{"error": {{}}}}{end}'.encode()
    assert [data for at in range(len(page)) for data in reader.feed(page[at : at + 1])] + reader.end() == []
    assert bytes(reader.other) == b'<html>\n{"error": {}}\n'
    reader.feed(b"x" * 100_000 + b"\n")
    assert len(reader.other) < 100


def test_half_an_event_is_none():
    reader = SseReader(100)
    assert reader.feed(b"data: 1\n\ndata: 2") == [b"1"]
    assert reader.end() == []
    assert not reader.other


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 50, b"data: 12345678901\n" * 2])
def test_an_event_that_is_too_long_is_refused(piece):
    reader = SseReader(20)
    with pytest.raises(SseTooLong):
        for _ in range(3):
            reader.feed(piece)


CHUNKS = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "Hm.", "thought": True}]}}]},
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "Grüße 你好 😀\r\n"}]}}]},
    {"candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": "é"}}}]}}]},
    {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 1}},
]
RECORDED = "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\n" for chunk in CHUNKS).encode()


def events_of(*pieces):
    sse, reader = SseReader(10_000), ChunkReader(lambda _: None, new_call_ids("c"))
    datas = [data for piece in pieces for data in sse.feed(piece)] + sse.end()
    return [event for data in datas for event in reader.read(wire.decode_response(data))] + list(reader.end())


def test_an_answer_is_the_same_wherever_its_bytes_are_cut():
    whole = events_of(RECORDED)
    assert len(whole) == 5
    for place in range(len(RECORDED) + 1):
        assert events_of(RECORDED[:place], RECORDED[place:]) == whole
    assert events_of(*(RECORDED[place : place + 1] for place in range(len(RECORDED)))) == whole


@pytest.mark.parametrize("end", [0, 10, 100, len(RECORDED) // 2, len(RECORDED) - 40])
def test_an_answer_that_is_cut_off_is_an_error(end):
    with pytest.raises((msgspec.DecodeError, UpstreamFailed)):
        events_of(RECORDED[:end])
