from io import BytesIO

import pytest
from PIL import Image

from protocol.model import BadRequest
from protocol.openai.images.mask import describe_mask


def png(image, **more):
    out = BytesIO()
    image.save(out, "PNG", **more)
    return out.getvalue()


def mask(size, hole, mode="RGBA"):
    image = Image.new("RGBA", size, (9, 9, 9, 255))
    image.paste((9, 9, 9, 0), hole)
    return png(image.convert(mode))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_transparent_region_is_described_in_percent_and_drawn_white(mode):
    description = describe_mask(mask((200, 100), (50, 25, 150, 100), mode), (200, 100))
    assert "between 25% and 75% of its width" in description.sentence
    assert "between 25% and 100% of its height" in description.sentence
    picture = Image.open(BytesIO(description.picture))
    assert (picture.size, picture.mode) == ((200, 100), "L")
    assert (picture.getpixel((100, 50)), picture.getpixel((10, 10))) == (255, 0)


def test_a_transparent_palette_colour_counts():
    image = Image.new("P", (10, 10), 1)
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.paste(0, (0, 0, 5, 10))
    assert "between 0% and 50% of its width" in describe_mask(png(image, transparency=0), (10, 10)).sentence


def test_half_transparent_pixels_are_not_masked():
    image = Image.new("RGBA", (10, 10), (0, 0, 0, 128))
    with pytest.raises(BadRequest):
        describe_mask(png(image), (10, 10))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (mask((10, 10), (0, 0, 5, 5)), "10x10"),
        (png(Image.new("RGB", (20, 20))), "no transparency"),
        (png(Image.new("RGBA", (20, 20), (0, 0, 0, 255))), "fully transparent"),
        (mask((20, 20), (0, 0, 5, 5))[:50], "not a readable PNG"),
        (b"GIF89a", "it is text"),
        (b"II*\0\0", "it is a TIFF image"),
    ],
    ids=["size", "no alpha", "opaque", "cut", "other", "empty"],
)
def test_an_unusable_mask_is_refused_with_the_reason(data, word):
    with pytest.raises(BadRequest) as caught:
        describe_mask(data, (20, 20))
    assert word in caught.value.message
    assert (caught.value.param, caught.value.code) == ("mask", "invalid_image")
