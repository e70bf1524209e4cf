"""Parses cookie exports, writes the Cookie header and merges Set-Cookie headers. No I/O.

Source: "Session", "Field notes".
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from transports.web import wire

_HEADER_NAME = re.compile(r"^cookie:", re.IGNORECASE)
_FORBIDDEN = frozenset(' ;,"\\')


class CookieExportError(ValueError):
    """A cookie export that cannot be read; the message contains no value."""


def parse_export(text: str) -> dict[str, str]:
    """Read an export: a Cookie header, JSON, Netscape format, or the two values on two lines.

    Cookies that are not sendable are left out, unless they are the sign-in cookies.

    Raises:
        CookieExportError: the format is unknown, `__Secure-1PSID` is missing, or a sign-in cookie is not sendable.

    """
    text = text.removeprefix("\ufeff").strip()
    if text.startswith(("[", "{")):
        pairs = _from_json(text)
    elif "\t" in text:
        rows = [line.removeprefix("#HttpOnly_").split("\t") for line in text.splitlines()]
        pairs = [(row[5], row[6].strip()) for row in rows if len(row) == 7 and _ours(row[0])]
    elif "=" in text and wire.PSID in text:
        pieces = _HEADER_NAME.sub("", text).replace("\n", ";").split(";")
        parts = [piece.strip().partition("=") for piece in pieces]
        pairs = [(name.strip(), value.strip().strip('"')) for name, equals, value in parts if equals]
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        plain = len(lines) <= 2 and not any("=" in line.rstrip("=") for line in lines)  # only padding, no name
        pairs = list(zip((wire.PSID, wire.PSIDTS), lines, strict=False)) if plain else []
    cookies = {name: value for name, value in pairs if value}
    if wire.PSID not in cookies:
        raise CookieExportError(f"the export holds no {wire.PSID}")
    for name in (wire.PSID, wire.PSIDTS):
        if name in cookies and not _sendable(cookies[name]):
            raise CookieExportError(f"the cookie {name!r} holds a character that no cookie may have")
    return {name: value for name, value in cookies.items() if _sendable(name) and _sendable(value)}


def _from_json(text: str) -> list[tuple[str, str]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise CookieExportError("the export is not valid JSON") from None
    if isinstance(data, dict):
        table = cast("dict[str, Any]", data)
        if not isinstance(table.get("cookies"), list):
            return [(name, value) for name, value in table.items() if isinstance(value, str)]
        data = table["cookies"]
    entries = [cast("dict[str, Any]", entry) for entry in cast("list[Any]", data) if isinstance(entry, dict)]
    return [
        (entry["name"], entry["value"])
        for entry in entries
        if isinstance(entry.get("name"), str) and isinstance(entry.get("value"), str)
        if _ours(str(entry.get("domain", wire.COOKIE_DOMAIN)))
    ]


def _ours(domain: str) -> bool:
    return domain.lstrip(".").lower() == wire.COOKIE_DOMAIN


def _sendable(text: str) -> bool:
    return bool(text) and all("!" <= character <= "~" and character not in _FORBIDDEN for character in text)


def header(cookies: Mapping[str, str], only: Iterable[str] | None = None) -> str:
    """Return the Cookie header of all cookies, or of those named in `only`."""
    names = cookies if only is None else [name for name in only if name in cookies]
    return "; ".join(f"{name}={cookies[name]}" for name in names)


def merge(cookies: Mapping[str, str], set_cookies: Iterable[str]) -> dict[str, str]:
    """Return the cookies after applying `Set-Cookie` headers.

    Changes of identity cookies, invalid values and other domains' cookies are ignored.
    """
    merged = dict(cookies)
    for line in set_cookies:
        pair, *attributes = (piece.strip().partition("=") for piece in line.split(";"))
        name, value = pair[0].strip(), pair[2].strip()
        about = {key.strip().lower(): text.strip() for key, _, text in attributes}
        foreign = about.get("domain") and not _ours(about["domain"])
        changed = name in wire.IDENTITY_COOKIES and name in merged and merged[name] != value
        gone = about.get("max-age", "").startswith(("-", "0"))
        if not (foreign or changed or gone) and _sendable(name) and _sendable(value):
            merged[name] = value
    return merged
