import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.http.text_encoding import as_utf8, text_encoding, unread_encoding

WRITTEN = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1)


@given(WRITTEN, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"]))
def test_text_is_read_in_every_encoding_that_says_what_it_is(text, encoding):
    mark = "\ufeff" if encoding.endswith("-be") else ""
    data = f"{mark}{text}".encode(encoding)
    found = text_encoding(data)
    assert found == ("utf-8" if "8" in encoding else encoding.removesuffix("-be"))
    assert b"".join(as_utf8(data, found)).decode("utf-8-sig") == text.removeprefix("\ufeff" if mark == "" else "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_text_is_cut_into_slices_between_its_characters(encoding):
    text = ("x" * (512 * 1024 - 1) + "é😀") * 3
    data = text.encode(encoding)
    assert text_encoding(data) == encoding
    assert b"".join(as_utf8(data, encoding)).decode() == text
    assert text_encoding(data[:-1]) is None


@pytest.mark.parametrize("character", [*range(0x07), *range(0x0E, 0x1A), *range(0x1C, 0x20)])
def test_text_holds_no_control_characters_of_binary_files(character):
    assert text_encoding(b"a" + bytes([character])) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("words".encode("utf-16-le"), "UTF-16 without"),
        ("words".encode("utf-16-be"), "UTF-16 without"),
        ("Grüße".encode("cp1252"), "other than UTF-8"),
        ("日本語".encode("shift_jis"), "other than UTF-8"),
        ("你好".encode("gb18030"), "other than UTF-8"),
        (b"\x00\x01\x02\x03", None),
        (b"\x7fELF\x02", None),
        (b"", None),
    ],
)
def test_text_in_another_encoding_is_named(data, words):
    assert text_encoding(data or b"\0") is None
    found = unread_encoding(data)
    assert found is None if words is None else words in found
