"""Writes the Cookie header and merges Set-Cookie headers. No I/O.

Source: "Session", "Field notes".
"""

from collections.abc import Iterable, Mapping

from transports.web import wire

_FORBIDDEN = frozenset(' ;,"\\')


def is_our_domain(domain: str) -> bool:
    """Return whether a cookie's domain is that of the site's sign-in, `google.com`."""
    return domain.lstrip(".").lower() == wire.COOKIE_DOMAIN


def is_sendable(text: str) -> bool:
    """Return whether a name or a value may stand in a Cookie header (RFC 6265, section 4.1.1)."""
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
        foreign = about.get("domain") and not is_our_domain(about["domain"])
        changed = name in wire.IDENTITY_COOKIES and name in merged and merged[name] != value
        gone = about.get("max-age", "").startswith(("-", "0"))
        if not (foreign or changed or gone) and is_sendable(name) and is_sendable(value):
            merged[name] = value
    return merged
