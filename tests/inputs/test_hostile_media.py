"""A picture costs no more than an honest one of its length, and its frames and pixels are found wherever they stand."""

import base64
import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks, size=(8, 8)):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND")


def riff(*chunks, canvas=(8, 8)):
    sides = b"".join((side - 1).to_bytes(3, "little") for side in canvas)
    body = b"WEBPVP8X\x0a\0\0\0\x02\0\0\0" + sides + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def drawn(name, **options):
    out = BytesIO()
    Image.new("RGB", (64, 48), "red").save(out, name, **options)
    return out.getvalue()


def film(name, frames):
    pictures = [Image.new("RGB", (8, 8), (n % 2 * 255, n % 256, 0)) for n in range(frames)]
    out = BytesIO()
    pictures[0].save(out, name, save_all=True, append_images=pictures[1:])
    return out.getvalue()


GIF = b"GIF89a\x08\0\x08\0\0\0\0"
JPEG = drawn("JPEG")
NOTES = chunk(b"tEXt") * 5000
BOMB = zlib.compress(bytes(50_000_000), 9)
BIG = (65_535, 65_535)
SHARED = b"II*\0" + struct.pack("<IH", 8, 60_000) + struct.pack("<HHII", 0x8000, 7, 60_000, 8) * 60_000

BLOCKS = {
    "GIF, comment in bytes": GIF + b"\x21\xfe" + b"\x01a" * 1_000_000 + b"\0;",
    "GIF, empty comments": GIF + b"\x21\xfe\0" * 600_000,
    "GIF, pixels in bytes": GIF + b"\x2c" + struct.pack("<4HB", 0, 0, 8, 8, 0) + b"\x02" + b"\x01a" * 1_000_000,
    "WebP, empty chunks": riff(b"JUNK\0\0\0\0" * 200_000),
    "WebP, empty chunks before EXIF": riff(b"JUNK\0\0\0\0" * 200_000, b"EXIF\x04\0\0\0MM\0*"),
    "PNG, empty texts": png(chunk(b"tEXt") * 100_000),
    "PNG, pixels in empty chunks": png(chunk(b"IDAT") * 100_000),
    "PNG, EXIF that repeats its bytes": png(chunk(b"eXIf", SHARED)),
    "JPEG, empty comments": JPEG[:2] + b"\xff\xfe\0\x02" * 200_000 + JPEG[2:],
    "JPEG, fill bytes": JPEG[:2] + b"\xff" * 500_000 + JPEG[2:],
    "JPEG, EXIF that repeats its bytes": JPEG[:2] + b"\xff\xe1\xff\xffExif\0\0" + SHARED[:65_527] + JPEG[2:],
}


def box(kind, *content):
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind + data


def heif(brand, *properties, more=b""):
    meta = box(b"meta", bytes(4), box(b"iprp", box(b"ipco", *properties)))
    return box(b"ftyp", brand, bytes(4), brand) + more + meta


def ispe(width, height):
    return box(b"ispe", struct.pack(">III", 0, width, height))


def track(frames):
    table = box(b"stbl", box(b"stsz", struct.pack(">III", 0, 0, frames)))
    return box(b"trak", box(b"mdia", box(b"minf", table)))


BLOCKS |= {
    "HEIC, empty boxes": heif(b"heic", ispe(8, 8), more=box(b"free") * 200_000),
    "AVIF, empty properties": heif(b"avif", ispe(8, 8), box(b"free") * 200_000),
    "AVIF, tracks": heif(b"avis", ispe(8, 8), more=box(b"moov", track(1) * 20_000)),
}
TOO_LARGE = {
    "HEIC, pixels": heif(b"heic", ispe(8, 8), ispe(*BIG)),
    "AVIF, frames behind boxes": heif(b"avis", ispe(8, 8), more=box(b"free") * 3000 + box(b"moov", track(100_000))),
    "PNG, frames behind texts": png(NOTES, chunk(b"acTL", struct.pack(">II", 100_000, 0))),
    "PNG, frames that acTL denies": png(chunk(b"acTL", struct.pack(">II", 1, 0)), chunk(b"fcTL", bytes(26)) * 1001),
    "GIF, frames": GIF + (b"\x2c" + struct.pack("<4HB", 0, 0, 8, 8, 0) + b"\x02\x01\0\0") * 1001 + b";",
    "WebP, frames": riff(*[b"ANMF\x10\0\0\0" + bytes(16)] * 1001),
    "PNG, pixels": png(size=BIG),
    "PNG, pixels and a bomb": png(chunk(b"iCCP", b"x\0\0" + BOMB), chunk(b"zTXt", b"x\0\0" + BOMB), size=BIG),
    "JPEG, pixels": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03" + bytes(20),
    "GIF, pixels of the screen": b"GIF89a" + struct.pack("<HH", *BIG) + bytes(3),
    "GIF, pixels of a frame": GIF + b"\x2c" + struct.pack("<4HB", 0, 0, *BIG, 0) + b"\x02\0;",
    "WebP, pixels": riff(canvas=(16_384, 16_384)),
}
HONEST = {
    "PNG behind texts": png(NOTES, chunk(b"IDAT", zlib.compress(bytes(8 * 25)))),
    "PNG with a bomb of text": png(chunk(b"zTXt", b"x\0\0" + BOMB)),
    "PNG of 1,000 frames": film("PNG", 1000),
    "GIF of 1,000 frames": film("GIF", 1000),
    "WebP of 1,000 frames": film("WEBP", 1000),
    "GIF with a long comment": GIF + b"\x21\xfe" + (b"\xff" + b"x" * 255) * 12_000 + b"\0" + film("GIF", 2)[13:],
    "JPEG with segments": JPEG[:2] + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 40 + JPEG[2:],
    "JPEG before a film": JPEG + b"\xff\xda" * 100_000,
    "progressive JPEG": drawn("JPEG", progressive=True),
}
ONLY_PASSED_ON = {
    "MP4, moov behind many boxes": b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\0\x08free" * 200_000 + b"\0\0\0\x08moov",
    "MP4, boxes in one another": b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\0\x10moov" * 100_000,
    "QuickTime, wide boxes": b"\0\0\0\x08wide" * 200_000,
    "WebM, empty elements": b"\x1a\x45\xdf\xa3\x9fB\x82\x84webm" + bytes(24) + b"\xec\x80" * 500_000,
    "PDF, objects": b"%PDF-1.7\n" + b"1 0 obj<<>>endobj\n" * 50_000,
    "OGG, empty pages": (b"OggS" + bytes(23)) * 40_000,
    "FLAC, empty blocks": b"fLaC" + b"\x01\0\0\0" * 200_000,
    "MP3, empty frames": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"TXXX\0\0\0\0\0\0" * 100_000,
}
"""The gateway reads no more of these than their first bytes."""


def by_url(http, data):
    url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    return http.post(
        "/chat/completions", json={"model": "gemini-3-pro", "messages": [{"role": "user", "content": parts}]}
    )


def as_file(http, data):
    parts = [{"type": "file", "file": {"filename": "a", "file_data": base64.b64encode(data).decode()}}]
    return http.post(
        "/chat/completions", json={"model": "gemini-3-pro", "messages": [{"role": "user", "content": parts}]}
    )


def as_edit(http, data):
    return http.post("/images/edits", data={"prompt": "x"}, files={"image": ("a.png", data)})


def as_mask(http, data):
    return http.post("/images/edits", data={"prompt": "x"}, files={"image": ("a", drawn("PNG")), "mask": ("m", data)})


@pytest.mark.parametrize("send", [by_url, as_file, as_edit, as_mask])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_picture_of_too_many_blocks_is_refused(http, send, name):
    response = send(http, BLOCKS[name])
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["code"], "too many blocks" in error["message"]) == ("invalid_image", True)


@pytest.mark.parametrize("send", [by_url, as_file, as_edit])
@pytest.mark.parametrize("name", TOO_LARGE)
def test_frames_and_pixels_are_found_wherever_they_stand(http, send, name):
    response = send(http, TOO_LARGE[name])
    assert response.status_code == 400, response.text
    assert response.json()["error"]["code"] == "image_too_large"


@pytest.mark.parametrize("name", HONEST)
def test_a_long_picture_is_taken(http, name):
    for send in (by_url, as_edit):
        response = send(http, HONEST[name])
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("name", ONLY_PASSED_ON)
def test_other_media_are_not_walked(http, name):
    response = as_file(http, ONLY_PASSED_ON[name])
    assert response.status_code == 200, response.text
