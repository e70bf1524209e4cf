"""Interface for observing upstream requests and account changes."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from protocol.model import Served

ELSEWHERE = "another process"
"""Who did what was heard from the store: it is counted where it was done."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """That an account's state has changed, or a thing of note happened to it."""

    at: float
    """Epoch seconds."""
    account: str
    transport: str
    what: str
    """added, changed, removed, paused, resumed, parked, works, rests, rested, rotated, not_rotated"""
    capability: str = ""
    """`family/capability` that it is about; empty: all."""
    reason: str = ""
    """A word of a closed set."""
    words: str = ""
    """The same for a person, and what to do about it."""
    seconds: float | None = None
    """For how long."""
    by: str = ""
    """Who did it; empty: the gateway itself."""


class AccountStats(msgspec.Struct, frozen=True, kw_only=True):
    """How the accounts of a transport stand."""

    transport: str
    by_status: Mapping[tuple[str, str, str], int]
    """How many by kind, capability and one of ready, resting, parked, paused."""
    rotated: Mapping[str, float]
    """When each account's session was last renewed, in epoch seconds, where known; of none that waits for a person."""


class Observer(Protocol):
    """Hears what happens at upstreams and to accounts; subscribers make metrics and feeds of it."""

    def upstream_request(self, transport: str) -> None:
        """A request is about to be sent."""
        ...

    def upstream_error(self, transport: str, kind: str) -> None:
        """A request ended with an error; `kind` is the class name of a GatewayError."""
        ...

    def retry_decided(self, transport: str, decision: str) -> None:
        """A retry decision was made after an error; `decision` is of a closed set."""
        ...

    def retried(self, transport: str) -> None:
        """A request is about to be tried with another account."""
        ...

    def leased(self, transport: str, change: int) -> None:
        """An account was leased (1) or given back (-1)."""
        ...

    def waiting(self, transport: str, change: int) -> None:
        """A request began (1) or ceased (-1) to wait for an account."""
        ...

    def waited(self, transport: str, seconds: float) -> None:
        """A request got an account after waiting for `seconds`."""
        ...

    def rotated(self, transport: str, account: str, outcome: str) -> None:
        """A rotation of a session came to an end; `outcome` is of a closed set."""
        ...

    def changed(self, change: Change) -> None:
        """An account's state has changed."""
        ...

    def throttled(self, transport: str) -> None:
        """A request was held back from an upstream, or an account, that takes too little of what it is sent."""
        ...

    def answered(self, served: Served) -> None:
        """An answer is over, whole or not; the upstream may have said which model gave it."""
        ...

    def model_mismatched(self, transport: str, asked: str, answered: str) -> None:
        """A model of another family answered than was asked for; both are of a closed set."""
        ...

    def account_stats(self, stats: AccountStats) -> None:
        """The accounts stand otherwise than before."""
        ...


class Fanout:
    """Has one observer hear everything, and others every change of an account."""

    def __init__(self, observer: Observer, *hearers: Callable[[Change], None]) -> None:
        """Tell `observer`, then the `hearers`."""
        self._hearers = (observer.changed, *hearers)
        self.upstream_request, self.upstream_error = observer.upstream_request, observer.upstream_error
        self.retry_decided, self.retried, self.throttled = observer.retry_decided, observer.retried, observer.throttled
        self.leased, self.waiting, self.waited = observer.leased, observer.waiting, observer.waited
        self.rotated, self.account_stats = observer.rotated, observer.account_stats
        self.answered, self.model_mismatched = observer.answered, observer.model_mismatched

    def changed(self, change: Change) -> None:
        """Tell all of a change."""
        for hear in self._hearers:
            hear(change)
