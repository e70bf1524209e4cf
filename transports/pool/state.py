"""What is known of one account's fitness; a pure machine, told the time.

An account rests (for one model family and capability, or for all) until a time, or is parked until a person has
attended to it. A parked account is tried again now and then, and as soon as its credential has changed: the person
may have been there.
"""

from collections import deque

import msgspec

from protocol.model import Capability, Family, Selection
from transports.account import Account
from transports.pool.standing import Reason

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
        guest = selection.model.guest and selection.capability is Capability.CHAT
        return cls(family=selection.model.family, capability=selection.capability, guest=guest)

    @property
    def key(self) -> tuple[Family, Capability]:
        """What is limited together."""
        return (self.family, self.capability)


class Rest(msgspec.Struct, frozen=True):
    """Until when an account rests, and why."""

    until: float
    reason: Reason


class State:
    """One account's fitness."""

    def __init__(self, account: Account) -> None:
        """Begin fit and idle."""
        self.account = account
        self.in_flight = 0
        self.used_at = float("-inf")
        self.parked: str | None = None
        """The reason, for an operator."""
        self._parked_credential = ""
        self._probe_at = 0.0
        self._blocked_until = float("-inf")
        self._rests: dict[tuple[Family, Capability], Rest] = {}
        self._failures: dict[tuple[tuple[Family, Capability], Reason], int] = {}
        self._begun: deque[float] = deque()

    def suits(self, want: Want) -> bool:
        """Say whether the account can ever do it."""
        return want.guest or not self.account.guest

    def free_at(self, want: Want, now: float) -> float:
        """Return when it may be asked: `now` or earlier is at once."""
        rest = self.resting(want, now)
        free = rest.until if rest is not None else now
        if self.parked is not None and self.account.facts().credential == self._parked_credential:
            return max(free, self._probe_at)
        return free

    def resting(self, want: Want, now: float) -> Rest | None:
        """Return the rest that lasts longest, None where it does not rest from this."""
        rests = [Rest(self._blocked_until, Reason.ADDRESS)]
        from_this = self._rest_from(want, now)
        if from_this is not None:
            rests.append(from_this)
        if self.account.per_minute and len(self._begin_window(now)) >= self.account.per_minute:
            rests.append(Rest(self._begun[0] + _MINUTE, Reason.PACE))
        longest = max(rests, key=lambda rest: rest.until)
        return longest if longest.until > now else None

    @property
    def busy(self) -> bool:
        """Whether it carries all that it may at once."""
        return self.in_flight >= self.account.concurrency

    def begin(self, now: float) -> None:
        """Count a request in."""
        self.in_flight += 1
        self.used_at = now
        if self.account.per_minute:
            self._begun.append(now)
        if self.parked is not None:
            self._wait_for_a_person(now)

    def end(self) -> None:
        """Count a request out."""
        self.in_flight -= 1

    def failures(self, want: Want, reason: Reason, now: float) -> int:
        """Return how many rests from this went before, one after the other; one under way does not count."""
        count = self._failures.get((want.key, reason), 0)
        under_way = self._rest_from(want, now)
        return count - 1 if under_way is not None and under_way.reason is reason else count

    def rest(self, until: float, want: Want, reason: Reason, now: float) -> None:
        """Rest from what is wanted. Of refusals that come while it rests already, none makes the next rest longer."""
        under_way = self._rest_from(want, now)
        if until <= (under_way.until if under_way is not None else now):
            return
        if under_way is None or under_way.reason is not reason:
            self._failures[want.key, reason] = self._failures.get((want.key, reason), 0) + 1
        self._rests[want.key] = Rest(until, reason)

    def block(self, until: float) -> None:
        """Rest from everything: the address is at fault, not the account."""
        self._blocked_until = max(until, self._blocked_until)

    def park(self, reason: str, now: float) -> bool:
        """Wait for a person; say whether that is news."""
        news = self.parked is None
        self.parked = reason
        self._wait_for_a_person(now)
        return news

    def succeed(self, want: Want, now: float) -> bool:
        """Note that it answered; say whether it was parked."""
        parked, self.parked = self.parked, None
        if self._rest_from(want, now) is None:
            for reason in Reason:
                self._failures.pop((want.key, reason), None)
        return parked is not None

    def _rest_from(self, want: Want, now: float) -> Rest | None:
        rest = self._rests.get(want.key)
        return rest if rest is not None and rest.until > now else None

    def _wait_for_a_person(self, now: float) -> None:
        self._probe_at = now + _PROBE_SECONDS
        self._parked_credential = self.account.facts().credential

    def _begin_window(self, now: float) -> deque[float]:
        while self._begun and now - self._begun[0] >= _MINUTE:
            self._begun.popleft()
        return self._begun
