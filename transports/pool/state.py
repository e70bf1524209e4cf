"""What is known of one account's fitness; a pure machine, told the time.

An account rests (for one model family and capability, or for all) until a time, or is parked until a person has
attended to it. A parked account is tried again now and then: the person may have been there.
"""

from collections import deque

import msgspec

from protocol.model import Capability, Family, Selection
from transports.base import Account

_MINUTE = 60.0
_PROBE_SECONDS = 60.0


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is wanted for."""

    family: Family
    capability: Capability
    guest: bool
    """A guest will do."""

    @classmethod
    def of(cls, selection: Selection) -> "Want":
        """Return what a selection wants."""
        return cls(family=selection.model.family, capability=selection.capability, guest=selection.model.guest)


class State:
    """One account's fitness."""

    def __init__(self, account: Account) -> None:
        """Begin fit and idle."""
        self.account = account
        self.in_flight = 0
        self.used_at = float("-inf")
        self.parked: str | None = None
        """The reason, for an operator."""
        self.failures = 0
        """Rests in a row; each lasts longer."""
        self._probe_at = 0.0
        self._rests: dict[tuple[Family, Capability] | None, float] = {}
        self._begun: deque[float] = deque()

    def suits(self, want: Want) -> bool:
        """Say whether the account can ever do it."""
        return want.guest or not self.account.guest

    def free_at(self, want: Want, now: float) -> float:
        """Return when it may be asked: `now` or earlier is at once."""
        if self.parked is not None:
            return self._probe_at
        rests = [self._rests.get(None, now), self._rests.get((want.family, want.capability), now)]
        if self.account.per_minute and len(self._begin_window(now)) >= self.account.per_minute:
            rests.append(self._begun[0] + _MINUTE)
        return max(rests)

    def blocked(self, now: float) -> bool:
        """Say whether it rests for everything, since our address is at fault."""
        return self._rests.get(None, now) > now

    @property
    def busy(self) -> bool:
        """Whether it carries all that it may at once."""
        return self.in_flight >= self.account.concurrency

    def begin(self, now: float) -> None:
        """Count a request in."""
        self.in_flight += 1
        self.used_at = now
        self._begun.append(now)
        if self.parked is not None:
            self._probe_at = now + _PROBE_SECONDS

    def end(self) -> None:
        """Count a request out."""
        self.in_flight -= 1

    def rest(self, until: float, want: Want | None) -> None:
        """Rest for one want, or for all."""
        key = (want.family, want.capability) if want else None
        self._rests[key] = max(until, self._rests.get(key, until))
        self.failures += 1

    def park(self, reason: str, now: float) -> None:
        """Wait for a person."""
        self.parked = reason
        self._probe_at = now + _PROBE_SECONDS

    def succeed(self) -> None:
        """Note that it answered."""
        self.parked = None
        self.failures = 0

    def _begin_window(self, now: float) -> deque[float]:
        while self._begun and now - self._begun[0] >= _MINUTE:
            self._begun.popleft()
        return self._begun
