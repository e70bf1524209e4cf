import io
import subprocess
import sys

import pytest
from PIL import Image, ImageCms

from protocol.http.avif import DECODER, without_avif
from protocol.http.budget import ByteBudget
from protocol.http.pixels import PixelPool
from protocol.http.spool import Spool
from protocol.model import BadRequest, Saturated
from tests.protocol.conftest import make_context

SIDE = 5000


def avif(size=(60, 40), mode="RGB", colour=None, **options):
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, "AVIF", speed=10, **options)
    return out.getvalue()


def context_for(folder=None):
    return make_context(pixels=PixelPool(), memory=ByteBudget(10**9, 10), spool=Spool(folder))


async def converted(data, context=None):
    found = await without_avif(data, "image", context or context_for())
    return Image.open(io.BytesIO(found if isinstance(found, bytes) else found.whole()))


async def test_an_opaque_picture_becomes_a_jpeg_and_another_one_a_png():
    opaque, clear = await converted(avif(colour=(200, 10, 10))), await converted(avif(mode="RGBA", colour=(0, 0, 0, 0)))
    assert (opaque.format, clear.format) == ("JPEG", "PNG")
    assert opaque.getpixel((5, 5))[0] > 150
    assert clear.getpixel((5, 5))[3] == 0


async def test_a_turned_picture_becomes_upright_and_keeps_its_profile_alone():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    upright = await converted(avif(exif=exif, icc_profile=profile))
    assert upright.size == (40, 60)
    assert not upright.getexif()
    assert upright.info["icc_profile"] == profile


async def test_a_long_result_is_kept_on_disk():
    noise = io.BytesIO()
    Image.effect_noise((1200, 900), 90).convert("RGB").save(noise, "AVIF", speed=10, quality=95)
    found = await without_avif(noise.getvalue(), "image", context_for())
    assert not isinstance(found, bytes)
    assert Image.open(io.BytesIO(found.whole())).size == (1200, 900)


@pytest.mark.parametrize("cut", [-20, 300])
async def test_a_broken_picture_is_refused(cut):
    with pytest.raises(BadRequest, match="cannot be decoded") as caught:
        await converted(avif()[:cut])
    assert (caught.value.code, caught.value.param) == ("invalid_image", "image")


async def test_modules_of_the_current_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "PIL.py").write_text("raise SystemExit('another module')")
    monkeypatch.chdir(tmp_path)
    assert (await converted(avif())).size == (60, 40)


async def test_a_disk_without_room_is_named(tmp_path):
    with pytest.raises(Saturated):
        await converted(avif(), context_for(tmp_path / "missing"))


def test_the_decoder_has_the_memory_of_the_size_that_the_file_claims():
    honest = avif((SIDE, SIDE), colour=(1, 2, 3))
    bomb = honest.replace(SIDE.to_bytes(4, "big") * 2, (8).to_bytes(4, "big") * 2)
    for data, claimed, works in ((honest, SIDE * SIDE, True), (bomb, 64, False)):
        command = [sys.executable, "-P", DECODER, str(claimed), str(10**7)]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        assert (done.returncode == 0, bool(done.stdout)) == (works, works)
