"""Server-sent events, cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_an_event_at_the_end_of_the_stream_needs_no_blank_line():
    reader = SseReader(100)
    assert reader.feed(b"data:1\n") == []
    assert reader.end() == [b"1"]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 50, b"data: 12345678901\n" * 2])
def test_an_event_that_is_too_long_is_refused(piece):
    reader = SseReader(20)
    with pytest.raises(SseTooLong):
        for _ in range(3):
            reader.feed(piece)
