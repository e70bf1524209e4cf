"""JSON request and response types of the admin API."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.accounts.views import AccountStatus, AccountView
from transports.account import Finding
from transports.accounts.registry import AccountId

Reason = Annotated[str, Meta(max_length=500)]


class RequestBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of request bodies."""


class NewAccount(RequestBody, frozen=True):
    """An account to add or replace."""

    id: AccountId
    secret: Annotated[str, Meta(min_length=1)]
    """The credential. For the official API: the key. For a website account: the session cookies, as a Cookie header,
    a browser's JSON or Netscape export, or the two values on two lines."""
    transport: str = ""
    """Name of the transport in the settings; empty: the one whose credentials have this form."""
    options: dict[str, Any] = {}
    """Other account settings of the transport, such as `concurrency`, `weight` or `proxy`."""
    replace: bool = False
    """Replace the account with this id if it exists."""
    check: bool = False
    """Check the account first, and add it only if no step fails; takes several seconds."""

    def __repr__(self) -> str:
        """Hide the secret."""
        return f"NewAccount(id={self.id!r})"


class PauseRequest(RequestBody, frozen=True):
    """A request to pause an account."""

    reason: Reason = ""
    """Why the account is paused."""


class AccountList(msgspec.Struct, frozen=True, kw_only=True):
    """All accounts: those of the settings, then those of the store."""

    accounts: tuple[AccountView, ...]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an account check."""

    account: str
    healthy: bool
    """Whether no step failed."""
    findings: tuple[Finding, ...]


class ExportedCredential(msgspec.Struct, frozen=True, kw_only=True):
    """The current credential of an account, such as its session; it gives full access to the account."""

    account: str
    secret: str

    def __repr__(self) -> str:
        """Hide the secret."""
        return f"ExportedCredential(account={self.account!r})"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A running process of the gateway."""

    id: str
    started: float
    """Start time in epoch seconds."""
    in_flight: int
    """Requests that are open on accounts."""


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Status of the store."""

    kind: str
    """sqlite or redis."""
    encrypted: bool
    """Whether secrets in the store are encrypted."""
    available: bool
    """Whether the store answers."""
    breaker_open: bool
    """Whether the circuit breaker is open after a recent failure, so that calls fail at once."""
    reason: str = ""
    """Machine-readable reason why the store does not answer."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Status of the gateway."""

    version: str
    draining: bool
    """Whether this process is shutting down."""
    store: StoreStatus
    processes: tuple[Process, ...] | None
    """Running processes; None: the store does not answer."""
    accounts: dict[AccountStatus, int] | None
    """Number of accounts in each state; None: the store does not answer."""


class LostEvents(msgspec.Struct, frozen=True, kw_only=True):
    """Data of the `lost` event: the stream cannot resume, so read the accounts again."""

    message: str
    """Explanation for people."""


class AdminError(msgspec.Struct, frozen=True, kw_only=True):
    """An error of the admin API."""

    code: str
    """Machine-readable error code."""
    message: str
    """Explanation for people."""


class AdminErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """Body of an error response."""

    error: AdminError
