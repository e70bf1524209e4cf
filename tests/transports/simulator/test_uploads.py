import json

import pytest

from tests.clock import ManualClock
from tests.transports.simulator.conftest import visit
from transports.simulator.uploads import Uploads, mime_of, only_file

PNG = b"\x89PNG\r\n\x1a\n1234"


async def test_an_answer_tells_the_files_of_its_turn(browser):
    _, first = await browser.upload(PNG)
    _, second = await browser.upload("grüß".encode(), name="b.txt")
    files = [[[first], "a.png"], [[second, 1, None, "text/plain"], "b.txt"]]
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
        [[["PATH", 3, None, "image/png"], "a"]],
        [[["PATH", True, None, "image/png"], "a"]],
        [[["PATH", 1, None, "video/mp4"], "a"]],
        [[["PATH", 2, None, "image/png"], "a"]],
        [[["PATH", 1, None, "png"], "a"]],
        {},
    ],
)
async def test_files_that_are_not_named_as_the_page_says_are_refused(browser, files):
    _, path = await browser.upload(PNG)
    named = json.loads(json.dumps(files).replace("PATH", path))
    assert (await browser.say("x", files=named)).status == 400


@pytest.mark.parametrize("name", ["Push-ID", "X-Tenant-Id", "Origin", "Referer"])
async def test_every_header_of_an_upload_is_looked_at(browser, name):
    assert (await browser.upload(PNG))[0] == 200
    assert (await browser.upload(PNG, **{name: "wrong"}))[0] == 400


async def test_a_guest_has_no_files(site, browser):
    _, path = await browser.upload(PNG)
    async with visit(site.base, None) as guest:
        assert (await guest.say("x", files=[[[path], "a"]], temporary=True)).status == 400


def test_a_file_is_kept_for_its_time_and_within_the_bound():
    clock = ManualClock()
    uploads = Uploads(clock, seconds=60, most_bytes=10)
    one, two = uploads.keep(b"12345"), uploads.keep(b"12345")
    assert uploads.find(one).content == b"12345"
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
        (b"RIFF1234WEBP", "image/webp"),
        (b"RIFF1234WAVE", "audio/wav"),
        (b"%PDF-1.7", "application/pdf"),
        (b"\x00\x00\x00\x20ftypisom", "video/mp4"),
        (b"hello", "text/plain"),
        (b"\x00\x01", "application/octet-stream"),
        (b"\xff\xfe\xfd", "application/octet-stream"),
    ],
)
def test_types_are_told_by_their_bytes(content, mime):
    assert mime_of(content) == mime
