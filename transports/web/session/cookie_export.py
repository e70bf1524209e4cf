"""Turns what an operator copied from a browser into the cookies of a session, and refuses what cannot be one.

Source: "Session", "Field notes".
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import unquote

from transports.web import wire
from transports.web.session.cookie_forms import FoundCookie, find_cookies
from transports.web.session.cookies import is_our_domain, is_sendable

_SIGN_IN = (wire.PSID, wire.PSIDTS)
_HOST = "gemini.google.com"
_NAMED = re.compile(r"secure[-_]?1psid(?!cc)", re.IGNORECASE)
_FORMS = (
    "a Cookie header; Copy as cURL, PowerShell or fetch (Node.js); the request's headers; a HAR with sensitive data; "
    "rows of the table of cookies; cookies.txt; JSON of a cookie extension; NAME=value lines; or the value of "
    f"{wire.PSID} and, on the next line, that of {wire.PSIDTS}"
)
_NO_SECRET = re.compile(
    r"\.\.\.|[<>]|(?<![a-z0-9])your(?![a-z0-9])|example|placeholder|x{6}|^x+$|undefined|deleted|expired",
    re.IGNORECASE,
)
"""Texts that stand for a value; each is too long to occur in a random one."""
_INVISIBLE = str.maketrans("", "", "\u200b\u200c\u200d\u2060\ufeff")
"""Characters that web pages and chats put between others."""
_CODE_SPAN = re.compile(r"`+([^`\n]*)`+")
_KNOWN_SITE = re.compile(r"([a-z]+\.)?(youtube|google)(\.[a-z]{2,3}){1,2}")
"""Sites that errors name; another text may be a value in the wrong place."""
_SHORTEST = 10
"""Real values have 70 characters or more."""


class CookieExportError(ValueError):
    """A cookie export that cannot be read; the message contains no value."""


def parse_export(text: str, now: float = 0.0) -> dict[str, str]:
    """Return the cookies of an export, in any form of `cookie_forms`.

    Of several cookies with one name, that of `google.com` is taken, and never one of another site. Cookies that are not
    sendable are left out, unless they are the sign-in cookies. A sign-in cookie that has expired at `now`, in epoch
    seconds, is refused; by default, dates do not matter.

    Raises:
        CookieExportError: no form is recognized, `__Secure-1PSID` is missing, or a sign-in cookie cannot be one.

    """
    text = text.translate(_INVISIBLE).strip()
    if "WebRequest" not in text:  # in PowerShell a backtick is an escape
        text = _CODE_SPAN.sub(r"\1", text)
    text = text.strip("`").strip()
    if text[:1] in {"'", '"'} and text.find(text[0], 1) == len(text) - 1:
        text = text[1:-1].strip()
    found = find_cookies(text)
    ours = of_our_site(found)
    if wire.PSID not in ours:
        raise CookieExportError(_missing(text, found))
    cookies = {one.name: unquote(one.value) if one.name in _SIGN_IN else one.value for one in ours.values()}
    _check([ours[name] for name in _SIGN_IN if name in ours], cookies, now)
    return {name: value for name, value in cookies.items() if is_sendable(name) and is_sendable(value)}


def check_new(text: str, now: float, is_simulated: bool) -> None:
    """Check an export from which an account is added; the simulator's accounts may have short values.

    Raises:
        CookieExportError: as `parse_export`; a sign-in cookie has expired, is too short, or is a placeholder.

    """
    cookies = parse_export(text, now)
    if is_simulated:
        return
    if len(cookies[wire.PSID]) < _SHORTEST:
        raise CookieExportError(f"the value of {wire.PSID} is too short; copy the whole value from the browser")
    for name in _SIGN_IN:
        if _NO_SECRET.search(cookies.get(name, "")):
            raise CookieExportError(f"the value of {name} is a placeholder, or cut off; copy the whole value")


def of_our_site(found: Iterable[FoundCookie]) -> dict[str, FoundCookie]:
    """Return the cookies of `google.com` by name; the last one of each wins.

    Sign-in cookies may also be those of the site's own host, if there are no others. A cookie without a domain counts
    as one of `google.com`.
    """
    cookies: dict[str, FoundCookie] = {}
    ranks: dict[str, int] = {}
    for one in found:
        domain = (one.domain or wire.COOKIE_DOMAIN).lower().lstrip(".")
        if not is_our_domain(domain) and not (domain == _HOST and one.name in _SIGN_IN):
            continue
        rank = 2 if is_our_domain(domain) and one.domain else 1 if is_our_domain(domain) else 0
        if rank >= ranks.get(one.name, 0):
            cookies[one.name], ranks[one.name] = one, rank
    return cookies


def _missing(text: str, found: Iterable[FoundCookie]) -> str:
    """Say why there is no `__Secure-1PSID`."""
    sites = [one.domain.lower().lstrip(".") for one in found if one.name == wire.PSID and one.domain]
    if sites:
        known = sorted({site if _KNOWN_SITE.fullmatch(site) else "another site" for site in sites})
        return f"the {wire.PSID} is one of {', '.join(known)}; copy that of .google.com, at https://{_HOST}"
    if _NAMED.search(text) or not list(found):
        return f"this form is not understood; these are: {_FORMS}"
    return (
        f"the export holds no {wire.PSID}; copy it where {_HOST} is open and signed in: "
        "scripts of a page, document.cookie and Copy as fetch leave it out"
    )


def _check(sign_in: Iterable[FoundCookie], cookies: dict[str, str], now: float) -> None:
    """Raise CookieExportError if a sign-in cookie has expired, is not sendable, or has the value of the other one."""
    for cookie in sign_in:
        if cookie.expires is not None and cookie.expires <= now:
            day = datetime.fromtimestamp(cookie.expires, UTC).date()
            raise CookieExportError(f"the cookie {cookie.name} expired on {day}; sign in again and copy the new one")
        if not is_sendable(cookies[cookie.name]):
            reason = "holds a character that no cookie may have, such as a blank"
            raise CookieExportError(f"the cookie {cookie.name!r} {reason}; copy its value again")
    psid, psidts = cookies[wire.PSID], cookies.get(wire.PSIDTS, "")
    if psid.startswith("sidts-") and psidts.startswith("g.a"):
        raise CookieExportError(f"the values of {wire.PSID} and {wire.PSIDTS} are swapped")
    if psid.startswith("sidts-"):
        raise CookieExportError(f"the value of {wire.PSID} is that of {wire.PSIDTS}; copy the value of {wire.PSID}")
    if psidts.startswith("g.a"):
        raise CookieExportError(f"the value of {wire.PSIDTS} is that of a {wire.PSID}; copy the value of {wire.PSIDTS}")
