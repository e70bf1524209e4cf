"""What happens at upstreams and to accounts, for whoever wants to hear of it."""

from typing import Protocol

import msgspec


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


class Observer(Protocol):
    """Hears what happens at upstreams and to accounts; subscribers make metrics and feeds of it."""

    def upstream_request(self, transport: str) -> None:
        """A request is about to be sent."""
        ...

    def upstream_error(self, transport: str, kind: str) -> None:
        """A request ended with an error; `kind` is the class name of a GatewayError."""
        ...

    def judged(self, transport: str, verdict: str) -> None:
        """A failure was judged; `verdict` is of a closed set."""
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
        """A request was given an account after so long."""
        ...

    def rotated(self, transport: str, account: str, outcome: str) -> None:
        """A rotation of a session came to an end; `outcome` is of a closed set."""
        ...

    def changed(self, change: Change) -> None:
        """An account's state has changed."""
        ...
