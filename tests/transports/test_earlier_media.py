"""Media of earlier answers as files, whichever transport has made them."""

from contextlib import asynccontextmanager

import pytest

from protocol.http.budget import ByteBudget
from protocol.http.spool import Files, Spool
from protocol.model import (
    Certainty,
    MediaKind,
    MediaRef,
    MediaUnavailable,
    Saturated,
    SignedOut,
    UpstreamFailed,
)
from transports import earlier_media
from transports.earlier_media import EarlierMedia, EarlierMediaGone

REF = MediaRef(transport="web", account="a", kind=MediaKind.IMAGE, url="https://site.test/1")
PICTURE = b"\x89PNG" * 1000


class Stream:
    mime, length, pieces = "image/png", len(PICTURE), 1

    async def __aiter__(self):
        for _ in range(self.pieces):
            yield PICTURE


def earlier(error=None):
    @asynccontextmanager
    async def open_media(ref):
        assert ref == REF
        if error is not None:
            raise error
        yield Stream()

    return EarlierMedia(open_media, Files(ByteBudget(), Spool()))


async def test_a_file_is_fetched():
    async with earlier().fetched(REF, "tester") as file:
        assert (file.data, file.mime, file.name) == (PICTURE, "image/png", "image")


async def test_a_long_file_is_fetched(monkeypatch):
    monkeypatch.setattr(Stream, "length", 4_000_000)
    monkeypatch.setattr(Stream, "pieces", 1000)
    async with earlier().fetched(REF, "tester") as file:
        assert file.loaded().data == 1000 * PICTURE


@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [
        (UpstreamFailed("x", code="media_gone"), EarlierMediaGone, "media_gone"),
        (SignedOut("x"), MediaUnavailable, "upstream_rejected"),
        (UpstreamFailed("x"), MediaUnavailable, "upstream_rejected"),
        (Saturated("x"), Saturated, "overloaded"),
    ],
)
async def test_the_error_says_whether_another_try_can_help(error, expected, code):
    with pytest.raises(expected) as caught:
        async with earlier(error).fetched(REF, "tester"):
            raise AssertionError("it was fetched")
    assert (caught.value.code, "canary" in caught.value.message) == (code, False)
    assert caught.value.certainty is not Certainty.MAYBE_ACCEPTED


async def test_a_file_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(earlier_media, "_LONGEST_MEDIA", 100)
    with pytest.raises(EarlierMediaGone, match="too long"):
        async with earlier().fetched(REF, "tester"):
            raise AssertionError("it was fetched")
