"""Secret files of the settings."""

import pytest

from service.config.loader import SettingsError
from service.config.secrets import KEY_BYTES, read_key, read_secret, readable_by_others


def test_surrounding_whitespace_is_removed(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(b"\n  a secret \r\n")
    assert read_secret(file, "where") == "a secret"


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "cannot be read: No such file"), (b"\xff canary", "is neither UTF-8")]
)
def test_an_error_names_the_setting_and_the_file_but_not_the_content(tmp_path, content, reason):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"gateway.toml: some.key_file: .*secret {reason}") as caught:
        read_secret(file, "gateway.toml: some.key_file")
    assert "canary" not in str(caught.value)


def test_a_key_may_be_any_bytes(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(b"\xff" * KEY_BYTES + b"\n")
    assert read_key(file, "where") == b"\xff" * KEY_BYTES


@pytest.mark.parametrize("content", [b"", b"too short", None])
def test_an_invalid_key_file_is_refused(tmp_path, content):
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"gateway.toml: media.key_file"):
        read_key(file, "gateway.toml: media.key_file")


@pytest.mark.parametrize("content", [b"a" * 40, b"an example of a key, 32 bytes or more", b"0123456789abcdef" * 2])
def test_a_key_that_can_be_guessed_is_refused_if_it_protects_something(tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    assert read_key(file, "where") == content
    with pytest.raises(SettingsError, match=r"store\.key_file: .*openssl rand") as caught:
        read_key(file, "store.key_file", strict=True)
    assert content.decode() not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o440, False), (0o640, False), (0o644, True), (0o604, True)]
)
def test_a_file_that_everybody_may_read_is_noticed(tmp_path, mode, exposed):
    file = tmp_path / "key"
    file.touch(mode)
    file.chmod(mode)
    assert readable_by_others(file) is exposed
    assert not readable_by_others(tmp_path / "nowhere")
