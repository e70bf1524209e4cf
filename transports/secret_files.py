"""Reads secret files, and text as editors and shells save it."""

import codecs
from pathlib import Path

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def decode_text(data: bytes) -> str:
    r"""Decode the text of a file, without a byte order mark.

    UTF-8 and UTF-16 are read. UTF-16 is what `>` of Windows PowerShell and "Unicode" of Notepad write; without a byte
    order mark it is recognized by its null bytes.

    Raises:
        ValueError: the data is neither, or contains null characters.

    >>> decode_text(b"\xff\xfeo\x00k\x00")
    'ok'
    """
    encoding = next((name for mark, name in _UTF16.items() if data.startswith(mark)), None)
    if encoding is None and len(data) >= 2 and b"\0" in data[:2]:
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    try:
        text = data.decode(encoding or "utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("is neither UTF-8 nor UTF-16 text; save it as UTF-8")
    return text


def read_secret_bytes(path: Path) -> bytes:
    """Return the content of a secret file, which may be any bytes, without surrounding whitespace.

    Text is returned in UTF-8 without a byte order mark.

    Raises:
        ValueError: the file cannot be read; the message names it and shows nothing of its content.

    """
    data = _read(path)
    try:
        text = decode_text(data)
    except ValueError:
        return data.strip()
    if not text.isascii():  # random bytes may look like UTF-16
        return data.removeprefix(codecs.BOM_UTF8).strip()
    return text.encode().strip()


def read_secret(path: Path) -> str:
    """Return the text of a secret file without surrounding whitespace.

    Raises:
        ValueError: as `read_secret_bytes`, or the file is not text, as `decode_text`.

    """
    data = _read(path)
    try:
        return decode_text(data).strip()
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
