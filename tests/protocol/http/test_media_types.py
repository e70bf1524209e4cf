import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protocol.http.media_types import sniff

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


def picture(form, size=(123, 45), mode="RGB", **options):
    out = io.BytesIO()
    Image.new(mode, size, 1 if mode == "P" else None).save(out, form, **options)
    return out.getvalue()


def film(form, frames):
    pictures = [Image.new("RGB", (16, 16), (200 * (n % 2), 9 * n, 50)) for n in range(frames)]
    out = io.BytesIO()
    pictures[0].save(out, form, save_all=True, append_images=pictures[1:])
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", FORMATS)
def test_the_type_of_a_picture_is_detected(form):
    assert sniff(picture(form)) == FORMATS[form]


OTHERS = {
    b"%PDF-1.7\n": "application/pdf",
    b"\x00\x00\x00\x18ftypisom": "video/mp4",
    b"\x00\x00\x00\x14ftypqt  ": "video/quicktime",
    b"\x00\x00\x00\x20ftypM4A ": "audio/mp4",
    b"\x00\x00\x00\x08wide\x00": "video/quicktime",
    b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm": "video/webm",
    b"ID3\x04\x00": "audio/mpeg",
    b"\xff\xfb\x90\x64": "audio/mpeg",
    b"RIFF\x24\x00\x00\x00WAVEfmt ": "audio/wav",
    b"OggS\x00": "audio/ogg",
    b"fLaC\x00": "audio/flac",
    "Grüße, 世界\n\t\r\n".encode(): "text/plain",
    b"\xef\xbb\xbf{}": "text/plain",
    b"a < b and <tag>": "text/plain",
    b"<svg xmlns='http://www.w3.org/2000/svg'>": "text/plain",
    b"\n<!doctype HTML><p>": "text/plain",
    b"a\x1b[31m": "text/plain",
    b"The wide world": "text/plain",
    b"ID3 tags": "text/plain",
    b"GIF89a is a format": "text/plain",
    b"\x00\x00\x00\x18ftypheic": "image/heic",
    b"\x00\x00\x00\x18ftypavif": "image/avif",
    b"\x00\x00\x00\x1cftypmif1\0\0\0\0mif1avif": "image/avif",
    b"\x00\x00\x00\x1cftypmif1\0\0\0\0mif1heic": "image/heic",
    b"\x00\x00\x00\x18ftypmif1\0\0\0\0mif1": "image/heif",
    "Grüße".encode("utf-16"): "text/plain; charset=utf-16",
}
REFUSED = {
    "empty": b"",
    "tiff": b"II*\x00\x08",
    "ico": b"\x00\x00\x01\x00\x01",
    "bmp": b"BM\x36\x00\x00\x00",
    "matroska": b"\x1a\x45\xdf\xa3\x9fB\x82\x88matroska",
    "aac": b"\xff\xf1\x50\x80",
    "zip": b"PK\x03\x04\x14\x00",
    "elf": b"\x7fELF\x02",
    "latin-1": "Grüße".encode("latin-1"),
    "nul": b"a\x00b",
    "gif and jar": picture("GIF") + b"PK\x05\x06" + b"\x00" * 18,
    "jpeg and pdf": b"\xff\xd8\xff\xfe\x00\x20%PDF-1.4\n" + picture("JPEG"),
}


@pytest.mark.parametrize("data", OTHERS, ids=lambda data: OTHERS[data])
def test_a_supported_type_is_detected_by_the_first_bytes(data):
    assert sniff(data) == OTHERS[data]


@pytest.mark.parametrize("name", REFUSED)
def test_an_unsupported_type_is_not_detected(name):
    assert sniff(REFUSED[name]) is None


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1))
def test_text_is_detected_in_any_language(text):
    assert sniff(f"\t{text}\r\n".encode()) == "text/plain"
    assert sniff(f"\t{text}\0".encode()) is None


def test_text_is_cut_into_slices_between_its_characters():
    text = ("x" * (1024 * 1024 - 1) + "é") * 2
    assert sniff(text.encode()) == "text/plain"
    assert sniff(text.encode()[:-1]) is None
