"""The web transport's settings."""

from pathlib import Path

import msgspec

from transports.http import Timeouts
from transports.web import wire


class Hosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the site's hosts are; a proxy or the simulator can stand in."""

    site: str = wire.SITE
    accounts: str = wire.ACCOUNTS
    upload: str = wire.UPLOAD


class WebAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signed-in account of the operator's."""

    id: str
    """A name of your choice; logs and metrics show it."""
    cookies_file: Path | None = None
    """The browser's export: a Cookie header, JSON, Netscape format, or the two values on two lines."""
    cookies: str = ""
    """The same as text; a file is better."""
    user_agent: str | None = None
    """The browser's that the session was exported from; None: the transport's."""
    concurrency: int = 5
    """Requests at once."""
    per_minute: int = 30
    """Requests a minute; 0: no limit."""
    field13: bool = False
    """The account's model header carries its capacity one field later."""
    proxy: str | None = None
    """An HTTP proxy for this account alone."""

    def __repr__(self) -> str:
        """Show no cookie."""
        return f"WebAccount(id={self.id!r})"


class WebConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Gemini website, with the operator's own accounts."""

    accounts: tuple[WebAccount, ...] = ()
    guest: bool = True
    """Serve the models that need no account without one."""
    guest_concurrency: int = 2
    guest_per_minute: int = 10
    hosts: Hosts = Hosts()
    ca_file: Path | None = None
    """Certificates to trust instead of the system's, for a host that stands in."""
    user_agent: str = "Mozilla/5.0 (X11; Linux x86_64) gemini-gateway"
    rotate_seconds: float = 540.0
    """How often an account's rolling cookie is renewed, give or take a tenth; 0: never."""
    activity_seconds: float = 60.0
    """The activity ping goes before a generation, at most so often; 0: never."""
    temporary: bool = True
    """Keep conversations out of the account's history."""
    max_frame: int = 8 * 1024 * 1024
    """The longest frame to accept, in UTF-16 code units."""
    timeouts: Timeouts = Timeouts()
