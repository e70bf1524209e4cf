r"""Finds cookies in what browsers, their developer tools and extensions, and config files of other projects contain.

Each reader looks for one family of forms, and returns nothing if the text is of another one:

    JSON      [{"name": …, "value": …, "domain": …}], a HAR, {"cookie": "a=b; c=d"}, {"secure_1psid": …}
    commands  curl in bash and cmd, Invoke-WebRequest, fetch and other code that has a Cookie header in quotes
    joined    the two values with colons or a bar between them, or `PSID::NID`
    lines     headers, Set-Cookie, cookies.txt, rows of a table of cookies, NAME=value, the bare values
    objects   objects of a name and a value outside of JSON: in Python, in JavaScript, or in lines of JSON
    labels    the names of the two sign-in cookies, each followed by its value
    values    the two values in any text without names, known by how they begin

The first reader that finds the sign-in cookie wins. A cookie may have a domain, and a time at which it expires.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from transports.web import wire

_SIGN_IN = (wire.PSID, wire.PSIDTS)
_BARE = re.compile(r"[^\s=,;:\"'(){}<>\[\]]+=*")
"""A value without its name; it may end in padding."""
_ALIAS = re.compile(r"([a-z]*?)(secure)?(1?)psid(ts)?")
_JOINED_VALUES = re.compile(r"([^\s=,;:|\"'(){}<>\[\]]{4,}=*)(?:::|:|\|)([^\s=,;:|\"'(){}<>\[\]/]{4,}=*)")
"""Two values on a line: the sign-in cookie, and that which rolls or NID."""
_PROJECTS = frozenset({"", "gemini", "google", "geminiweb", "geminigateway", "bard"})
_DOMAIN = re.compile(r"\.?(?:[a-z0-9-]+\.)+[a-z]{2,}", re.IGNORECASE)
_HEADER_KEYS = frozenset({"cookie", "cookies", "cookiestring", "cookiestr", "cookieheader"})
_NAME_KEYS, _VALUE_KEYS = ("name", "name raw", "key"), ("value", "content raw")
_DOMAIN_KEYS = ("domain", "host", "host_key", "hostkey", "host raw")
_EXPIRY_KEYS = ("expirationdate", "expires", "expiry", "expires_utc", "expires raw", "expires / max-age")
_LATEST = 1e11
"""Times of expiry above this are in milliseconds."""
_ATTRIBUTES = frozenset({"created", "hostonly", "httponly", "path", "samesite", "secure", "size"})
_FLAGS = frozenset({"true", "false"})
_QUOTED = r"""(?:"((?:[^"\\`]|[\\`].)*)"|'((?:[^'\\]|\\.)*)')"""
_COOKIE_STRING = re.compile(r"""["']?\bcookie["']?\s*(?:=>|[:=,])\s*""" + _QUOTED, re.IGNORECASE | re.DOTALL)
_NET_COOKIE = re.compile(r"Net\.Cookie\(\s*" + r"\s*,\s*".join([_QUOTED] * 4), re.IGNORECASE)
_ANSI_QUOTED = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_URL = re.compile(r"https?://[^\s\"'^]+")
_SET_COOKIE = re.compile(r"set-cookie2?\s*:\s*(.*)", re.IGNORECASE)
_COOKIE_LINE = re.compile(r"cookie\s*[:\t]\s*(.*)", re.IGNORECASE)
_HOST_LINE = re.compile(r"(?::authority|host|origin)\s*[:\t]\s*(?:https?://)?([^\s/:]+)", re.IGNORECASE)
_DOMAIN_LINE = re.compile(r"domain\s*[:=]\s*[\"']?([^\"'\s]+)", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"(?:export\s+|set\s+|\$env:|-\s+)?[\"']?([\w.-]+)[\"']?\s*(=>|[:=])\s*(.+)", re.IGNORECASE)
_LABEL = re.compile(
    r"(?<![\w-])((?:__)?secure[-_]1psid(?:ts)?)(?![\w-])[\"']?(?:;|[\s:=>,|]+)[\"']?([^\s\"',;|]+)", re.IGNORECASE
)
_OBJECT = re.compile(r"\{[^{}]*\}")
_FIELD = re.compile(r"""["']?\b([a-z_]+)["']?\s*:\s*(?:""" + _QUOTED + r"|([\d.]+))", re.IGNORECASE | re.DOTALL)
_VALUES = re.compile(r"(?<![\w.-])(?:(g\.a[\w-]{20,})|(sidts-[\w-]{10,}))(?![\w.-])")


class FoundCookie(msgspec.Struct, frozen=True):
    """A cookie of an export."""

    name: str
    value: str
    domain: str | None = None
    """The site it belongs to; None: the export does not say."""
    expires: float | None = None
    """Epoch seconds; None: unknown, or when the browser closes."""

    def __repr__(self) -> str:
        """Hide the value."""
        return f"FoundCookie({self.name!r}, domain={self.domain!r})"


Reader = Callable[[str], Iterable[FoundCookie]]


def find_cookies(text: str) -> list[FoundCookie]:
    """Return the cookies of an export, in the order of the text; empty if no form is recognized."""
    first: list[FoundCookie] = []
    for read in (read_json, read_commands, read_joined, read_lines, read_objects, read_labels, read_values):
        found: list[FoundCookie] = []
        with suppress(RecursionError, ValueError):
            found = [one for one in read(text) if one.value]
        if any(one.name == wire.PSID for one in found):
            return found
        first = first or found
    return first


def _canonical(name: str) -> str:
    """Return the name of a sign-in cookie for the ways in which config files write it; other names as they are."""
    match = _ALIAS.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower()))
    if match is None or not ((match[2] and match[3]) or (not match[2] and match[1] in _PROJECTS)):
        return name
    return wire.PSIDTS if match[4] else wire.PSID


def _pairs(header: str, domain: str | None = None) -> Iterator[FoundCookie]:
    """Yield the cookies of a Cookie header; its pieces may be on lines of their own, and its values in quotes."""
    for piece in _unquoted(header).replace("\n", ";").split(";"):
        name, equals, value = piece.partition("=")
        if equals:
            yield FoundCookie(name.strip(), _unquoted(value), domain)


def _set_cookie(line: str, domain: str | None = None) -> FoundCookie:
    """Return the cookie of a Set-Cookie header."""
    pair, *rest = (piece.partition("=") for piece in line.split(";"))
    attributes = {name.strip().lower(): value.strip() for name, _, value in rest}
    expires = _time(attributes.get("expires"))
    if attributes.get("max-age", "").lstrip("-").isdigit() and int(attributes["max-age"]) <= 0:
        expires = 0.0
    return FoundCookie(pair[0].strip(), _unquoted(pair[2]), attributes.get("domain") or domain, expires)


def _unquoted(text: str) -> str:
    text = text.strip().rstrip(",").rstrip() if text.strip()[:1] in "'\"" else text.strip()
    return text[1:-1].strip() if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"" else text


def _site_of(host: str) -> str:
    """Return the domain that a request's cookies count as: requests to Google's hosts carry those of `google.com`."""
    name = host.lower().rstrip(".")
    return wire.COOKIE_DOMAIN if f".{name}".endswith(f".{wire.COOKIE_DOMAIN}") else name


def _time(value: object) -> float | None:
    """Return a time of expiry in epoch seconds: given as seconds, milliseconds, or a date; None if there is none."""
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, int | float):
        seconds = value / 1000 if value > _LATEST else value
        return float(seconds) if 0 < seconds < _LATEST else None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError, TypeError):
            date = read(str(value))
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return None


def read_json(text: str) -> Iterator[FoundCookie]:
    """Read JSON, also within a string of JSON: lists of cookies, requests, headers, and config files.

    Raises:
        ValueError: it is not JSON.

    """
    value = json.loads(text)
    if isinstance(value, str):
        value = json.loads(value)
    yield from _walk(value, "", None)


def _walk(value: Any, key: str, domain: str | None) -> Iterator[FoundCookie]:
    """Yield the cookies at any depth of JSON; `key` is that of the value, `domain` that of a request or key above."""
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _pairs(item, domain) if isinstance(item, str) else _walk(item, key, domain)
    elif isinstance(value, dict):
        yield from _walk_table(cast("dict[str, Any]", value), key, domain)


def _walk_table(table: dict[str, Any], key: str, domain: str | None) -> Iterator[FoundCookie]:
    plain = {name.lower(): item for name, item in table.items()}
    name, content = _first(plain, _NAME_KEYS), _first(plain, _VALUE_KEYS)
    if isinstance(name, str) and isinstance(content, str):
        is_cookie = not key or "cookie" in key.lower() or _DOMAIN.fullmatch(key)  # other lists are of headers
        yield from _named(name, content, plain if is_cookie else None, domain)
    if "name" in plain or "value" in plain:
        return
    request = plain.get("request")  # of an entry of a HAR
    url = _first(cast("dict[str, Any]", request) if isinstance(request, dict) else plain, ("url",))
    domain = _site_of(urlsplit(url).hostname or "") if isinstance(url, str) else domain
    for name, item in table.items():
        if not isinstance(item, str):
            yield from _walk(item, name, name if _DOMAIN.fullmatch(name) else domain)
        elif re.sub(r"[^a-z]", "", name.lower()) in _HEADER_KEYS or f"{wire.PSID}=" in item:
            yield from _pairs(item, domain)
        elif wire.PSID in table or _canonical(name) in _SIGN_IN:
            yield FoundCookie(_canonical(name), _unquoted(item), domain)


def _named(name: str, content: str, fields: dict[str, Any] | None, domain: str | None) -> Iterator[FoundCookie]:
    """Yield the cookie of an object with a name and a value, or those of such a header; `fields`: of a cookie only."""
    if name.lower() == "cookie":
        yield from _pairs(content, domain)
    elif name.lower() == "set-cookie":
        yield from (_set_cookie(line, domain) for line in content.splitlines())
    elif fields is not None:
        own = _first(fields, _DOMAIN_KEYS)
        where = urlsplit(own).hostname if isinstance(own, str) and "://" in own else own
        expires = _time(_first(fields, _EXPIRY_KEYS))
        yield FoundCookie(_canonical(name), _unquoted(content), where if isinstance(where, str) else domain, expires)


def _first(fields: dict[str, Any], keys: Iterable[str]) -> Any:
    return next((fields[key] for key in keys if key in fields), None)


def read_commands(text: str) -> Iterator[FoundCookie]:
    """Read commands of curl, and code that sets a Cookie header or a .NET cookie."""
    for command in re.split(r"(?m)^(?=[ \t]*curl(?:\.exe)?\s)", text):
        if command.lstrip().startswith("curl"):
            yield from read_curl(command)
    for match in _NET_COOKIE.finditer(text):
        name, value, _, domain = (_unescaped(match[place] or match[place + 1] or "") for place in (1, 3, 5, 7))
        yield FoundCookie(name, value, domain)
    url = _URL.search(text)
    site = _site_of(urlsplit(url[0]).hostname or "") if url else None
    for match in _COOKIE_STRING.finditer(text):
        yield from _pairs(_unescaped(match[1] or match[2] or ""), site)


def read_curl(command: str) -> Iterator[FoundCookie]:
    """Read one curl command as bash or cmd quotes it.

    Raises:
        ValueError: a quote is not closed.

    """
    if re.search(r"\^[\"\r\n]", command):  # cmd: a caret escapes the next character
        command = re.sub(r"\^(\r?\n|.)", lambda match: " " if match[1].strip() == "" else match[1], command)
    command = _ANSI_QUOTED.sub(lambda match: shlex.quote(_unescaped(match[1])), command)
    words = shlex.split(command.replace("\\\r\n", " "))
    urls = [word for word in words if _URL.match(word)]
    site = _site_of(urlsplit(urls[0]).hostname or "") if urls else None
    for option, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = option.partition("=")
        if option in {"-b", "--cookie"}:
            yield from _pairs(following, site)
        elif equals and name == "--cookie":
            yield from _pairs(value, site)
        elif match := _COOKIE_LINE.match(option.removeprefix("-H").removeprefix("--header=")):
            yield from _pairs(match[1], site)


def _unescaped(text: str) -> str:
    """Undo the escapes of a string in quotes, as bash's `$'…'`, JavaScript and PowerShell write them."""
    text = re.sub(r"`(.)", r"\1", text)
    return _ESCAPE.sub(lambda match: chr(int(match[1][1:], 16)) if len(match[1]) > 1 else match[1], text)


def read_joined(text: str) -> Iterator[FoundCookie]:
    """Read two values on a line with colons or a bar between them."""
    match = _JOINED_VALUES.fullmatch(text.strip())
    if match and not match[1].startswith("__"):
        rolls = match[2].startswith("sidts-") or "::" not in text
        yield FoundCookie(wire.PSID, match[1])
        yield FoundCookie(wire.PSIDTS if rolls else "NID", match[2])


def read_lines(text: str) -> Iterable[FoundCookie]:
    """Read lines: headers, Set-Cookie headers, rows of a table, assignments, or the bare values."""
    lines = _joined(text)
    if len(lines) <= len(_SIGN_IN) and all(_BARE.fullmatch(line) for line in lines):
        return [FoundCookie(name, line) for name, line in zip(_SIGN_IN, lines, strict=False)]
    for line in lines:
        match = _ASSIGNMENT.fullmatch(line)
        if match and _is_header(*match.groups()):
            return _pairs(match[3])
    columns: list[str] = []
    site: str | None = None
    found: list[FoundCookie] = []
    for line in lines:
        if found and (match := _DOMAIN_LINE.fullmatch(line.rstrip("\"';, "))):
            found[-1] = msgspec.structs.replace(found[-1], domain=match[1])
        elif match := _HOST_LINE.match(line):
            site = _site_of(match[1])
        elif {"name", "value"} <= set(line.lower().split("\t")):
            columns = line.lower().split("\t")
        else:
            found += _of_line(line, columns, site)
    has_alias = wire.PSID not in text and any(one.name == wire.PSID for one in found)
    return [one for one in found if one.name in _SIGN_IN] if has_alias else found


def _is_header(name: str, sign: str, value: str) -> bool:
    """Return whether a variable, such as `GEMINI_COOKIE`, has a whole Cookie header as its value."""
    quoted = value[0] in "'\"" and value[0] == value[-1] and value.find(value[0], 1) == len(value) - 1
    return f"{wire.PSID}=" in value and (quoted or (sign == "=" and "cookie" in name.lower()))


def _joined(text: str) -> list[str]:
    """Return the lines without comments; the name of a Cookie header and its value on the next line become one."""
    lines: list[str] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if lines and lines[-1].lower().rstrip(":") == "cookie":
            lines[-1] = f"cookie: {line}"
        elif line.startswith("#HttpOnly_") or not line.startswith("#"):
            lines.append(line.removeprefix("#HttpOnly_"))
    return lines


def _of_line(line: str, columns: Sequence[str], site: str | None) -> Iterator[FoundCookie]:
    """Yield the cookies of one line."""
    if match := _SET_COOKIE.match(line):
        yield _set_cookie(match[1], site)
    elif match := _COOKIE_LINE.match(line):
        yield from _pairs(match[1], site)
    elif (row := _of_row(line.split("\t"), columns) or _of_row(line.split(), ())) is not None:
        yield row
    elif (match := _ASSIGNMENT.fullmatch(line)) and ";" not in line.rstrip(";"):
        name, sign, value = _canonical(match[1]), match[2], match[3].rstrip(";,")
        is_item = sign != ":" or (value[:1] in "'\"" and name.lower() not in _ATTRIBUTES)
        if name in _SIGN_IN or is_item:
            yield FoundCookie(name, _unquoted(value), site)
    else:
        yield from _pairs(line, site)


def _of_row(fields: Sequence[str], columns: Sequence[str]) -> FoundCookie | None:
    """Read a row of cookies.txt or of a table of cookies: the developer tools of browsers order their columns apart."""
    cells = [field.strip() for field in fields]
    if len(cells) >= 6 and cells[1].lower() in _FLAGS and cells[3].lower() in _FLAGS:
        value = cells[6] if len(cells) > 6 else ""
        return FoundCookie(cells[5], _unquoted(value), cells[0], _time(cells[4]))
    if columns and len(cells) > 1:
        row = dict(zip(columns, cells, strict=False))
        name, value = row.get("name", ""), row.get("value", "")
        return FoundCookie(name, _unquoted(value), row.get("domain") or None, _time(_first(row, _EXPIRY_KEYS)))
    places = [place for place, cell in enumerate(cells) if place and _DOMAIN.fullmatch(cell)]
    sure = [place for place in places if cells[place].startswith(".") or cells[place].endswith(wire.COOKIE_DOMAIN)]
    place = next(iter(sure or places), 0)
    if not place:
        is_pair = len(cells) == 2 and _canonical(cells[0]) in _SIGN_IN
        return FoundCookie(_canonical(cells[0]), _unquoted(cells[1])) if is_pair else None
    others = [cell for number, cell in enumerate(cells) if number not in {0, place} and cell]
    if not others or "=" in cells[0]:
        return None
    value = cells[1] if place > 1 and not cells[1].startswith("/") else max(others, key=len)
    dates = [time for cell in others if cell != value and not cell.isdigit() and (time := _time(cell)) is not None]
    return FoundCookie(cells[0], _unquoted(value), cells[place], max(dates, default=None))


def read_labels(text: str) -> Iterator[FoundCookie]:
    """Find the sign-in cookies by their names, in any text."""
    for match in _LABEL.finditer(text):
        yield FoundCookie(_canonical(match[1]), match[2])


def read_objects(text: str) -> Iterator[FoundCookie]:
    """Find objects with a name and a value in text that is not JSON as a whole."""
    for match in _OBJECT.finditer(text):
        fields = {field[1].lower(): _unescaped(field[2] or field[3] or field[4]) for field in _FIELD.finditer(match[0])}
        name, content = _first(fields, _NAME_KEYS), _first(fields, _VALUE_KEYS)
        if name and content:
            yield from _named(name, content, fields, None)


def read_values(text: str) -> Iterator[FoundCookie]:
    """Find the values of the sign-in cookies in text that names no cookie: other cookies begin like them."""
    if "sid" in _VALUES.sub("", text).lower():
        return
    for match in _VALUES.finditer(text):
        yield FoundCookie(wire.PSID if match[1] else wire.PSIDTS, match[0])
