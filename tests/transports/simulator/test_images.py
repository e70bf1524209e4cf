from io import BytesIO

import msgspec
import pytest
from PIL import Image

from transports.simulator.images import DrawnPicture, aspect_in, draw, size_of

FOX = DrawnPicture(prompt="a fox")


def opened(data):
    with Image.open(BytesIO(data)) as image:
        return image.format, image.size, image.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("prompt", "aspect"),
    [
        ("a fox", 1.0),
        ("a fox. Aspect ratio: 16:9", 16 / 9),
        ("aspect ratio 1:1, no, aspect ratio: 2x1", 2.0),
        ("aspect ratio: 100:1", 4.0),
        ("aspect ratio: 1:100", 0.25),
        ("aspect ratio: 0:9", 1.0),
    ],
)
def test_the_last_aspect_ratio_of_a_prompt_counts_within_limits(prompt, aspect):
    assert aspect_in(prompt) == pytest.approx(aspect)


def test_a_size_has_the_aspect_and_the_longest_side():
    assert size_of(16 / 9, 1600) == (1600, 900)
    assert size_of(9 / 16, 1600) == (900, 1600)
    assert size_of(1.0, 512) == (512, 512)


def test_a_picture_has_its_format_and_size():
    assert opened(draw(FOX, 256, png=True, mark=False))[:2] == ("PNG", (256, 256))
    wide = msgspec.structs.replace(FOX, aspect=2.0)
    assert opened(draw(wide, 256, png=False, mark=False))[:2] == ("JPEG", (256, 128))


def test_a_picture_shows_prompt_number_source_and_mark():
    plain = draw(FOX, 256, png=True, mark=False)
    others = [
        draw(msgspec.structs.replace(FOX, prompt="a cat"), 256, png=True, mark=False),
        draw(msgspec.structs.replace(FOX, number=2), 256, png=True, mark=False),
        draw(msgspec.structs.replace(FOX, source=plain), 256, png=True, mark=False),
        draw(msgspec.structs.replace(FOX, source=DrawnPicture(prompt="a cat")), 256, png=True, mark=False),
        draw(FOX, 256, png=True, mark=True),
    ]
    assert len({opened(data)[2] for data in (plain, *others)}) == 6
    assert draw(FOX, 256, png=True, mark=False) == plain


@pytest.mark.parametrize("source", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n broken"])
def test_a_source_that_cannot_be_read_is_left_out(source):
    picture = msgspec.structs.replace(FOX, source=source)
    assert opened(draw(picture, 256, png=True, mark=False)) == opened(draw(FOX, 256, png=True, mark=False))
