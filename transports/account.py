"""Accounts as pools see them, what transports report about them, and the findings of an account check."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

import msgspec

from protocol.model import Capability, SignedOut


class AccountKind(StrEnum):
    """Kind of credential that an account has."""

    SESSION = "session"
    """Cookies of a website session."""
    API_KEY = "api_key"
    SERVICE_ACCOUNT = "service_account"
    GUEST = "guest"
    """No credential."""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """A quota of an account, as the upstream reports it."""

    name: str
    """A name of the transport's choice, such as `pro` or `week`."""
    family: str = ""
    """The model family that it limits; the pool does not use a quota without one."""
    total: int
    """Size of the quota; 0, with 0 remaining: no limit."""
    remaining: int
    resets_at: float | None = None
    """Time of the next reset, in epoch seconds."""

    @property
    def unlimited(self) -> bool:
        """Whether there is no limit."""
        return not self.total and not self.remaining

    @property
    def used_up(self) -> bool:
        """Whether nothing remains of the quota."""
        return not self.remaining and not self.unlimited

    def has_more_than(self, before: "Quota") -> bool:
        """Return whether more remains than before."""
        return self.remaining > before.remaining or (self.unlimited and not before.unlimited)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport knows about an account besides its settings; it changes over time."""

    plan: str = ""
    """Plan as the upstream reports it; empty: unknown."""
    credential: str = ""
    """A fingerprint of the credential. When it changes, an account that needs attention is tried again. Not secret."""
    rotated_at: float | None = None
    """Time of the last rotation of the credential, in epoch seconds."""
    expires_at: float | None = None
    """Time at which it expires without a rotation, in epoch seconds."""
    rotation_note: str = ""
    """A note for the operator about an unusual rotation; empty: none."""
    quotas: tuple[Quota, ...] = ()


async def reachable() -> None:
    """Return at once: the account needs no connection of its own."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as the pool sees it; the credential itself stays with the transport."""

    id: str
    """Name chosen by the operator; unique over all transports, and safe to log."""
    transport: str
    kind: AccountKind = AccountKind.SESSION
    concurrency: int = 5
    """Limit of concurrent requests over all processes."""
    weight: float = 1.0
    """Share of the load relative to other accounts."""
    per_minute: int = 0
    """Limit of requests per minute over all processes; 0: no limit."""
    per_day: Mapping[Capability, int] = {}
    """Limits of requests per day by capability; others are not limited."""
    capabilities: frozenset[Capability] = frozenset(Capability)
    """Capabilities that it may serve."""
    tier: str = ""
    """Whether its use costs money, such as `free` or `paid`; empty: the transport has no tiers."""
    quota_group: str = ""
    """Accounts with the same one share the upstream's quotas; empty: it has quotas of its own."""
    lacks: Callable[[str], bool] = lambda _: False
    """Whether it never has what a quota is named after (`Requirement.family`)."""
    egress: str = ""
    """Proxy of its requests, without credentials; accounts with the same one share an IP address."""
    tags: tuple[str, ...] = ()
    """Words by which operators find it."""
    note: str = ""
    """A note for operators."""
    facts: Callable[[], Facts] = Facts
    """Returns its current facts."""
    reach: Callable[[], Awaitable[None]] = reachable
    """Connects to the upstream as its requests do, without its credential. Raises Disconnected or UpstreamTimeout if
    its egress does not work, another GatewayError for an error of the upstream."""

    @property
    def guest(self) -> bool:
        """Whether it is a guest, which can only use models that need no account."""
        return self.kind is AccountKind.GUEST


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report of a transport about an account, found outside of any request."""

    account: str
    check: str
    """Name of the transport's check that found it; the same check reports the recovery."""
    error: SignedOut | None = None
    """Why the account cannot serve; None: the check succeeded."""
    served: bool = True
    """Whether the check was served like a request of the account; a rotation is not."""


class Level(StrEnum):
    """Outcome of one step of an account check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one step of an account check."""

    step: str
    """What was checked, in one to three words."""
    level: Level
    message: str
    """What was found; contains no secret."""
    advice: str = ""
    """What to do about it."""


def ok(step: str, message: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(step=step, level=Level.OK, message=message)


def warning(step: str, message: str, advice: str) -> Finding:
    """Return a finding that may be a problem."""
    return Finding(step=step, level=Level.WARNING, message=message, advice=advice)


def failed(step: str, message: str, advice: str) -> Finding:
    """Return a finding that must be fixed."""
    return Finding(step=step, level=Level.FAILED, message=message, advice=advice)
