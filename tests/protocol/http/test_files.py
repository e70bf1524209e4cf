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


IMAGE = files.FileField(param=AT, kind=MediaKind.IMAGE)
ANY = files.FileField(param=AT)


async def take(data, context, name=""):
    return await files.take(data, files.FileField(param=AT, name=name), context)


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
    for wrong in (b"\0" * 100, b"\x7fELF\0", data[:9], b"PK\3\4\0"):
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
        "file-3": long("", on_disk(PNG)),
    }
    part = await files.from_url("data:file-0", IMAGE, context)
    assert (part.mime, part.stored.whole()) == ("image/png", PNG)
    for broken in ("data:file-1", "data:file-9"):
        found = await refusal(files.from_url(broken, IMAGE, context))
        assert found == "invalid_image"
    part = await files.from_text("file-3", files.FileField(param=AT, name="a.png"), context)
    assert (part.name, part.stored.whole()) == ("a.png", PNG)
    assert await refusal(files.from_text("file-9999", ANY, context)) == "invalid_file"


KINDS = {None: "file", MediaKind.IMAGE: "image", MediaKind.AUDIO: "audio"}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_names_the_kind_of_file_and_what_the_file_is(context, kind):
    field = files.FileField(param=AT, kind=kind)
    for data, words in ((b"II*\0" + bytes(9), "is a TIFF image: send "), (b"\0\1", "is of an unknown format: send ")):
        with pytest.raises(BadRequest, match=words) as caught:
            await files.take(data, field, context)
        assert (caught.value.code, caught.value.param) == (f"unsupported_{KINDS[kind]}", AT)
    for text in ("####", "data:image/png", "data:;base64,####", ""):
        assert await refusal(files.from_text(text, field, context)) == f"invalid_{KINDS[kind]}"


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"%PDF-1.7", MediaKind.IMAGE, "is a document (PDF): send PNG, JPEG"),
        (b"<p>words</p>", MediaKind.IMAGE, "is text: send PNG, JPEG"),
        (b"<svg/>", MediaKind.IMAGE, "is an SVG drawing: send PNG, JPEG"),
        (PNG, MediaKind.AUDIO, "is an image (PNG): send MP3, WAV"),
        (picture("GIF") + b"PK\5\6" + bytes(18), None, "is an image and another document in one file"),
        ("Grüße".encode("latin-1"), None, "is text in an encoding other than UTF-8, such as Windows-1252"),
        ("words".encode("utf-16-le"), None, "is text in UTF-16 without a byte order mark: convert it to UTF-8"),
    ],
)
async def test_a_file_of_another_kind_is_named(context, data, kind, words):
    with pytest.raises(BadRequest) as caught:
        await files.take(data, files.FileField(param=AT, kind=kind), context)
    assert words in caught.value.message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("stored", [False, True])
async def test_text_with_a_byte_order_mark_is_transcoded(context, encoding, stored):
    context.spool = Spool()
    text = "Grüße, 世界\n" * (100_000 if stored else 1)
    data = text.encode(encoding)
    part = await take(on_disk(data) if stored else data, context, "a.csv")
    assert (part.mime, part.name, part.loaded().data.decode()) == ("text/plain", "a.csv", text)
    limited = make_context(limits=RequestLimits(file_bytes=len(data)), spool=context.spool)
    grown = ("世" * (len(data) // 2 - 1)).encode("utf-16")
    assert await refusal(take(grown, limited), HttpError) == "request_too_large"


async def test_sizes_are_limited_by_header_and_length():
    context = make_context(limits=RequestLimits(file_bytes=50_000, pixels=100))
    assert (await take(picture("PNG", (10, 10)), context)).mime == "image/png"
    assert await refusal(take(png(101, 1), context)) == "image_too_large"
    for empty in (b"", b"\xff\xfe"):
        assert await refusal(take(empty, context)) == "invalid_file"
    assert await refusal(files.take(png(0, 9), IMAGE, context)) == "invalid_image"
    assert await refusal(take(b"x" * 50_001, context), HttpError) == "request_too_large"
    long = base64.b64encode(b"x" * 90_000).decode()
    assert await refusal(files.from_text(long, ANY, context), HttpError) == "request_too_large"
    assert await refusal(files.from_text(" " * 300_000, ANY, context), HttpError) == "request_too_large"


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
        ("data:image/png,%89PNG", "unsupported_image"),
        ("data:image/png;base64;charset=utf-8,iVBORw0KGgo", "unsupported_image"),
        ("data:image/png;base64,aW1n%0", "invalid_image"),
        ("iVBORw0KGgo=", "invalid_image"),
        ("", "invalid_image"),
        ("data:image/png;base64,", "invalid_image"),
        ("data:image/png;base64,####", "invalid_image"),
        ("data:image/png;base64,é", "invalid_image"),
        ("data:image/png;base64," + "A" * 1024 * 1024 + "=AAA" + "A" * 1024 * 1024, "invalid_image"),
        (data_url(b"<html>", mime="text/html"), "unsupported_image"),
        (data_url(b"<p>", mime="image/png"), "unsupported_image"),
    ],
    ids=range(13),
)
async def test_a_malformed_data_url_is_refused(context, url, code):
    assert await refusal(files.from_url(url, IMAGE, context)) == code


@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:image/PNG;charset=utf-8;Base64,", "data:;base64,"])
async def test_a_data_url_is_accepted_in_every_spelling(context, head):
    coded = base64.encodebytes(PNG).decode().replace("\n", "\r\n ")
    part = await files.from_url(head + coded, IMAGE, context)
    assert part == FilePart(data=PNG, mime="image/png", name="file.png")
    assert context.fetch.asked == []


async def test_a_file_is_checked_in_a_worker_thread(context, monkeypatch):
    threads = []
    check = files._checked_type
    monkeypatch.setattr(files, "_checked_type", lambda *a: (threads.append(threading.current_thread()), check(*a))[1])
    data = b"some words\n" * 300_000
    for coded in (base64.b64encode(data), base64.encodebytes(data)):
        part = await files.from_text(coded.decode(), ANY, context)
        assert part.data == data
    await take(PNG, context)
    assert threading.main_thread() not in threads


REF = MediaRef(transport="web", account="one", kind=MediaKind.VIDEO, url="https://upstream/v")


async def test_a_media_link_is_accepted_from_the_license_it_was_signed_for(context):
    link = context.links.sign(REF, context.caller)
    part = await files.from_url(link, ANY, context)
    assert part == MediaPart(ref=REF)
    assert await files.from_url(f" {link}\n", files.FileField(param=AT, kind=MediaKind.VIDEO), context) == part
    assert await refusal(files.from_url(link, IMAGE, context)) == "unsupported_image"
    context.caller = Caller(id="other")
    assert await refusal(files.from_url(link, IMAGE, context)) == "media_gone"
    assert context.fetch.asked == []


async def test_a_url_is_fetched_once_while_another_model_may_read_the_request_again(context):
    url = "https://example.org/dot.png"
    context.fetch.pages = {url: PNG}
    context.fetched = {}
    first, second = [await files.from_url(url, files.FileField(param="image"), context) for _ in range(2)]
    assert first == second
    assert len(context.fetch.asked) == 1
    context.fetched = None
    await files.from_url(url, files.FileField(param="image"), context)
    assert len(context.fetch.asked) == 2


async def test_every_failed_fetch_has_the_same_message(context):
    context.fetch.pages = {
        "https://x/a": PNG,
        "https://x/b": b"<html>",
        "https://x/c": b"",
        "https://x/d": png(9999, 9999),
    }
    part = await files.from_url("https://x/a", IMAGE, context)
    assert part.mime == "image/png"
    texts = set()
    for page in "bcde":
        with pytest.raises(BadRequest) as caught:
            await files.from_url(f"https://x/{page}", IMAGE, context)
        assert (caught.value.code, caught.value.param) == ("image_url_unreachable", AT)
        texts.add(caught.value.message)
    assert len(texts) == 1
