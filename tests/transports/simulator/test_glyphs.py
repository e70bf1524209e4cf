"""Every character that a prompt may hold is drawn as itself, and not as the box of a missing glyph."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from transports.simulator.glyphs import Typesetter, bitmap
from transports.simulator.images import DrawnPicture, draw

REPLACEMENT = "\ufffd"


def drawn(text, size=32):
    image = Image.new("RGB", (640, 64))
    Typesetter(size).draw(image, text, (320, 32), 1)
    return image.tobytes()


@pytest.mark.parametrize(
    ("first", "last"),
    [("\u4e00", "\u9fff"), ("\u3041", "\u3096"), ("\uac00", "\ud7a3"), ("\u0410", "\u044f"), ("\u0391", "\u03a1")],
)
def test_all_characters_of_common_scripts_have_a_glyph_of_their_own(first, last):
    missing = bitmap(REPLACEMENT).tobytes()
    glyphs = [bitmap(chr(number)).tobytes() for number in range(ord(first), ord(last) + 1)]
    assert missing not in glyphs
    assert len(set(glyphs)) > 0.99 * len(glyphs)


def test_a_character_that_no_font_has_is_drawn_as_a_replacement():
    assert bitmap("\U000e0fff").tobytes() == bitmap(REPLACEMENT).tobytes()
    assert bitmap("\x00").tobytes() == bitmap(REPLACEMENT).tobytes()


@pytest.mark.parametrize(("one", "other"), [("狐狸", "熊猫"), ("狐", "狸"), ("ï", "í"), ("🦊", "🐼"), ("a狐", "b狐")])
def test_different_texts_are_drawn_differently(one, other):
    assert drawn(one) != drawn(other)
    assert drawn(one) == drawn(one)


def test_wide_characters_are_as_wide_as_the_text_is_high():
    setter = Typesetter(32)
    assert setter.width("狐狸") == 64
    assert setter.width("a狐") == setter.width("a") + 32
    assert setter.width("") == 0


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_drawn(text):
    content = draw(DrawnPicture(prompt=text), 64, png=True, mark=True)
    assert content.startswith(b"\x89PNG")
