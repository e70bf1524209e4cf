import json
import os
from pathlib import Path

import pytest

from tests.clock import ManualClock
from tests.transports.simulator.conftest import visit
from transports.simulator.config import SimulatorConfig
from transports.simulator.uploads import Resumable, UploadHost, mime_of, only_file

PNG = b"\x89PNG\r\n\x1a\n1234"


async def test_an_answer_lists_the_files_of_its_turn(browser):
    _, first = await browser.upload(PNG)
    _, second = await browser.upload("grüß".encode(), name="b.txt")
    files = [[[first], "a.png"], [[second, 3, None, "text/plain"], "b.txt", *[None] * 6, [0]]]
    text = (await browser.say("What is in these?", files=files)).text
    assert f"- a.png (image/png, {len(PNG)} bytes)" in text
    assert "- b.txt (text/plain, 6 bytes)" in text
    assert (await browser.say("<echo>only</echo>", files=files)).text == "only"


@pytest.mark.parametrize(
    "files",
    [
        [],
        [[["/contrib_service/ttl_1d/0"], "a"]],
        [["PATH", "a"]],
        [[["PATH"], ""]],
        [[["PATH"]]],
        [[["PATH", 1, None, "image/png"], "a"]],
        [[["PATH", 1, None, "image/png"], "a", *[None] * 6, [1]]],
        [[["PATH", 3, None, "image/png"], "a", *[None] * 6, [0]]],
        [[["PATH", True, None, "image/png"], "a", *[None] * 6, [0]]],
        [[["PATH", 1, None, "video/mp4"], "a", *[None] * 6, [0]]],
        [[["PATH", 2, None, "image/png"], "a", *[None] * 6, [0]]],
        [[["PATH", 1, None, "png"], "a", *[None] * 6, [0]]],
        {},
    ],
)
async def test_files_named_in_another_form_are_refused(browser, files):
    _, path = await browser.upload(PNG)
    named = json.loads(json.dumps(files).replace("PATH", path))
    assert (await browser.say("x", files=named)).status == 400


@pytest.mark.parametrize("name", ["Push-ID", "X-Tenant-Id", "Origin", "Referer"])
async def test_every_header_of_an_upload_is_checked(browser, name):
    assert (await browser.upload(PNG))[0] == 200
    assert (await browser.upload(PNG, **{name: "wrong"}))[0] == 400


def start_of(browser, length, **more):
    return {
        "Push-ID": browser.page.push_id,
        "X-Tenant-Id": "bard-storage",
        "Origin": browser.base,
        "Referer": f"{browser.base}/",
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Protocol": "resumable",
        "X-Goog-Upload-Header-Content-Length": str(length),
        **more,
    }


async def send_in_two(browser, content, start=(), finish=(), body=b"File name: a.png"):
    headers = start_of(browser, len(content), **dict(start))
    async with browser.http.post(f"{browser.base}/upload/", headers=headers, data=body) as response:
        if response.status != 200:
            return response.status, ""
        url = response.headers["X-Goog-Upload-Url"]
    own = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0", "Content-Type": "image/png"}
    headers = {"Origin": browser.base, "Referer": f"{browser.base}/", **own, **dict(finish)}
    async with browser.http.post(url, headers=headers, data=content) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("body", [b"File name: a.png", b""])
async def test_a_file_can_be_uploaded_in_two_requests(browser, body):
    status, path = await send_in_two(browser, PNG, body=body)
    assert status == 200
    assert "image/png" in (await browser.say("x", files=[[[path], "a.png"]])).text


@pytest.mark.parametrize(
    ("start", "finish"),
    [
        ({"X-Goog-Upload-Protocol": "raw"}, {}),
        ({"X-Goog-Upload-Command": "query"}, {}),
        ({"X-Goog-Upload-Header-Content-Length": "x"}, {}),
        ({"X-Goog-Upload-Header-Content-Length": "1"}, {}),
        ({"Push-ID": "feeds/other"}, {}),
        ({"Cookie": "a=b"}, {}),
        ({}, {"X-Goog-Upload-Offset": "1"}),
        ({}, {"X-Goog-Upload-Command": "upload"}),
        ({}, {"Origin": "http://elsewhere"}),
    ],
)
async def test_both_requests_of_an_upload_are_checked(browser, start, finish):
    assert (await send_in_two(browser, PNG, start, finish))[0] == 400


async def test_a_guest_cannot_send_files(site, browser):
    _, path = await browser.upload(PNG)
    async with visit(site.base, None) as guest:
        assert (await guest.say("x", files=[[[path], "a"]], temporary=True)).status == 400


def test_an_upload_is_kept_within_its_time_and_the_size_limit():
    clock = ManualClock()
    uploads = UploadHost(clock, seconds=60, most_bytes=10)
    one, two = uploads.keep(b"12345"), uploads.keep(b"12345")
    assert uploads.find(one).content.whole() == b"12345"
    three = uploads.keep(b"1")
    assert uploads.find(one) is None
    assert uploads.find(two)
    clock.advance(60)
    assert uploads.find(two) is uploads.find(three) is None


GOOD = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\nContent-Type: a/b\r\n\r\nHI\r\n\r\n--b--\r\n'
)


def test_a_form_has_one_part_called_file():
    assert only_file("multipart/form-data; boundary=b", GOOD) == b"HI\r\n"
    for content_type, body in (
        ("application/json", GOOD),
        ("multipart/form-data; boundary=c", GOOD),
        ("multipart/form-data; boundary=b", GOOD.replace(b"file", b"more", 1)),
        ("multipart/form-data; boundary=b", GOOD[:-8]),
        ("multipart/form-data; boundary=b", GOOD.replace(b"--b--", b"") + GOOD),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n--b--"),
    ):
        with pytest.raises(ValueError, match=r"part|multipart"):
            only_file(content_type, body)


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", "audio/wav"),
        (b"%PDF-1.7", "application/pdf"),
        (b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        (b"hello", "text/plain"),
        (b"ID3 and the wide world", "text/plain"),
        (b"PK\x03\x04\xff", "application/zip"),
        (b"\x00\x01", "application/octet-stream"),
        (b"\xff\xfe\xfd", "application/octet-stream"),
    ],
)
def test_types_are_recognised_by_their_bytes(content, mime):
    assert mime_of(content) == mime


def test_many_uploads_at_once_are_kept_until_their_turns():
    assert SimulatorConfig().upload_bytes >= 64 * 20_000_000
    resumable = Resumable()
    tokens = [resumable.start({"x-goog-upload-command": "start"}) for _ in range(500)]
    finish = {"x-goog-upload-command": "upload, finalize"}
    assert {resumable.finish(token, finish, b"1") for token in tokens} == {b"1"}


def test_kept_files_take_no_memory():
    uploads = UploadHost(ManualClock(), seconds=60, most_bytes=500_000_000)
    before = resident()
    paths = [uploads.keep(bytes(2_000_000)) for _ in range(20)]
    assert resident() - before < 10_000_000
    assert all(uploads.find(path).content.whole() == bytes(2_000_000) for path in paths)


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
