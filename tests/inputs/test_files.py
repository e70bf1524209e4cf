"""The bytes of a file decide what it is, in every field that takes files; base64 and data URLs in every spelling."""

import base64
import io
import zipfile
from urllib.parse import quote

import pytest
from PIL import Image

OFFICE = "application/vnd.openxmlformats-officedocument."
OPEN = "application/vnd.oasis.opendocument."


def picture(form, size=(30, 20), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size).save(out, form, **options)
    return out.getvalue()


def archive(*names, first=None):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        if first is not None:
            file.writestr("mimetype", first, zipfile.ZIP_STORED)
        for name in names:
            file.writestr(name, "<x/>")
    return out.getvalue()


def sound():
    return b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(20)


PNG, AVIF = picture("PNG"), picture("AVIF")
HEIC = AVIF.replace(b"ftypavif", b"ftypheic", 1)
"""The same boxes: both formats are HEIF."""


def coded(data):
    return base64.b64encode(data).decode()


def data_url(data, mime=""):
    return f"data:{mime};base64,{coded(data)}"


def ask(http, part):
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": [part]}]}
    return http.post("/chat/completions", json=body)


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def file(data, name="", mime=""):
    return {"type": "file", "file": {"filename": name, "file_data": data_url(data, mime)}}


def audio(data, form="wav"):
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


TEXTS = {
    "a.ts": ("video/mp2t", b"export const a: number = 1;\n"),
    "a.html": ("text/html", b"<!DOCTYPE html><p>Hello</p>"),
    "b.html": ("application/octet-stream", b"<html><script>let a;</script></html>"),
    "a.svg": ("image/svg+xml", b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"),
    "a.csv": ("application/vnd.ms-excel", b"a;b\r\n1;2\r\n"),
    "a.srt": ("application/x-subrip", b"1\n00:00:00,000 --> 00:00:01,000\nHi\n"),
    "a.tex": ("application/x-tex", b"\\documentclass{article}"),
    "a.ps1": ("application/x-powershell", b"Write-Host 'hi'"),
    "a.m3u8": ("audio/x-mpegurl", b"#EXTM3U\n#EXTINF:1,\na.ts\n"),
    "a.rtf": ("application/rtf", rb"{\rtf1 Hello}"),
    "a.mp3": ("audio/mpeg", b"ID3 tags are described here"),
    "a.mov": ("video/quicktime", b"The wide world, and moov and mdat"),
    "a.gif": ("image/gif", b"GIF89a is a format of images"),
    "a.bmp": ("image/bmp", b"BMW builds cars"),
    "a.log": ("application/octet-stream", b"\x1b[31mred\x1b[0m\x07 \x7f\x08 a\x0bb\x0c\x1a"),
    "a.zip": ("application/zip", b"PK is a name"),
    "a.ics": ("", "BEGIN:VCALENDAR Grüße 世界".encode()),
    "a.py": ("text/x-python", "print('é')".encode("utf-8-sig")),
    "a.reg": ("text/plain", "Windows Registry Editor\r\n".encode("utf-16")),
    "a.sql": ("text/plain", b"\xfe\xff" + "SELECT 'ü';".encode("utf-16-be")),
    "a.txt": ("text/plain", "words".encode("utf-32")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_text_with_any_name_and_type(http, name):
    mime, data = TEXTS[name]
    answer = ask(http, file(data, name, mime))
    assert answer.status_code == 200, answer.text
    assert f"- {name} (text/plain" in answer.json()["choices"][0]["message"]["content"]


TAKEN = {
    "a.docx": (archive("[Content_Types].xml", "word/document.xml"), f"{OFFICE}wordprocessingml.document"),
    "a.xlsx": (archive("xl/workbook.xml", "docProps/app.xml"), f"{OFFICE}spreadsheetml.sheet"),
    "a.pptx": (archive(*(f"ppt/s{n}.xml" for n in range(999)), "ppt/presentation.xml"), f"{OFFICE}presentationml"),
    "a.odt": (archive("content.xml", first=f"{OPEN}text"), f"{OPEN}text"),
    "a.ods": (archive("content.xml", first=f"{OPEN}spreadsheet"), f"{OPEN}spreadsheet"),
    "a.epub": (archive("a.xhtml", first="application/epub+zip"), "application/epub+zip"),
    "a.pdf": (b"%PDF-1.7\n", "application/pdf"),
    "a.heic": (HEIC, "image/heic"),
    "a.heif": (AVIF.replace(b"ftypavif", b"ftypmif1", 1).replace(b"avif", b"xxxx"), "image/heif"),
    "a.png": (PNG, "image/png"),
    "a.wav": (sound(), "audio/wav"),
}


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("declared", ["application/octet-stream", "text/plain", "image/jpeg", "video/mp4", ""])
def test_a_file_has_the_type_of_its_bytes(http, name, declared):
    data, mime = TAKEN[name]
    answer = ask(http, file(data, name, declared))
    assert answer.status_code == 200, answer.text
    assert f"- {name} ({mime}" in answer.json()["choices"][0]["message"]["content"]


REFUSED = {
    "a TIFF image": b"II*\0" + bytes(20),
    "a BMP image": picture("BMP"),
    "an icon": picture("ICO"),
    "a Photoshop": b"8BPS\0\1" + bytes(20),
    "a JPEG XL": b"\xff\x0a\xfa\x1f\x01",
    "a JPEG 2000": picture("JPEG2000"),
    "the old format of .doc": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(500),
    "a ZIP archive": archive("a.txt"),
    "a gzip archive": b"\x1f\x8b\x08\0" + bytes(9),
    "a program": b"\x7fELF\x02\x01\x01" + bytes(9),
    "an MPEG transport stream": (b"\x47" + b"\xff" * 187) * 2,
    "an AVI video": b"RIFF\x24\0\0\0AVI LIST" + bytes(20),
    "a Matroska video": b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska" + bytes(9),
    "AAC audio": b"\xff\xf1\x50\x80\x00",
    "an encoding other than UTF-8": "Grüße".encode("latin-1"),
    "such as Windows-1252, GBK or Shift_JIS": "日本語".encode("shift_jis"),
    "UTF-16 without a byte order mark": "words, words".encode("utf-16-le"),
    "text in UTF-16 that is not valid": b"\xff\xfe" + "words".encode("utf-16-le") + b"\0\xd8" + b"a\0",
    "convert it to UTF-8": "words".encode("utf-16") + b"\0",
    "an unknown format": bytes(range(9)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsupported_file_is_named(http, name):
    for part, code, param in (
        (file(REFUSED[name], "a.png", "image/png"), "unsupported_file", "file.file_data"),
        (image(data_url(REFUSED[name], "image/png")), "unsupported_image", "image_url.url"),
        (audio(coded(REFUSED[name])), "unsupported_audio", "input_audio.data"),
    ):
        answer = ask(http, part)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, code)
        assert error["param"] == f"messages[0].content[0].{param}"
        assert name in error["message"]
        assert "send " in error["message"]


MANY = bytes(range(256)) * 3 + b"\xfb\xff"
SPELLED = {
    "no padding": coded(PNG + MANY + b"1").rstrip("="),
    "half of the padding": coded(PNG + MANY + b"12"[: (1 - len(PNG + MANY)) % 3]).removesuffix("="),
    "the other alphabet": base64.urlsafe_b64encode(PNG + MANY).decode(),
    "line breaks": base64.encodebytes(PNG + MANY).decode(),
    "blanks": " ".join(coded(PNG + MANY)) + "\t\f ",
}
URLS = {
    "plain": "data:image/png;base64,{}",
    "no type": "data:;base64,{}",
    "parameters": "data:image/png;charset=utf-8;x=y;base64,{}",
    "upper case": "DATA:IMAGE/PNG;BASE64,{}",
    "blanks around": " \r\n\tdata:image/png; base64 ,{}\n",
    "copied blanks around": "\ufeff\u00a0data:image/png;base64,{}\u00a0\u200b",
    "another type": "data:text/html;base64,{}",
    "a fragment": "data:image/png;base64,{}#a,b",
}


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize("url", URLS)
def test_base64_and_data_urls_are_read_in_every_spelling(http, url, spelled):
    answer = ask(http, image(URLS[url].format(SPELLED[spelled])))
    assert answer.status_code == 200, answer.text
    assert "image/png" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + quote(coded(PNG + MANY), safe=""),
        "data:image/png;base64," + "".join(f"%{ord(character):02x}" for character in coded(PNG)),
        "data:image/png," + quote(PNG, safe=""),
        "data:," + quote(PNG),
    ],
    ids=range(4),
)
def test_a_percent_encoded_data_url_is_read(http, url):
    for part in (image(url), {"type": "file", "file": {"file_data": url}}):
        answer = ask(http, part)
        assert answer.status_code == 200, answer.text
        assert "image/png" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("spelled", SPELLED)
def test_base64_without_a_url_is_read(http, spelled):
    if spelled != "blanks":
        assert ask(http, image(f" {SPELLED[spelled]}\n")).status_code == 200
    for blank in "\n\u00a0":
        part = {"type": "file", "file": {"file_data": f"{blank}{SPELLED[spelled]}{blank}", "filename": "a.png"}}
        assert "a.png (image/png" in ask(http, part).json()["choices"][0]["message"]["content"]


def box(kind, *contents):
    content = b"".join(contents)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def test_sound_in_the_container_of_a_film_is_sound(http):
    """Browsers record so: Safari into MP4, the others into WebM."""
    track = box(b"trak", box(b"mdia", box(b"hdlr", bytes(8), b"soun", bytes(12))))
    mp4 = box(b"ftyp", b"iso5", bytes(4)) + box(b"moov", track) + box(b"mdat", bytes(99))
    webm = b"\x1a\x45\xdf\xa3\x9fB\x82\x84webm" + bytes(40) + b"\x86\x86A_OPUS" + bytes(99)
    for data, mime in ((mp4, "audio/mp4"), (webm, "audio/webm")):
        answer = ask(http, audio(coded(data), "webm"))
        assert answer.status_code == 200, answer.text
        assert f"{len(data)} bytes" in answer.json()["choices"][0]["message"]["content"], mime


@pytest.mark.parametrize("form", ["wav", "mp3", "midi", "", None, 5])
@pytest.mark.parametrize("data", [coded(sound()), data_url(sound(), "audio/x-wav"), coded(sound()).rstrip("=")])
def test_sound_is_read_in_every_spelling(http, form, data):
    answer = ask(http, audio(data, form))
    assert answer.status_code == 200, answer.text
    assert "audio/wav" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "data:<media type>;base64,<content>"),
        ("fox.png", "data:<media type>;base64,<content>"),
        ("data:image/png;base64", "has no comma"),
        ("data:image/png;base64,", "is empty"),
        ("data:image/png;base64,$$$$", "is not valid base64"),
        ("data:image/png;base64,AAAAA", "is not valid base64"),
        ("data:image/png;base64,A=AA", "is not valid base64"),
        ("data:image/png;base64,AAAA====", "is not valid base64"),
        ("data:image/png;base64,%zz", "is not valid base64"),
    ],
)
def test_a_wrong_url_is_refused_with_what_to_send(http, url, words):
    answers = [(ask(http, image(url)), "messages[0].content[0].image_url.url")]
    if url:  # an empty field is unset
        body = {"prompt": "A fox", "image": PNG and data_url(PNG), "mask": url}
        answers.append((http.post("/images/edits", json=body), "mask"))
        answers.append((http.post("/images/edits", files={"prompt": (None, "x"), "image": (None, url)}), "image"))
        answers.append((http.post("/videos", json={"prompt": "x", "input_reference": url}), "input_reference"))
    for answer, param in answers:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_image", param)
        assert words in error["message"]


MASK = picture("PNG", mode="RGBA")


@pytest.mark.parametrize("data", [PNG, HEIC, picture("JPEG"), picture("WEBP"), picture("GIF")], ids=range(5))
@pytest.mark.parametrize("mime", ["application/octet-stream", "text/plain", "image/png"])
def test_a_picture_to_edit_has_the_type_of_its_bytes(http, data, mime):
    form = {"prompt": (None, "A fox"), "image": ("a", data, mime), "mask": ("mask.jpg", MASK, "image/jpeg")}
    assert http.post("/images/edits", files=form).status_code == 200
    url = data_url(data, mime).rstrip("=")
    body = {"prompt": "A fox", "image": url, "mask": data_url(MASK, mime)}
    answer = http.post("/images/edits", json=body)
    assert answer.status_code == 200, answer.text


def test_an_avif_is_converted(http):
    """The site does not take it."""
    for mode, name in (("RGB", "a.jpg (image/jpeg"), ("RGBA", "a.png (image/png")):
        answer = ask(http, file(picture("AVIF", mode=mode), "a.avif"))
        assert name in answer.json()["choices"][0]["message"]["content"]
    body = {"prompt": "A fox", "image": data_url(AVIF), "mask": data_url(MASK)}
    assert http.post("/images/edits", json=body).status_code == 200


def test_an_avif_that_cannot_be_decoded_is_refused(http):
    error = ask(http, image(data_url(AVIF[:-9]))).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_image", "messages[0].content[0].image_url.url")
    assert "AVIF image" in error["message"]


def test_a_mask_in_a_format_that_is_not_decoded_is_named(http):
    for mask, words in ((HEIC, "image (HEIC)"), (picture("WEBP", mode="RGBA"), "image (WEBP)")):
        body = {"prompt": "A fox", "image": data_url(PNG), "mask": data_url(mask)}
        error = http.post("/images/edits", json=body).json()["error"]
        assert (error["code"], error["param"]) == ("invalid_image", "mask")
        assert words in error["message"]
        assert "PNG" in error["message"]


def test_a_long_file_is_read_in_every_spelling(http):
    long = PNG + bytes(range(256)) * 8000
    for spelled in (
        base64.urlsafe_b64encode(long).decode().rstrip("="),
        base64.encodebytes(long).decode(),
        quote(coded(long), safe=""),
    ):
        answer = ask(http, image(f" data:;base64,{spelled}"))
        assert answer.status_code == 200, answer.text
        assert f"{len(long)} bytes" in answer.json()["choices"][0]["message"]["content"]
