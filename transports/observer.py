"""Interface for observing upstream requests and account changes."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from protocol.model import Served

ELSEWHERE = "another process"
"""Author of a change that this process read from the store; the process that made it counts it."""


class AccountChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an account: its state, its settings or its session."""

    at: float
    """Epoch seconds."""
    account: str
    transport: str
    event: str
    """added, changed, removed, paused, resumed, needs_attention, recovered, cooldown_started, cooldown_ended, rotated,
    rotation_failed."""
    scope: str = ""
    """`family/capability` that a cooldown applies to; `*` matches all. Empty: everything."""
    reason: str = ""
    """Machine-readable reason."""
    message: str = ""
    """Explanation, and what to do about it."""
    seconds: float | None = None
    """Length of the cooldown."""
    by: str = ""
    """User or admin token that made the change; empty: the gateway itself."""


class AccountStats(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of the accounts of a transport."""

    transport: str
    by_status: Mapping[tuple[str, str, str], int]
    """Number of accounts by kind, capability and state: ready, cooling_down, needs_attention or paused."""
    by_model: Mapping[tuple[str, str, str, str, str], int] = {}
    """The same by kind, tier, capability, model (or model family) and state for that model: ready, needs_attention,
    paused, not_included, or the reason of a cooldown."""
    rotated: Mapping[str, float]
    """Time of each account's last cookie rotation in epoch seconds, if known; without accounts that need attention."""


class Observer(Protocol):
    """Receives upstream requests and account changes, for metrics and the change feed."""

    def upstream_request(self, transport: str) -> None:
        """A request is about to be sent."""
        ...

    def upstream_error(self, transport: str, kind: str) -> None:
        """A request ended with an error; `kind` is the class name of a GatewayError."""
        ...

    def retry_decided(self, transport: str, decision: str) -> None:
        """A retry decision was made after an error; `decision` is `RetryDecision.label`."""
        ...

    def retried(self, transport: str) -> None:
        """A request is about to be retried with another account."""
        ...

    def rerouted(self, transport: str, tier: str, kind: str) -> None:
        """A request was passed on to the next hop of its route; `kind` is the class name of the GatewayError."""
        ...

    def leased(self, transport: str, change: int) -> None:
        """A request took (1) or released (-1) an account."""
        ...

    def waiting(self, transport: str, change: int) -> None:
        """A request entered (1) or left (-1) the queue for an account."""
        ...

    def waited(self, transport: str, seconds: float) -> None:
        """A request got an account after waiting for `seconds`."""
        ...

    def rotated(self, transport: str, account: str, outcome: str) -> None:
        """A cookie rotation ended; `outcome` is from a fixed set."""
        ...

    def changed(self, change: AccountChange) -> None:
        """An account has changed."""
        ...

    def throttled(self, transport: str) -> None:
        """A request was refused because the upstream, or the account, rejects most requests."""
        ...

    def answered(self, served: Served) -> None:
        """An answer has ended, complete or not; `served` names its model if the upstream reported it."""
        ...

    def model_mismatched(self, transport: str, requested: str, answered: str) -> None:
        """A model of another family than requested has answered; both are from a fixed set."""
        ...

    def context_cache(self, transport: str, outcome: str) -> None:
        """A cache was created, extended, used, refused or lost: these words are the outcomes."""
        ...

    def account_stats(self, stats: AccountStats) -> None:
        """The statistics of a transport's accounts have changed."""
        ...


class Fanout:
    """Observer that passes everything to another one, and account changes to listeners too."""

    def __init__(self, observer: Observer, *listeners: Callable[[AccountChange], None]) -> None:
        """Pass changes to `observer`, then to each of the `listeners`."""
        self._listeners = (observer.changed, *listeners)
        self.upstream_request, self.upstream_error = observer.upstream_request, observer.upstream_error
        self.retry_decided, self.retried, self.throttled = observer.retry_decided, observer.retried, observer.throttled
        self.rerouted = observer.rerouted
        self.leased, self.waiting, self.waited = observer.leased, observer.waiting, observer.waited
        self.rotated, self.account_stats = observer.rotated, observer.account_stats
        self.answered, self.model_mismatched = observer.answered, observer.model_mismatched
        self.context_cache = observer.context_cache

    def changed(self, change: AccountChange) -> None:
        """Pass on a change."""
        for listener in self._listeners:
            listener(change)
