"""What the admin API takes and answers, as JSON."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from service.accounts.views import AccountStatus, AccountView
from transports.account import Finding

Reason = Annotated[str, Meta(max_length=500)]


class Taken(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what is taken."""


class NewAccount(Taken, frozen=True):
    """An account to be added."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._@+-]{1,64}\Z")]
    session: Annotated[str, Meta(min_length=1)]
    """What signs its requests: a Cookie header, a browser's JSON or Netscape export, or the two values on two lines."""
    transport: str = "web"
    """What it is for, as the settings name it."""
    options: dict[str, Any] = {}
    """What else the transport's settings would say of an account, as `concurrency`, `weight` or `proxy`."""
    replace: bool = False
    """Change the account of this id if there is one."""

    def __repr__(self) -> str:
        """Show no session."""
        return f"NewAccount(id={self.id!r})"


class Pausing(Taken, frozen=True):
    """Why an account is paused."""

    reason: Reason = ""


class AccountList(msgspec.Struct, frozen=True, kw_only=True):
    """All accounts: those of the settings, then those that were added."""

    accounts: tuple[AccountView, ...]


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What an examination of an account has found."""

    account: str
    well: bool
    """Nothing has failed."""
    findings: tuple[Finding, ...]


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """An account's session as it is now: whoever has it is signed in as the account."""

    account: str
    session: str

    def __repr__(self) -> str:
        """Show no session."""
        return f"Exported(account={self.account!r})"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process of the gateway that is there now."""

    id: str
    started: float
    """Epoch seconds."""
    in_flight: int
    """Requests that it has with accounts."""


class StoreStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the store is."""

    kind: str
    """sqlite or redis"""
    encrypted: bool
    """Whether what is secret in it is encrypted."""
    answers: bool
    breaker_open: bool
    """It is not asked now: it did not answer a moment ago."""
    reason: str = ""
    """Why it does not answer, in a word of a closed set."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway is."""

    version: str
    draining: bool
    """Whether the process that answers is ending."""
    store: StoreStatus
    processes: tuple[Process, ...] | None
    """None: the store does not say."""
    accounts: dict[AccountStatus, int] | None
    """How many are in each state; None: the store does not say."""


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """That the feed could not be gone on with where it was left: read the accounts anew."""

    words: str


class AdminError(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was not done."""

    code: str
    """A word of a closed set."""
    message: str
    """For a person."""


class AdminErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body that holds it."""

    error: AdminError
