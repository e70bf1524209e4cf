import base64
import threading

import pytest

from protocol.http import files
from protocol.http.context import RequestLimits
from protocol.http.errors import HttpError
from protocol.http.long_strings import LongString
from protocol.http.spool import Spool
from protocol.model import BadRequest, Caller, FilePart, MediaKind, MediaPart, MediaRef
from tests.protocol.conftest import make_context
from tests.protocol.http.test_media_types import film, picture, png

PNG = picture("PNG")
AT = "messages[0].content[0].image_url.url"


def data_url(data=PNG, mime="image/png"):
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


async def refusal(awaitable, kind=BadRequest):
    with pytest.raises(kind) as caught:
        await awaitable
    assert caught.value.param == AT
    return caught.value.code


async def take(data, context, **more):
    return await files.take(data, name=more.pop("name", ""), param=AT, context=context, **more)


async def test_a_file_has_the_type_of_its_bytes_and_a_name_without_a_path(context):
    names = {
        "": "file.png",
        "a.png": "a.png",
        "../../etc/pass wd": "pass wd",
        "C:\\x\\b.png": "b.png",
        "..": "file.png",
    }
    names |= {'x"\n\0\u202e<y>.png': "xy.png", "n" * 500 + ".png": "n" * 124 + ".png"}
    for said, name in names.items():
        assert await take(PNG, context, name=said) == FilePart(data=PNG, mime="image/png", name=name)


def on_disk(data, most=10**9):
    file = Spool().file(most)
    file.write(data)
    return file.finish()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
async def test_a_file_on_disk_is_accepted_like_one_in_memory(context, form):
    data = picture(form)
    inline, stored = await take(data, context), await take(on_disk(data), context)
    assert (stored.mime, stored.name, stored.digest) == (inline.mime, inline.name, inline.digest)
    assert stored.stored.whole() == data
    for wrong in (b"\0" * 100, b"<svg>", data[:9], b"PK\3\4\0"):
        codes = {await refusal(take(content, context)) for content in (wrong, on_disk(wrong))}
        assert len(codes) == 1


async def test_an_incomplete_file_on_disk_is_too_large():
    context = make_context(limits=RequestLimits(file_bytes=50))
    assert await refusal(take(on_disk(PNG + bytes(100), 50), context), HttpError) == "request_too_large"


async def test_a_long_string_of_a_body_stands_for_its_file(context):
    def long(head, file):
        return LongString(head=head, file=file)

    context.long_strings = {
        "data:file-0": long("data:image/png;base64,", on_disk(PNG)),
        "data:file-1": long("data:image/png;base64,", None),
        "data:file-2": long("data:image/png,", on_disk(PNG)),
        "file-3": long("", on_disk(PNG)),
    }
    part = await files.from_url("data:file-0", name="", param=AT, context=context)
    assert (part.mime, part.stored.whole()) == ("image/png", PNG)
    for broken in ("data:file-1", "data:file-2", "data:file-9"):
        found = await refusal(files.from_url(broken, name="", param=AT, context=context))
        assert found == "invalid_image"
    part = await files.from_base64("file-3", name="a.png", param=AT, context=context)
    assert (part.name, part.stored.whole()) == ("a.png", PNG)
    assert await refusal(files.from_base64("file-9", name="", param=AT, context=context)) == "invalid_image"


@pytest.mark.parametrize("said", [None, "", "image/png", "IMAGE/JPEG", "application/octet-stream"])
async def test_the_declared_type_may_be_of_the_same_family(context, said):
    assert (await take(PNG, context, declared=said)).mime == "image/png"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PNG, "audio/wav"),
        (PNG, "text/plain"),
        (PNG, "application/pdf"),
        (b"<svg>", "image/png"),
        (b"<html>", "text/plain"),
        (b"plain words", "text/html"),
        (b"plain words", "image/svg+xml"),
        (b"plain words", "image/png"),
        (b"%PDF-1.7", "image/png"),
        (b"\x00\x01", None),
    ],
)
async def test_a_file_of_another_type_than_declared_is_refused(context, data, said):
    assert await refusal(take(data, context, declared=said)) == "unsupported_image"


@pytest.mark.parametrize("said", ["text/markdown", "application/json", "application/xml", "text/x-python", "text/csv"])
async def test_any_declared_text_type_is_accepted_for_text(context, said):
    assert (await take(b"{}", context, declared=said)).mime == "text/plain"


async def test_sizes_are_limited_by_header_and_length():
    context = make_context(limits=RequestLimits(file_bytes=50_000, pixels=100))
    assert (await take(picture("PNG", (10, 10)), context)).mime == "image/png"
    assert await refusal(take(png(101, 1), context)) == "image_too_large"
    assert await refusal(take(b"", context)) == "invalid_image"
    assert await refusal(take(png(0, 9), context)) == "invalid_image"
    assert await refusal(take(b"x" * 50_001, context), HttpError) == "request_too_large"
    long = base64.b64encode(b"x" * 90_000).decode()
    given = {"name": "", "param": AT, "context": context}
    assert await refusal(files.from_base64(long, **given), HttpError) == "request_too_large"


async def test_an_animation_with_too_many_frames_is_refused_with_the_maximum(context, monkeypatch):
    monkeypatch.setattr(files, "_MAX_FRAMES", 4)
    with pytest.raises(BadRequest, match="too long: send at most 4 frames") as caught:
        await take(film("GIF", 5), context)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:", "invalid_image"),
        ("data:image/png;base64", "invalid_image"),
        ("data:image/png,%89PNG", "invalid_image"),
        ("data:image/png;base64,", "invalid_image"),
        ("data:image/png;base64,####", "invalid_image"),
        ("data:image/png;base64,iVBORw0KGgo", "invalid_image"),
        ("data:image/png;base64,é", "invalid_image"),
        ("data:image/png;base64,aW1n%0A", "invalid_image"),
        ("data:image/png;base64," + "A" * 1024 * 1024 + "=AAA" + "A" * 1024 * 1024, "invalid_image"),
        (data_url(mime="text/html"), "unsupported_image"),
        (data_url(b"<html>", mime="text/html"), "unsupported_image"),
        (data_url(b"<p>", mime="image/png"), "unsupported_image"),
    ],
    ids=range(12),
)
async def test_a_malformed_data_url_is_refused(context, url, code):
    assert await refusal(files.from_data_url(url, name="", param=AT, context=context)) == code


@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:image/PNG;charset=utf-8;Base64,", "data:;base64,"])
async def test_a_data_url_is_accepted_in_every_spelling(context, head):
    coded = base64.encodebytes(PNG).decode().replace("\n", "\r\n ")
    part = await files.from_url(head + coded, name="", param=AT, context=context)
    assert part == FilePart(data=PNG, mime="image/png", name="file.png")
    assert context.fetch.asked == []


async def test_a_file_is_checked_in_a_worker_thread(context, monkeypatch):
    threads = []
    check = files._checked_type
    monkeypatch.setattr(files, "_checked_type", lambda *a: (threads.append(threading.current_thread()), check(*a))[1])
    data = b"some words\n" * 300_000
    for coded in (base64.b64encode(data), base64.encodebytes(data)):
        part = await files.from_base64(coded.decode(), name="", param=AT, context=context)
        assert part.data == data
    await take(PNG, context)
    assert threading.main_thread() not in threads


REF = MediaRef(transport="web", account="one", kind=MediaKind.VIDEO, url="https://upstream/v")


async def test_a_media_link_is_accepted_from_the_license_it_was_signed_for(context):
    link = context.links.sign(REF, context.caller)
    part = await files.from_url(link, name="", param=AT, context=context)
    assert part == MediaPart(ref=REF)
    assert files.require(part, MediaKind.VIDEO, AT) is part
    with pytest.raises(BadRequest) as caught:
        files.require(part, MediaKind.IMAGE, AT)
    assert (caught.value.param, caught.value.code) == (AT, "unsupported_image")
    context.caller = Caller(id="other")
    assert await refusal(files.from_url(link, name="", param=AT, context=context)) == "media_gone"
    assert context.fetch.asked == []


async def test_every_failed_fetch_has_the_same_message(context):
    context.fetch.pages = {
        "https://x/a": PNG,
        "https://x/b": b"<html>",
        "https://x/c": b"",
        "https://x/d": png(9999, 9999),
    }
    part = await files.from_url("https://x/a", name="", param=AT, context=context)
    assert part.mime == "image/png"
    texts = set()
    for page in "bcde":
        with pytest.raises(BadRequest) as caught:
            await files.from_url(f"https://x/{page}", name="", param=AT, context=context)
        assert (caught.value.code, caught.value.param) == ("image_url_unreachable", AT)
        texts.add(caught.value.message)
    assert len(texts) == 1
