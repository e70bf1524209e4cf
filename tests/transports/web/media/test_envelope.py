import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import is_iso_media
from transports.simulator.media import enveloped
from transports.web.media.envelope import find_film

FILM = b"\x00\x00\x00\x18ftypisom" + b"\x00" * 100


@given(st.binary(max_size=400))
def test_a_video_is_found_in_its_envelope_with_its_length(more):
    film = FILM + more
    envelope = enveloped(film)
    for head in (envelope, envelope[: len(envelope) - len(more) - 50]):
        found = find_film(head, len(envelope))
        assert envelope[found.start : found.start + found.length] == film


@given(st.binary(max_size=300), st.none() | st.integers(0, 400))
def test_no_bytes_cause_reads_out_of_bounds(data, total):
    found = find_film(data, total)
    if found is not None:
        assert is_iso_media(data, found.start)
        assert total is None or found.start + found.length <= total


@pytest.mark.parametrize("claimed", [1 << 20, (1 << 63) - 1])
def test_a_field_longer_than_its_message_is_ignored(claimed):
    length = b""
    while claimed > 0x7F:
        length += bytes([claimed & 0x7F | 0x80])
        claimed >>= 7
    envelope = b"\x0a" + length + bytes([claimed]) + FILM
    assert find_film(envelope, len(envelope)) is None
    assert find_film(b"\x0a\xff" * 40, 80) is None
