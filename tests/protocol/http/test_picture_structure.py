import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protocol.http.picture_structure import (
    BlockBudget,
    TooManyBlocks,
    exif_orientation,
    read_structure,
    refuse_scans,
)
from tests.protocol.http.test_media_types import FORMATS, OTHERS, chunk, film, picture, png


def exif(orientation):
    found = Image.Exif()
    found[0x0112] = orientation
    found[0x010F] = "a camera"
    return found


def picture_size(data):
    found = read_structure(data)
    return found.size if found is not None else None


def riff(*chunks):
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunk(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


CANVAS = webp_chunk(b"VP8X", b"\x0a\0\0\0" + (122).to_bytes(3, "little") + (44).to_bytes(3, "little"))
GIF = b"GIF89a\x08\0\x08\0\0\0\0"
FRAME = b"\x2c" + struct.pack("<4H", 0, 0, 8, 8) + b"\0\x02\x01\0\0"


@pytest.mark.parametrize("form", FORMATS)
def test_the_size_of_a_picture_is_read(form):
    found = read_structure(picture(form))
    assert (found.size, found.frames, found.orientation) == ((123, 45), 1, 1)


@pytest.mark.parametrize("options", [{"lossless": True}, {"mode": "RGBA"}, {"mode": "RGBA", "lossless": True}])
def test_the_size_of_every_webp_variant_is_read(options):
    assert picture_size(picture("WEBP", **options)) == (123, 45)


@pytest.mark.parametrize("options", [{"progressive": True}, {"exif": b"Exif\0\0" + b"x" * 5000}, {"mode": "L"}])
def test_the_size_of_every_jpeg_variant_is_read(options):
    assert picture_size(picture("JPEG", **options)) == (123, 45)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "AVIF"])
def test_frames_are_counted(form):
    assert read_structure(film(form, 5)).frames == 5


@pytest.mark.parametrize("data", OTHERS, ids=lambda data: OTHERS[data])
def test_other_files_have_no_structure(data):
    assert read_structure(data) is None


@pytest.mark.parametrize(("orientation", "size"), [(n, (123, 45) if n < 5 else (45, 123)) for n in range(1, 9)])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_the_orientation_is_read_as_pillow_writes_it(form, orientation, size):
    found = read_structure(picture(form, exif=exif(orientation)))
    assert (found.orientation, found.size, found.stored_size) == (orientation, size, (123, 45))


def test_frames_and_orientation_are_found_wherever_the_format_allows_them():
    tiff = exif(6).tobytes().removeprefix(b"Exif\0\0")
    header, pixels = struct.pack(">IIBBBBB", 30, 20, 8, 2, 0, 0, 0), chunk(b"IDAT", b"x")
    notes = chunk(b"tEXt", b"") * 5000
    late = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + notes + pixels + chunk(b"eXIf", tiff) + chunk(b"IEND", b"")
    assert read_structure(late).size == (20, 30)
    assert read_structure(png(1, 1, notes, chunk(b"acTL", struct.pack(">II", 100_000, 0)))).frames == 100_000
    assert read_structure(png(1, 1, notes, *[chunk(b"fcTL", b"")] * 7)).frames == 7
    assert read_structure(riff(CANVAS, webp_chunk(b"ANMF", b"x" * 9), webp_chunk(b"EXIF", tiff))).size == (45, 123)
    jpeg = picture("JPEG", exif=exif(8))
    assert picture_size(jpeg[:2] + b"\xff\xfe\0\x05abc" * 1000 + jpeg[2:]) == (45, 123)


def test_a_decompression_bomb_is_measured_by_its_header():
    bomb = png(30_000, 30_000, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 1_000_000)))
    assert picture_size(bomb) == (30_000, 30_000)
    assert picture_size(b"GIF89a" + struct.pack("<HH", 65_000, 65_000)) == (65_000, 65_000)
    beyond = b"\x2c" + struct.pack("<4H", 5000, 0, 60_000, 65_000) + b"\0\x02\0"
    assert picture_size(GIF + FRAME + beyond) == (65_000, 65_000)
    canvas = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (16383).to_bytes(3, "little") * 2
    assert picture_size(canvas) == (16384, 16384)
    huge = b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03" + b"\0" * 20
    assert picture_size(huge) == (65_535, 65_535)


def directory(entries, at=8):
    """Return a TIFF directory, at an offset, of entries that each claim the same 60,000 bytes."""
    entry = struct.pack("<HHII", 0x8000, 7, 60_000, 8)
    return b"II*\0" + struct.pack("<I", at) + bytes(at - 8) + struct.pack("<H", entries) + entry * entries


def with_segments(marker, head, data):
    """Return a JPEG with data in as many segments as it needs."""
    pieces = [head + data[at : at + 65_500] for at in range(0, len(data), 65_500)]
    segments = b"".join(b"\xff" + marker + struct.pack(">H", 2 + len(piece)) + piece for piece in pieces)
    return b"\xff\xd8" + segments + picture("JPEG")[2:]


HOSTILE = {
    "GIF of sub-blocks of one byte": lambda: b"GIF89a\x08\0\x08\0\0\0\0\x21\xfe" + b"\x01a" * 9_900_000 + b"\0;",
    "GIF of empty extensions": lambda: GIF + b"\x21\xfe\0" * 6_500_000,
    "GIF of empty frames": lambda: GIF + FRAME * 1_000_000,
    "WebP of empty chunks": lambda: riff(CANVAS, b"JUNK\0\0\0\0" * 2_400_000),
    "WebP of empty frames": lambda: riff(CANVAS, b"ANMF\0\0\0\0" * 2_400_000),
    "PNG of empty texts": lambda: png(8, 8, chunk(b"tEXt", b"") * 1_600_000),
    "PNG of empty pixels": lambda: png(8, 8, chunk(b"IDAT", b"") * 1_600_000),
    "JPEG of empty segments": lambda: b"\xff\xd8" + b"\xff\xfe\0\x02" * 5_000_000 + picture("JPEG")[2:],
    "JPEG of fill bytes": lambda: b"\xff\xd8\xff" + b"\xff" * 20_000_000,
    "JPEG whose EXIF claims gigabytes": lambda: picture("JPEG", exif=b"Exif\0\0" + directory(1000)),
    "JPEG whose EXIF goes on in the next segment": lambda: with_segments(
        b"\xe1", b"Exif\0\0", directory(20_000, at=65_500)
    ),
    "JPEG whose index of pictures claims gigabytes": lambda: with_segments(b"\xe2", b"MPF\0", directory(1000)),
    "PNG whose EXIF has 65,535 entries": lambda: png(8, 8, chunk(b"eXIf", directory(65_535))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_walk_ends_after_a_bounded_number_of_blocks(name):
    with pytest.raises(TooManyBlocks):
        read_structure(HOSTILE[name]())


PROGRESSIVE = picture("JPEG", progressive=True)
COMMENT = b"\xff\xfe\0\x0a" + b"\xff\xd9" * 4


@pytest.mark.parametrize(
    ("data", "is_refused"),
    [
        (PROGRESSIVE, False),
        (PROGRESSIVE + b"\xff\xda\0\x02" * 5000, False),
        (PROGRESSIVE[:-2] + b"\xff\0\xff\xd0" * 4_000_000 + b"\xff\xd9", False),
        (PROGRESSIVE[:-2] + (b"\xff\xda\0\x08" + bytes(6) + b"x") * 5000, True),
        (PROGRESSIVE[:-2] + (COMMENT + b"\xff\xda\0\x08" + bytes(6) + b"x") * 70, True),
        (PROGRESSIVE[:-2] + b"\xff\xfe\0\x02" * 20_000 + b"\xff\xd9", True),
        (PROGRESSIVE[:-2] + b"\xff\xda\0\x08" + b"x" * 9_000_000 + b"\xff\xda\0\x02" * 70, True),
        (picture("PNG") + b"\xff\xda\0\x02" * 5000, False),
    ],
    ids=["honest", "motion photo", "restarts", "scans", "comments", "segments", "long scans", "PNG"],
)
def test_a_jpeg_of_too_many_scans_is_refused(data, is_refused):
    try:
        refuse_scans(data)
    except TooManyBlocks:
        assert is_refused
    else:
        assert not is_refused


@pytest.mark.parametrize(
    ("data", "blocks"),
    [
        (GIF + b"\x21\xfe" + (b"\xff" + b"x" * 255) * 70_000 + b"\0" + FRAME, 70_003),
        (riff(CANVAS, webp_chunk(b"VP8L", b"x" * 20_000_000)), 2),
        (png(8, 8, *[chunk(b"IDAT", bytes(8192))] * 2400), 2401),
        (b"\xff\xd8" + (b"\xff\xe2\xff\xff" + bytes(65_533)) * 300 + picture("JPEG")[2:], 308),
    ],
    ids=["GIF", "WebP", "PNG", "JPEG"],
)
def test_an_honest_file_is_walked_within_the_default_budget(data, blocks):
    budget = BlockBudget(blocks + 5)
    assert read_structure(data, budget) == read_structure(data) is not None
    assert abs(budget.visited - blocks) <= 5


def test_a_budget_bounds_the_blocks_that_are_visited():
    budget = BlockBudget(100)
    with pytest.raises(TooManyBlocks):
        read_structure(HOSTILE["GIF of empty extensions"](), budget)
    assert budget.visited == 100


@pytest.mark.parametrize(
    "data",
    [
        png(0, 5),
        b"GIF89a\0\0\0\0",
        b"\xff\xd8\xff" + b"\xff" * 1000,
        b"\x89PNG\r\n\x1a\n",
        png(8, 8, chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))),
    ],
    ids=["no width", "no screen", "fill bytes", "no header", "two headers"],
)
def test_a_broken_header_gives_none(data):
    assert picture_size(data) is None


STARTS = st.sampled_from([picture(form)[:40] for form in FORMATS] + [film("GIF", 3)[:40], film("WEBP", 3)[:60]])


@given(STARTS, st.integers(0, 60), st.binary(max_size=200))
def test_random_bytes_never_break_a_walk(start, cut, rest):
    size = picture_size(start[:cut] + rest)
    assert size is None or min(size) > 0


@given(st.sampled_from([b"II*\0", b"MM\0*", b""]), st.binary(max_size=80))
def test_random_bytes_never_break_the_reader_of_exif(start, rest):
    assert 1 <= exif_orientation(start + rest) <= 8


def test_pillow_reads_the_same_size_after_turning():
    from PIL import ImageOps

    for orientation in range(1, 9):
        data = picture("JPEG", exif=exif(orientation))
        with Image.open(BytesIO(data)) as image:
            assert ImageOps.exif_transpose(image).size == picture_size(data)
