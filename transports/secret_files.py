"""Reads secret files."""

from pathlib import Path


def read_secret_bytes(path: Path) -> bytes:
    """Return the content of a secret file without surrounding whitespace.

    Raises:
        ValueError: the file cannot be read; the message names it and shows nothing of its content.

    """
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def read_secret(path: Path) -> str:
    """Return the text of a secret file without surrounding whitespace.

    Raises:
        ValueError: as `read_secret_bytes`, or the file is not UTF-8.

    """
    try:
        return read_secret_bytes(path).decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
