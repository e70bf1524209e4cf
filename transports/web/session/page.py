"""Reads tokens and ids from the page /app. No I/O. Source: "Session", step 1."""

import re

import msgspec
from yarl import URL

from transports.web import wire

_APP = re.compile(rf"({wire.USER_PREFIX.format('[0-9]+')})?{wire.APP_PATH}/?")


class AppPage(msgspec.Struct, frozen=True, kw_only=True):
    """The values from the app page that every request to the site carries.

    Every field may be missing from the page of a signed-in account. Source: "Session", step 1.
    """

    access_token: str | None = None
    """The page's token, under either name. Most pages have none, also for signed-in accounts; guests need none."""
    build_label: str | None = None
    session_id: str | None = None
    language: str = wire.DEFAULT_LANGUAGE
    push_id: str = wire.DEFAULT_PUSH_ID

    def __repr__(self) -> str:
        """Leave the token out."""
        return f"AppPage(build_label={self.build_label!r}, token={self.access_token is not None})"


def read_page(html: str) -> AppPage | None:
    """Parse the page; return None if it lacks the app's keys (a sign-in, consent or challenge page)."""
    token = _value(html, wire.KEY_ACCESS_TOKEN) or _value(html, wire.KEY_ACCESS_TOKEN_OTHER)
    build_label, session_id = _value(html, wire.KEY_BUILD_LABEL), _value(html, wire.KEY_SESSION_ID)
    language = _value(html, wire.KEY_LANGUAGE)
    if not (token or build_label or session_id or language):
        return None
    return AppPage(
        access_token=token,
        build_label=build_label,
        session_id=session_id,
        language=language or wire.DEFAULT_LANGUAGE,
        push_id=_value(html, wire.KEY_PUSH_ID) or wire.DEFAULT_PUSH_ID,
    )


def redirected(url: str, location: str) -> str | None:
    """Return the target of a redirect from `url` if it is the app on the same host, else None."""
    try:
        target = URL(url).join(URL(location))
        own = target.origin() == URL(url).origin()
    except ValueError:
        return None
    return str(target) if location and own and _APP.fullmatch(target.path) else None


def _value(html: str, key: str) -> str | None:
    found = re.search(rf'"{key}"\s*:\s*"((?:[^"\\]|\\.)*)"', html)
    if found is None:
        return None
    try:
        return msgspec.json.decode(f'"{found[1]}"', type=str) or None
    except msgspec.DecodeError:
        return None
