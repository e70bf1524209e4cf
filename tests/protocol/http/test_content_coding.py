"""Encoded bodies, made by the standard library, Brotli's own encoder and Zstandard's."""

import gzip
import random
import zlib

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.http import content_coding
from protocol.http.content_coding import Decoding, codings_of
from protocol.http.errors import HttpError

TEXT = b'{"model": "gemini-3-pro"}' * 40_000
NOISE = random.Random(7).randbytes(300_000)
MIB = 1024 * 1024


def raw_deflate(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


ENCODERS = {
    "gzip": [gzip.compress, lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])],
    "x-gzip": [gzip.compress],
    "deflate": [zlib.compress, raw_deflate],
    "br": [lambda data: brotli.compress(data, quality=4)],
    "zstd": [zstd.compress, lambda data: zstd.compress(data[:9]) + zstd.compress(data[9:])],
}
ALL = [(name, encode) for name, encoders in ENCODERS.items() for encode in encoders]


class Sender:
    """Sends a body in pieces of `size` bytes and counts what was taken."""

    def __init__(self, body, size):
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        self.taken = 0

    async def receive(self):
        piece = self._pieces[self.taken]
        self.taken += 1
        return {"type": "http.request", "body": piece, "more_body": self.taken < len(self._pieces)}


async def decoded(body, *codings, size=64 * 1024, most=30 * MIB):
    decoding = Decoding(Sender(body, size).receive, list(codings), most)
    pieces, more = [], True
    while more:
        message = await decoding.receive()
        pieces.append(message["body"])
        more = message["more_body"]
    assert max(map(len, pieces)) <= 2 * content_coding._SLICE_BYTES
    return b"".join(pieces)


async def status_of(body, *codings, **options):
    with pytest.raises(HttpError) as caught:
        await decoded(body, *codings, **options)
    return caught.value.status


@pytest.mark.parametrize("size", [1000, 64 * 1024, 10**9])
@pytest.mark.parametrize("data", [b"", b"{}", TEXT, NOISE], ids=["nothing", "little", "text", "noise"])
@pytest.mark.parametrize(("name", "encode"), ALL)
async def test_what_was_encoded_is_decoded(name, encode, data, size):
    assert await decoded(encode(data), name, size=size) == data


@pytest.mark.parametrize(("name", "encode"), ALL)
async def test_a_body_byte_for_byte_is_decoded(name, encode):
    assert await decoded(encode(TEXT[:100]), name, size=1) == TEXT[:100]


async def test_stacked_codings_are_removed_from_the_last_to_the_first():
    packed = zstd.compress(brotli.compress(gzip.compress(TEXT)))
    assert await decoded(packed, "gzip", "br", "zstd") == TEXT
    assert await status_of(packed, "zstd", "br", "gzip") == 400


@pytest.mark.parametrize(("name", "encode"), ALL)
async def test_damage_a_cut_and_bytes_behind_the_end_are_refused(name, encode):
    packed = encode(NOISE)
    for body in (
        packed[:-1],
        packed[: len(packed) // 2],
        packed[:1],
        packed + b"\0",
        packed + b"junk",
        b"junk" + packed,
    ):
        assert await status_of(body, name) == 400


async def test_an_empty_body_needs_no_decoding():
    assert await decoded(b"", "gzip") == b""


@pytest.mark.parametrize(("name", "encode"), ALL)
async def test_a_body_that_expands_too_much_is_refused_after_little_work(name, encode):
    packed = encode(bytes(8 * MIB))
    decoding = Decoding(Sender(packed, 64 * 1024).receive, [name], 30 * MIB)
    seen = 0
    with pytest.raises(HttpError) as caught:
        while True:
            seen += len((await decoding.receive())["body"])
    assert caught.value.status == 413
    assert seen <= 1.1 * MIB + 200 * len(packed)


async def test_a_coding_that_expands_into_another_that_returns_nothing_is_refused():
    empty_blocks = b"\0\0\0\xff\xff" * MIB  # stored blocks of raw deflate without a byte
    assert await status_of(brotli.compress(empty_blocks, quality=1), "deflate", "br") == 413


async def test_the_number_of_members_is_limited():
    assert await decoded(gzip.compress(b"a") * 64, "gzip") == b"a" * 64
    assert await status_of(gzip.compress(b"") * 65, "gzip") == 400


async def test_encoded_bytes_are_limited_as_those_of_any_body():
    assert await status_of(gzip.compress(NOISE), "gzip", most=200_000) == 413


async def test_a_window_of_zstandard_is_limited():
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    assert await status_of(packer.compress(TEXT) + packer.flush(), "zstd") == 400


@pytest.mark.parametrize(
    ("values", "codings"),
    [
        ([], []),
        (["identity"], []),
        ([""], []),
        (["GZIP"], ["gzip"]),
        ([" x-gzip , identity"], ["x-gzip"]),
        (["gzip, br"], ["gzip", "br"]),
        (["gzip", "zstd,"], ["gzip", "zstd"]),
    ],
)
def test_codings_are_read_from_all_headers(values, codings):
    assert codings_of([(b"content-encoding", value.encode()) for value in values]) == codings


@pytest.mark.parametrize("value", ["compress", "gzip;q=1", "aws-chunked", "gzip, rot13", "br, br, br, br", "*"])
def test_other_codings_are_refused_with_those_that_are_accepted(value):
    with pytest.raises(HttpError) as caught:
        codings_of([(b"content-encoding", value.encode())])
    assert (caught.value.status, caught.value.headers) == (415, {"Accept-Encoding": "gzip, deflate, br, zstd"})


@settings(max_examples=60)
@given(data=st.binary(max_size=300), name=st.sampled_from(list(ENCODERS)), size=st.integers(1, 70))
async def test_any_bytes_are_decoded_or_refused(data, name, size):
    for body in (data, ENCODERS[name][0](data)):
        try:
            assert await decoded(body, name, size=size) == data or body is data
        except HttpError:
            assert body is data
