"""Reads secrets that the settings hold or name. Messages name the setting and the file, never the content."""

from pathlib import Path

from service.config.loader import SettingsError
from service.config.secret_strength import ADVICE, is_sample, weakness_of
from transports import secret_files

KEY_BYTES = 32
"""Minimum length of a secret that a key is derived from."""
_OTHERS_READ = 0o004


def read_secret(path: Path, where: str) -> str:
    """Return the text of a secret file without surrounding whitespace; `where` names the setting.

    Raises:
        SettingsError: the file cannot be read, or is not text.

    """
    try:
        return secret_files.read_secret(path)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None


def read_key(path: Path, where: str, *, strict: bool = False) -> bytes:
    """Return the content of a key file, which may be any bytes, without surrounding whitespace.

    Raises:
        SettingsError: the file cannot be read, is shorter than `KEY_BYTES`, or with `strict`, as `check_strength`.

    """
    try:
        secret = secret_files.read_secret_bytes(path)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from None
    if len(secret) < KEY_BYTES:
        raise SettingsError(f"{where}: {path}: expected {KEY_BYTES} bytes or more")
    if strict:
        check_strength(secret.decode("latin-1"), f"{where}: {path}")
    return secret


def check_strength(secret: str, where: str, *, strict: bool = True) -> None:
    """Check that a secret cannot be guessed; `where` names the setting. Without `strict`, only samples are refused.

    Raises:
        SettingsError: it is a sample, short, or made of common parts.

    """
    weakness = weakness_of(secret) if strict or is_sample(secret) else None
    if weakness is not None:
        raise SettingsError(f"{where}: {weakness}; {ADVICE}")


def readable_by_others(path: Path) -> bool:
    """Return whether every user of the machine may read a file; its group may, as on Kubernetes."""
    try:
        return bool(path.stat().st_mode & _OTHERS_READ)
    except OSError:
        return False
