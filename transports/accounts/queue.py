"""Requests that wait for an account, in an order that is fair between licenses.

A free slot goes to the license that holds the fewest slots, among equal ones to the license that has begun the fewest
requests within a minute, and within a license to the request that came first. Only the slots for which licenses compete
are compared: guest accounts do not count for a request that no guest can serve.
"""

import math
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from itertools import count

import anyio
import msgspec

from transports.accounts.availability import AccountState, Requirement
from transports.clock import Clock

_RECENT_SECONDS = 60.0
_BEHIND = 0.75

_QueueKey = tuple[str, bool]
"""A license, and whether guest accounts can serve the request."""


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to the pool for an account."""

    requirement: Requirement
    license: str = ""
    """The license of the caller."""
    tried: frozenset[str] = frozenset()
    """Accounts that were tried before."""
    home: str | None = None
    """The preferred account."""
    only: str | None = None
    """The only account that can serve it."""
    until: float = math.inf
    """The deadline, by the event loop's clock; now or earlier: do not wait."""
    waited: float = 0.0
    """Seconds that it has waited before, which count as its time in the queue."""

    def accepts(self, state: AccountState) -> bool:
        """Return whether this account can serve the request once it is free."""
        name = state.account.id
        return name not in self.tried and self.only in {None, name} and state.supports(self.requirement)


class RecentStarts:
    """Counts the requests that each license has begun within the last minute, or up to two."""

    def __init__(self, clock: Clock) -> None:
        """Start without requests."""
        self._clock, self._since = clock, clock.monotonic()
        self._now, self._before = Counter[str](), Counter[str]()

    def add(self, license_id: str) -> None:
        """Count a request that begins."""
        now = self._clock.monotonic()
        if now - self._since >= _RECENT_SECONDS:
            self._before = self._now if now - self._since < 2 * _RECENT_SECONDS else Counter[str]()
            self._now, self._since = Counter[str](), now
        self._now[license_id] += 1

    def of(self, license_id: str) -> int:
        """Return the number of a license's requests."""
        return self._now[license_id] + self._before[license_id]

    def is_behind(self, license_id: str) -> bool:
        """Return whether a license has begun fewer requests than three quarters of an equal share."""
        licenses = self._now.keys() | self._before.keys() | {license_id}
        share = (self._now.total() + self._before.total()) / len(licenses)
        return self.of(license_id) < _BEHIND * share


class Waiter:
    """A waiting request; it keeps its place in the queue until it has an account."""

    def __init__(self, request: LeaseRequest, ticket: int, until: float, last: float) -> None:
        """Wait until `until`, or until `last` while the license is owed a slot; times are of the event loop's clock."""
        self.request, self.ticket, self.until, self.last = request, ticket, until, last
        self.woken = anyio.Event()
        self.account: AccountState | None = None

    def give(self, state: AccountState | None) -> None:
        """End the wait, with an account or to choose again."""
        self.account = state
        self.woken.set()


class Queue:
    """The waiting requests."""

    def __init__(self, clock: Clock) -> None:
        """Start empty."""
        self.recent = RecentStarts(clock)
        self._lines: dict[_QueueKey, list[Waiter]] = {}
        """The requests that wait, by license and whether a guest account would do; the earliest first."""
        self._tickets = count()
        self._slots_of: Counter[_QueueKey] = Counter()
        """Slots that each license holds, of signed-in accounts and of guests."""

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Waiter]:
        """Yield the waiters in their fair order; one that gets an account puts its license behind the others."""
        lines = {key: deque(line) for key, line in self._lines.items()}
        while lines:
            first = min((line[0] for line in lines.values()), key=self._turn)
            line = lines[_line(first)]
            line.popleft()
            if not line:
                del lines[_line(first)]
            yield first

    def begin(self, request: LeaseRequest, state: AccountState) -> None:
        """Count a slot that a license takes."""
        self._slots_of[request.license, state.account.guest] += 1

    def end(self, request: LeaseRequest, state: AccountState) -> None:
        """Count a slot that a license gives back."""
        key = (request.license, state.account.guest)
        self._slots_of[key] -= 1
        if not self._slots_of[key]:
            del self._slots_of[key]

    def precedes(self, waiter: Waiter, request: LeaseRequest, before: Waiter | None) -> bool:
        """Return whether `waiter` is served before `request`.

        `before` is the request's own queue entry, or None if it is new.
        """
        ticket = before.ticket if before is not None else math.inf
        return self._turn(waiter) < (self.slots_taken(request), self.recent.of(request.license), ticket)

    def is_full(self, request: LeaseRequest, slots: int, most: float) -> bool:
        """Return whether the license has reached its queue limit.

        The limit is an equal share of `most`, plus one request per slot that the license is owed. It depends on the
        number of licenses, not on how many requests they have.
        """
        waiting = self._licenses(self._lines, request)
        own = sum(len(self._lines.get(key, ())) for key in _lines(request))
        return own >= most / len(waiting) + max(0.0, self._share(request, slots) - self.slots_taken(request))

    def is_owed(self, request: LeaseRequest, slots: int) -> bool:
        """Return whether a license holds less than its share of the `slots` while another one holds more than that."""
        share = self._share(request, slots)
        if self.slots_taken(request) >= share:
            return False
        others = self._licenses(self._slots_of, request) - {request.license}
        return any(self.slots_taken(msgspec.structs.replace(request, license=other)) > share for other in others)

    def ticket(self, request: LeaseRequest, until: float, last: float) -> Waiter:
        """Return a waiter that joins the queue now."""
        return Waiter(request, next(self._tickets), until, last)

    async def wait(self, waiter: Waiter, refuse: Callable[[AccountState], None]) -> AccountState | None:
        """Wait for an account; None: choose again, or the time is over.

        If the client left before it took its account, the account goes to `refuse`.
        """
        waiter.woken, waiter.account = anyio.Event(), None
        insort(self._lines.setdefault(_line(waiter), []), waiter, key=lambda other: other.ticket)
        try:
            with anyio.move_on_at(waiter.until):
                await waiter.woken.wait()
        except BaseException:
            if waiter.account is not None:
                waiter.account.handed_over -= 1
                refuse(waiter.account)
            raise
        finally:
            if not waiter.woken.is_set():
                self._remove(waiter)
        if waiter.account is not None:
            waiter.account.handed_over -= 1
        return waiter.account

    def give(self, waiter: Waiter, state: AccountState | None) -> None:
        """Wake a waiter, with an account or to choose again."""
        if state is not None:
            state.handed_over += 1
        self._remove(waiter)
        waiter.give(state)

    def _remove(self, waiter: Waiter) -> None:
        key = _line(waiter)
        self._lines[key].remove(waiter)
        if not self._lines[key]:
            del self._lines[key]

    def _turn(self, waiter: Waiter) -> tuple[int, int, int]:
        return (self.slots_taken(waiter.request), self.recent.of(waiter.request.license), waiter.ticket)

    def slots_taken(self, request: LeaseRequest) -> int:
        """Return how many slots the license holds of accounts that could serve the request."""
        return sum(self._slots_of[key] for key in _lines(request))

    def _share(self, request: LeaseRequest, slots: int) -> float:
        return slots / len(self._licenses(self._lines, request) | self._licenses(self._slots_of, request))

    def _licenses(self, table: Collection[_QueueKey], request: LeaseRequest) -> set[str]:
        """Return the licenses in `table` that compete with the request, and its own."""
        return {request.license} | {owner for owner, guest in table if request.requirement.guest or not guest}


def _line(waiter: Waiter) -> _QueueKey:
    return (waiter.request.license, waiter.request.requirement.guest)


def _lines(request: LeaseRequest) -> tuple[_QueueKey, ...]:
    """Return the lines in which a license competes for the accounts that could serve its request."""
    return (
        ((request.license, False), (request.license, True))
        if request.requirement.guest
        else ((request.license, False),)
    )
