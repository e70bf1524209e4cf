"""One account as all that deal with accounts know it, and what an examination of one finds."""

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from protocol.model import Capability, SignedOut


class AccountKind(StrEnum):
    """What signs an account's requests."""

    SESSION = "session"
    """A website's cookies."""
    API_KEY = "api_key"
    SERVICE_ACCOUNT = "service_account"
    GUEST = "guest"
    """No credential: the site serves it as a guest."""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream says of one of an account's allowances."""

    name: str
    """A name of the transport's choice, such as `pro` or `week`."""
    family: str = ""
    """The model family that it limits; the pool does not use a quota without one."""
    total: int
    """0, with nothing left: there is no limit."""
    left: int
    reset: float | None = None
    """When it resets, in epoch seconds."""

    @property
    def unlimited(self) -> bool:
        """Whether the upstream says that there is no limit."""
        return not self.total and not self.left

    @property
    def used_up(self) -> bool:
        """Whether there is a limit and nothing is left of it."""
        return not self.left and not self.unlimited


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport knows about an account besides its settings; it changes over time."""

    plan: str = ""
    """As the upstream says; empty: not known yet."""
    credential: str = ""
    """A fingerprint of the credential. When it changes, an account that needs attention is tried again. Not secret."""
    rotated_at: float | None = None
    """When the credential was last renewed, in epoch seconds."""
    expires_at: float | None = None
    """When it ends unless it is renewed, in epoch seconds."""
    rotation_note: str = ""
    """How the credential is renewed, in words for an operator, where that is unusual; empty: nothing to say."""
    quotas: tuple[Quota, ...] = ()


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One credential, as the pool knows it; what signs a request stays with the transport."""

    id: str
    """Chosen by the operator; unique over all transports; fit for logs."""
    transport: str
    kind: AccountKind = AccountKind.SESSION
    concurrency: int = 5
    """How many requests it may carry at once, over all processes."""
    weight: float = 1.0
    """How much of the load it gets, beside others."""
    per_minute: int = 0
    """How many requests it may begin in a minute, over all processes; 0: no limit."""
    per_day: Mapping[Capability, int] = {}
    """How many of each capability it may begin in a day; one that is not named has no limit."""
    capabilities: frozenset[Capability] = frozenset(Capability)
    """What it is asked for."""
    egress: str = ""
    """The way out that its requests take, without credentials; accounts with the same one share an address."""
    facts: Callable[[], Facts] = Facts
    """Returns what is known of it now."""

    @property
    def guest(self) -> bool:
        """Whether it is a guest, which can only use models that need no account."""
        return self.kind is AccountKind.GUEST


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport has found out about an account outside of any request."""

    account: str
    check: str
    """Which of the transport's own checks found it, in a word: the same check reports when that is over."""
    error: SignedOut | None = None
    """Why the account cannot serve; None: it can, as far as this check tells."""
    served: bool = True
    """The check was answered as the account's requests are. A renewal of its credential is no such check."""


class Level(StrEnum):
    """How a step of an examination went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One step of an examination."""

    step: str
    """What was looked at, in a word or three."""
    level: Level
    message: str
    """What was found, for a person; no secret."""
    advice: str = ""
    """What to do about it."""


def ok(step: str, message: str) -> Finding:
    """Find a step well."""
    return Finding(step=step, level=Level.OK, message=message)


def warning(step: str, message: str, advice: str) -> Finding:
    """Find something that is worth a look."""
    return Finding(step=step, level=Level.WARNING, message=message, advice=advice)


def failed(step: str, message: str, advice: str) -> Finding:
    """Find something that must be mended."""
    return Finding(step=step, level=Level.FAILED, message=message, advice=advice)
