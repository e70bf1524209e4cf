import struct
import threading
import zlib
from io import BytesIO

import anyio
import anyio.lowlevel
import pytest
from PIL import Image, ImageFile

from protocol.http import picture
from protocol.http.context import ImageFormat
from protocol.http.embed import slices
from protocol.http.picture import fitted, whole_picture
from protocol.http.spool import Spool
from protocol.model import StoredFile, UpstreamFailed
from tests.protocol.conftest import make_context


def fit(data, **look):
    return picture.fit(data, ImageFormat(**look), Spool())


def drawn(size=(64, 48), *, mode="RGB", name="PNG", colour="red", **more):
    out = BytesIO()
    Image.new(mode, size, colour).save(out, name, **more)
    return out.getvalue()


def striped(size, name="PNG"):
    """Left third red, middle green, right third blue."""
    image = Image.new("RGB", size, "green")
    third = size[0] // 3
    image.paste("red", (0, 0, third, size[1]))
    image.paste("blue", (size[0] - third, 0, size[0], size[1]))
    out = BytesIO()
    image.save(out, name)
    return out.getvalue()


def seen(data):
    image = Image.open(BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (100, 7), (7, 100), (1792, 1024), (48, 48)])
@pytest.mark.parametrize(("name", "mime"), [("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp")])
def test_the_picture_has_the_requested_size_and_format(size, name, mime):
    data, kind = fit(striped((640, 480)), size=size, format=name)
    assert kind == mime
    assert seen(data).size == size
    assert seen(data).format == name.upper()


def test_a_picture_is_cropped_evenly_on_both_sides():
    data, _ = fit(striped((300, 100)), size=(100, 100), format="png")
    assert {seen(data).getpixel((x, 50)) for x in (1, 50, 98)} == {(0, 128, 0)}
    data, _ = fit(striped((300, 100)), size=(300, 50), format="png")
    assert seen(data).getpixel((5, 25)) == (255, 0, 0)
    assert seen(data).getpixel((295, 25)) == (0, 0, 255)


def test_a_picture_that_needs_no_change_is_returned_unchanged():
    png, jpeg = drawn(), drawn(name="JPEG")
    assert fit(png, size=None, format=None) == (png, "image/png")
    assert fit(png, size=(64, 48), format="png", quality=10) == (png, "image/png")
    assert fit(jpeg, size=None, format="jpeg") == (jpeg, "image/jpeg")


def test_a_lower_quality_is_smaller():
    noise = Image.effect_noise((256, 256), 80).convert("RGB")
    out = BytesIO()
    noise.save(out, "PNG")
    for name in ("jpeg", "webp"):
        low, high = (fit(out.getvalue(), size=None, format=name, quality=quality)[0] for quality in (0, 95))
        assert len(low) < len(high) / 2


def test_transparency_is_kept_or_becomes_white_depending_on_the_format():
    clear = drawn(mode="RGBA", colour=(255, 0, 0, 0))
    assert seen(fit(clear, size=(10, 10), format="webp")[0]).getpixel((5, 5))[3] == 0
    assert seen(fit(clear, size=(10, 10), format="jpeg")[0]).getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(("mode", "name"), [("P", "PNG"), ("L", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("P", "GIF")])
def test_every_color_mode_is_accepted(mode, name):
    data, kind = fit(drawn(mode=mode, name=name, colour=0), size=(20, 20), format=None)
    assert seen(data).size == (20, 20)
    assert kind == ("image/jpeg" if name == "JPEG" else "image/png")


def test_a_picture_is_turned_upright_and_loses_its_metadata():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera of somebody"
    turned = drawn((60, 30), name="JPEG", exif=exif)
    data, _ = fit(turned, size=(30, 60), format="jpeg", quality=80)
    assert seen(data).size == (30, 60)
    assert b"Camera" not in data
    assert not seen(data).getexif()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claiming(width, height):
    """Return a PNG whose header claims a given number of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!doctype html><title>sign in</title>",
        drawn()[:60],
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        claiming(30_000, 30_000),
        claiming(10_000, 10_000),
        claiming(8_000, 8_000),
        claiming(0, 0),
        drawn(name="TIFF"),
        drawn(name="BMP"),
    ],
    ids=range(11),
)
def test_an_unreadable_or_too_large_picture_is_an_upstream_error(data):
    with pytest.raises(UpstreamFailed) as caught:
        fit(data, size=(64, 64), format="png")
    assert caught.value.code == "upstream_protocol_error"


async def test_pictures_are_decoded_outside_the_event_loop(monkeypatch):
    threads, opened, loaded = set(), Image.open, ImageFile.ImageFile.load

    def noting(work):
        def note(*args, **more):
            threads.add(threading.get_ident())
            return work(*args, **more)

        return note

    monkeypatch.setattr(Image, "open", noting(opened))
    monkeypatch.setattr(ImageFile.ImageFile, "load", noting(loaded))
    context = make_context()
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(fitted, drawn((900, 700)), ImageFormat(size=(800, 600), format="jpeg"), context)
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
async def test_a_large_picture_is_read_from_and_written_to_a_file(name):
    noise = Image.effect_noise((1500, 1500), 80).convert("RGB")
    out = BytesIO()
    noise.save(out, "PNG")
    context, data = make_context(), out.getvalue()
    stored = await whole_picture(slices(data), context)
    assert isinstance(stored, StoredFile)
    look = ImageFormat(size=(1400, 1500), format=name, quality=None if name == "png" else 100)
    made, mime = await fitted(stored, look, context)
    assert isinstance(made, StoredFile)
    assert mime == f"image/{name}"
    assert seen(made.whole()).size == (1400, 1500)
    assert (await fitted(stored, ImageFormat(), context))[0] is stored
    assert (context.memory.used, context.spool.used) == (0, len(stored) + len(made))
    del made, stored
    with anyio.fail_after(60):
        while context.spool.used:  # the thread lets go of its result a moment later
            await anyio.lowlevel.checkpoint()


async def test_a_picture_that_claims_too_many_pixels_reserves_nothing():
    context = make_context()
    with pytest.raises(UpstreamFailed):
        await fitted(claiming(8_000, 8_000), ImageFormat(size=(64, 64)), context)
    assert (context.memory.peak, context.pixels.at_work) == (0, 0)


async def test_a_picture_of_too_many_bytes_is_an_upstream_error_and_releases_its_memory(monkeypatch):
    monkeypatch.setattr(picture, "MOST_BYTES", 2_000_000)
    context = make_context()
    with pytest.raises(UpstreamFailed):
        await whole_picture(slices(b"x" * 2_000_001), context)
    assert (context.memory.used, context.spool.used) == (0, 0)
