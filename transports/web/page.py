"""What the page /app tells; no I/O. Source: "Session", step 1."""

import re

import msgspec

from transports.web import wire


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What requests to the site carry of the page that a browser would have loaded."""

    access_token: str | None
    """None: the site treats us as a guest."""
    build_label: str
    session_id: str
    language: str
    push_id: str

    def __repr__(self) -> str:
        """Show no token."""
        return f"Page(build_label={self.build_label!r}, signed_in={self.access_token is not None})"


def read_page(html: str) -> Page | None:
    """Read the page; None where it is not the app's (a consent or challenge page)."""
    build_label, session_id = _value(html, wire.KEY_BUILD_LABEL), _value(html, wire.KEY_SESSION_ID)
    if build_label is None or session_id is None:
        return None
    return Page(
        access_token=_value(html, wire.KEY_ACCESS_TOKEN) or None,
        build_label=build_label,
        session_id=session_id,
        language=_value(html, wire.KEY_LANGUAGE) or "en",
        push_id=_value(html, wire.KEY_PUSH_ID) or "",
    )


def _value(html: str, key: str) -> str | None:
    found = re.search(rf'"{key}"\s*:\s*"((?:[^"\\]|\\.)*)"', html)
    if found is None:
        return None
    try:
        return msgspec.json.decode(f'"{found[1]}"', type=str)
    except msgspec.DecodeError:
        return None
