"""Reads secret files that the settings name. Messages name the setting and the file, never the content."""

from pathlib import Path

from service.config.loader import SettingsError
from transports import secret_files

KEY_BYTES = 32
"""Minimum length of a secret that a key is derived from."""


def read_secret(path: Path, where: str) -> str:
    """Return the text of a secret file without surrounding whitespace; `where` names the setting.

    Raises:
        SettingsError: the file cannot be read, or is not UTF-8.

    """
    try:
        return secret_files.read_secret(path)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None


def read_key(path: Path, where: str) -> bytes:
    """Return the content of a key file, which may be any bytes, without surrounding whitespace.

    Raises:
        SettingsError: the file cannot be read, or is shorter than `KEY_BYTES`.

    """
    try:
        secret = secret_files.read_secret_bytes(path)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None
    if len(secret) < KEY_BYTES:
        raise SettingsError(f"{where}: {path}: expected {KEY_BYTES} bytes or more")
    return secret
