import pytest

from service.keys import KEY_BYTES, media_key, stored_key
from service.settings import Media, Origin, SettingsError

ORIGIN = Origin(name="gateway.toml")


def test_the_store_keeps_one_key_for_all_processes(tmp_path):
    store = tmp_path / "gateway.sqlite3"
    key = media_key(Media(), ORIGIN, store)
    assert len(key) == KEY_BYTES
    assert media_key(Media(), ORIGIN, store) == key
    assert stored_key(store, "another") != key
    assert media_key(Media(), ORIGIN, tmp_path / "other.sqlite3") != key


def test_a_file_is_the_same_key_at_every_replica(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(b"x" * KEY_BYTES + b"\n")
    keys = {media_key(Media(key_file=file), ORIGIN, tmp_path / name) for name in ("a", "b")}
    assert [len(key) for key in keys] == [KEY_BYTES]


@pytest.mark.parametrize("content", [b"", b"too short", None])
def test_a_file_that_is_no_key_is_said(tmp_path, content):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"gateway.toml: media.key_file"):
        media_key(Media(key_file=file), ORIGIN, tmp_path / "store")


def test_a_store_that_is_none_is_an_os_error(tmp_path):
    store = tmp_path / "store"
    store.write_bytes(b"this is no database at all, only some words that fill more than a header's bytes" * 20)
    with pytest.raises(OSError, match="out of order"):
        stored_key(store, "media")
