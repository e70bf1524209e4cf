import struct
import threading
import zlib
from io import BytesIO

import anyio
import anyio.lowlevel
import msgspec
import pytest
from PIL import Image, ImageCms, ImageFile

from protocol.http import picture
from protocol.http.context import ImageFormat
from protocol.http.embed import slices
from protocol.http.picture import fitted, turned_upright, whole_picture
from protocol.http.spool import Spool
from protocol.model import BadRequest, FilePart, StoredFile, UpstreamFailed
from tests.protocol.conftest import make_context
from tests.protocol.http.test_media_types import chunk
from tests.protocol.http.test_picture_structure import HOSTILE


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


def claiming(width, height):
    """Return a PNG whose header claims a given number of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def cornered(mode="RGB", *, name="PNG", **more):
    """Return a picture of 60x30 whose upper left corner is red (black where there is no color), the rest white."""
    image = Image.new("RGB", (60, 30), "white")
    image.paste("red" if mode not in {"1", "L", "LA"} else "black", (0, 0, 20, 15))
    out = BytesIO()
    image.convert(mode).save(out, name, **more)
    return out.getvalue()


CORNERS = {1: (5, 5), 2: (54, 5), 3: (54, 24), 4: (5, 24), 5: (5, 5), 6: (24, 5), 7: (24, 54), 8: (5, 54)}
"""Where the upper left corner of the stored picture is seen, by orientation."""


@pytest.mark.parametrize("orientation", CORNERS)
@pytest.mark.parametrize("name", ["PNG", "WEBP", "JPEG"])
def test_every_orientation_is_turned_upright_even_if_nothing_else_changes(name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data, _ = fit(cornered(name=name, exif=exif))
    image = seen(data).convert("RGB")
    assert image.size == ((60, 30) if orientation < 5 else (30, 60))
    assert image.getpixel(CORNERS[orientation])[1] < 60
    corners = {(x, y) for x in (5, image.width - 6) for y in (5, image.height - 6)} - {CORNERS[orientation]}
    assert all(image.getpixel(corner)[1] > 200 for corner in corners)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_keeps_what_a_person_sees(mode):
    name = "JPEG" if mode == "CMYK" else "PNG"
    image = seen(fit(cornered(mode, name=name), size=(120, 60), format="png")[0]).convert("RGB")
    dark, light = image.getpixel((10, 10)), image.getpixel((100, 50))
    assert dark[1] < 30
    assert min(light) > 240
    assert (dark[0] > 200) == (mode in {"P", "RGBA", "CMYK"})


def test_grey_of_16_bits_keeps_its_shades():
    image = Image.new("I;16", (30, 10))
    for x in range(30):
        for y in range(10):
            image.putpixel((x, y), (0, 0x8000, 0xFFFF)[x // 10])
    for more, clear in (({}, 255), ({"transparency": 0x8000}, 0)):
        out = BytesIO()
        image.save(out, "PNG", **more)
        made = seen(fit(out.getvalue(), format="webp")[0]).convert("RGBA")
        shades = [made.getpixel((x, 5)) for x in (5, 15, 25)]
        assert [round(shade[0] / 64) for shade in shades][:: 1 if clear else 2] == ([0, 2, 4] if clear else [0, 4])
        assert [shade[3] for shade in shades] == [255, clear, 255]


def test_a_palette_with_transparency_and_an_animation_show_their_first_frame():
    frames = [Image.new("P", (20, 10), index) for index in (1, 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 200, 10, 10, 10, 200, 10])
        frame.paste(0, (0, 0, 10, 10))
    for name in ("PNG", "GIF"):
        out = BytesIO()
        frames[0].save(out, name, save_all=True, append_images=frames[1:], transparency=0)
        made = seen(fit(out.getvalue(), size=(40, 20), format="png")[0])
        assert made.getpixel((5, 5))[3] == 0
        assert made.getpixel((35, 10)) == (200, 10, 10, 255)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_the_color_profile_is_kept(mode):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = drawn(mode=mode, colour=0, icc_profile=profile)
    for name in ("png", "jpeg", "webp"):
        assert seen(fit(data, size=(10, 10), format=name)[0]).info["icc_profile"] == profile


@pytest.mark.parametrize(
    ("look", "size"),
    [
        ({"aspect": (16, 9)}, (640, 360)),
        ({"aspect": (9, 16)}, (360, 640)),
        ({"longest": 1024}, (1024, 768)),
        ({"longest": 100, "aspect": (1, 1)}, (100, 100)),
        ({"longest": 100, "aspect": (21, 9)}, (100, 43)),
        ({"size": (30, 20), "longest": 100, "aspect": (1, 1)}, (30, 20)),
    ],
)
def test_a_picture_gets_the_aspect_and_the_longest_side(look, size):
    assert seen(fit(drawn((640, 480)), **look)[0]).size == size


SCANS = {"JPEG of scans": lambda: drawn(name="JPEG", progressive=True)[:-2] + b"\xff\xda\0\x08\x01x" * 5000}


@pytest.mark.parametrize("name", HOSTILE | SCANS)
def test_a_hostile_picture_is_an_upstream_error_before_it_is_opened(name, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(UpstreamFailed) as caught:
        fit((HOSTILE | SCANS)[name](), format="png")
    assert caught.value.code == "upstream_protocol_error"


@pytest.mark.parametrize(("texts", "is_read"), [(4, True), (20, False)])
def test_a_png_is_read_with_a_bounded_amount_of_text(texts, is_read):
    data = drawn()
    text = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(1_000_000)))
    data = data[:33] + text * texts + data[33:]
    if is_read:
        assert fit(data, format="jpeg")[1] == "image/jpeg"
    else:
        with pytest.raises(UpstreamFailed):
            fit(data, format="jpeg")


def test_a_jpeg_with_further_pictures_stays_a_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6
    out = BytesIO()
    first, second = Image.new("RGB", (60, 30), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(out, "MPO", save_all=True, append_images=[second], exif=exif)
    data, mime = fit(out.getvalue())
    assert (mime, seen(data).format, seen(data).size) == ("image/jpeg", "JPEG", (30, 60))
    assert fit(drawn(name="JPEG"), format="jpeg")[1] == "image/jpeg"


async def test_a_picture_of_a_request_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = FilePart(data=cornered(name="JPEG", exif=exif), mime="image/jpeg", name="a.jpg")
    upright = await turned_upright(turned, "image", make_context())
    assert (seen(upright.data).size, upright.mime, upright.name) == ((30, 60), "image/jpeg", "a.jpg")
    assert await turned_upright(upright, "image", make_context()) is upright
    broken = msgspec.structs.replace(turned, data=turned.data[:-400])
    with pytest.raises(BadRequest) as caught:
        await turned_upright(broken, "image[1]", make_context())
    assert (caught.value.param, caught.value.code) == ("image[1]", "invalid_image")


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
