import codecs

import pytest

from transports.secret_files import decode_text, read_secret, read_secret_bytes

TEXT = "sk-schlüssel 1\r\nzwei"


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "bom"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_text_is_read_in_the_encodings_of_windows_editors(encoding, mark):
    assert decode_text((mark + TEXT).encode(encoding)) == TEXT


@pytest.mark.parametrize("data", [b"\xff canary", b"a\0b", b"\xff\xfea", codecs.BOM_UTF32_LE + b"a\0\0\0", b"\xe9"])
def test_other_data_is_refused_without_showing_it(data):
    with pytest.raises(ValueError, match="neither UTF-8 nor UTF-16") as caught:
        decode_text(data)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \t\n\n"])
def test_a_secret_is_the_same_however_it_was_saved(tmp_path, encoding, end):
    path = tmp_path / "secret"
    path.write_bytes(("k" * 16 + end).encode(encoding))
    assert read_secret(path) == "k" * 16
    assert read_secret_bytes(path) == b"k" * 16


@pytest.mark.parametrize(
    "key", [bytes(range(1, 40)), b"\xff\xfe" + bytes(range(65, 97)), b"\xff\xfe\x01", "schlüssel".encode()]
)
def test_a_key_of_random_bytes_is_kept_as_it_is(tmp_path, key):
    path = tmp_path / "key"
    path.write_bytes(key)
    assert read_secret_bytes(path) == key
