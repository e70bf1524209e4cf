"""Files of a request: within it, uploaded, or fetched from where an earlier answer left them."""

from contextlib import asynccontextmanager

import msgspec
import pytest

from protocol.http.budget import ByteBudget
from protocol.http.spool import Files, Spool
from protocol.model import Certainty, Disconnected, FilePart, MediaKind, MediaPart, MediaRef, Role, Turn
from tests.transports.conftest import request_for
from transports.earlier_media import EarlierMedia
from transports.generate_content import wire
from transports.generate_content.request_files import RequestFiles

REF = MediaRef(transport="web", account="a", kind=MediaKind.IMAGE, url="https://site.test/1")
PICTURE = b"\x89PNG" * 1000


class Stream:
    mime, length = "image/png", len(PICTURE)

    async def __aiter__(self):
        yield PICTURE


@asynccontextmanager
async def fetch(ref):
    assert ref == REF
    yield Stream()


def request_files(keeper):
    return RequestFiles(EarlierMedia(fetch, keeper), keeper)


class Uploads:
    def __init__(self, inline_bytes):
        self.inline_bytes, self.brought = inline_bytes, []

    async def bring(self, file):
        self.brought.append(file.size)
        return wire.FileData("https://files.test/v1beta/files/a", file.mime)


def asking(*parts):
    return msgspec.structs.replace(request_for("?"), turns=(Turn(role=Role.USER, parts=parts),))


def file_of(size):
    return FilePart(data=bytes(size), mime="application/pdf", name="a.pdf")


async def test_the_shortest_files_stay_within_the_request():
    long, short, middle = file_of(400_000), file_of(10), file_of(300_000)
    uploads, budget = Uploads(300_010), ByteBudget()
    async with request_files(Files(budget, Spool())).taken(asking(long, short, middle), uploads) as files:
        assert files[id(long)].file_data == wire.FileData("https://files.test/v1beta/files/a", "application/pdf")
        assert [len(files[id(part)].inline_data.data) for part in (short, middle)] == [10, 300_000]
        assert budget.used == 3 * 300_010
    assert (uploads.brought, budget.used) == ([400_000], 0)


async def test_a_failed_upload_has_not_sent_the_request():
    class Broken(Uploads):
        async def bring(self, file):
            raise Disconnected("The upstream broke the connection.")

    with pytest.raises(Disconnected) as caught:
        async with request_files(Files(ByteBudget(), Spool())).taken(asking(file_of(10)), Broken(0)):
            pass
    assert caught.value.certainty is Certainty.NOT_SENT


async def test_without_uploads_all_files_are_within_the_request():
    parts = file_of(400_000), file_of(10)
    async with request_files(Files(ByteBudget(), Spool())).taken(asking(*parts), None) as files:
        assert [len(files[id(part)].inline_data.data) for part in parts] == [400_000, 10]


async def test_a_picture_of_another_transport_is_fetched():
    part = MediaPart(ref=REF)
    async with request_files(Files(ByteBudget(), Spool())).taken(asking(part), None) as files:
        assert files[id(part)] == wire.ContentPart(inline_data=wire.Blob("image/png", PICTURE))
