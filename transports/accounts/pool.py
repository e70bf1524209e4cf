"""Hands out accounts, one lease per request, in an order that is fair between licenses."""

from collections.abc import Callable, Sequence
from functools import partial

import anyio
import msgspec

from protocol.model import Blocked, GatewayError, RateLimited, Saturated, SignedOut, Throttled
from transports.account import Account
from transports.accounts.config import PoolConfig
from transports.accounts.limits import ConcurrencyLimits
from transports.accounts.queue import LeaseRequest, Queue, Waiter
from transports.accounts.records import CooldownReason
from transports.accounts.selection import choose, next_free, usable
from transports.accounts.state import AccountState, Cooldown, Requirement
from transports.accounts.states import AccountStates
from transports.accounts.stats import account_stats
from transports.observer import AccountStats
from transports.store.port import FULL

_LOOK_SECONDS = 0.25
"""How often those who wait look whether another process has given a seat back, or a rest is over."""

_MINUTE = 60.0


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """An account for one request."""

    account: Account
    state: AccountState
    release: Callable[[], None]
    """Ends the lease; to be called once. A request that waits for the account has it then, or as soon as it may."""


class Pool:
    """The accounts of one transport, and who waits for one."""

    def __init__(self, accounts: AccountStates, seats: ConcurrencyLimits, terms: PoolConfig) -> None:
        """Lend `accounts`, for as long as there are `seats`."""
        self.accounts, self._seats, self._terms = accounts, seats, terms
        self._clock, self._observer = accounts.ground.clock, accounts.ground.observer
        self._luck = accounts.ground.luck
        self._queue = Queue()
        self._told: AccountStats | None = None

    @property
    def states(self) -> list[AccountState]:
        """What is known of every account."""
        return self.accounts.states

    def usable(self, want: Requirement) -> list[Account]:
        """Return the accounts that are asked for this: those that suit, and wait for no person."""
        self.accounts.sync()
        return [state.account for state in self.states if usable(state, want)]

    async def run(self) -> None:
        """Do what time brings, for ever."""
        while True:
            if self.accounts.tick() or self._queue:
                self._serve()
            now = account_stats(self.accounts.transport, self.states, self._clock.monotonic())
            if now != self._told:
                self._told = now
                self._observer.census(now)
            await self._clock.sleep(_LOOK_SECONDS)

    async def lease(self, ask: LeaseRequest) -> Lease:
        """Return an account that is fit now; waits for a busy one only. The caller releases it in any case.

        Raises:
            RateLimited: all that suit rest, and the allowance of the first one that is free again was used up.
            Throttled: … or it was asked too often.
            Blocked: … or the address that it is asked from is at fault. All three say until when.
            SignedOut: all that suit wait for a person.
            Saturated: all that are fit stayed busy, too many wait already, or too little of what is sent is taken.

        """
        if self.accounts.sync() and self._queue:
            self._serve()
        waiter: Waiter | None = None
        while True:
            state = self._claim(ask, waiter)
            if state is None:
                waiter = waiter or self._ticket(ask)
                state = await self._wait(waiter)
            if state is None:
                continue
            try:
                seat, wait = await self._seats.enter(state.account, ask.want)
            except BaseException:
                self._end(state, ask)
                raise
            if not wait:
                release = partial(self._seats.leave, seat, partial(self._end, state, ask))
                return Lease(account=state.account, state=state, release=release)
            self._put_off(state, ask, wait)

    def _ticket(self, ask: LeaseRequest) -> Waiter:
        now, terms = anyio.current_time(), self._terms
        until = min(ask.until, now + terms.wait_seconds)
        return self._queue.ticket(ask, until, max(until, min(ask.until, now + terms.owed_wait_seconds)))

    def _claim(self, ask: LeaseRequest, waiter: Waiter | None, *, desperate: bool = False) -> AccountState | None:
        """Reserve a slot on an account, unless a request that waits for it comes before.

        Raises:
            Saturated: all that would do take too little of what they are sent.

        """
        now, tried, throttled = self._clock.monotonic(), ask.tried, False
        states, guests = self._asked(ask), self.accounts.guests if ask.only is None else ()
        home = self.accounts.state_of(ask.home) if ask.home is not None else None
        while True:
            state = choose(
                states, ask.want, now, guests=guests, tried=tried, home=home, luck=self._luck, desperate=desperate
            )
            if state is None:
                break
            if self._queue and self._pass_on(state, ask, waiter):
                continue
            if state.throttle.admit(now, self._luck()):
                self._begin(state, ask, now)
                return state
            throttled = True
            tried |= {state.account.id}
        if throttled and not self._worth(ask, tried):
            self._observer.throttled(self.accounts.transport)
            raise held_back(self._luck())
        return None

    def _asked(self, ask: LeaseRequest) -> Sequence[AccountState]:
        if ask.only is None:
            return self.states
        only = self.accounts.state_of(ask.only)
        return [only] if only is not None else []

    async def _wait(self, waiter: Waiter) -> AccountState | None:
        """Wait for a busy account; it is counted in with it. None: look again."""
        ask, first = waiter.ask, waiter.given is None and not waiter.woken.is_set()
        if not self._worth(ask, ask.tried):
            state = self._claim(ask, waiter, desperate=True)
            if state is None:
                raise self._refusal(ask)
            return state
        if anyio.current_time() >= waiter.until and not self._prolong(waiter):
            raise Saturated("All of the gateway's accounts are busy.", retry_after=2.0)
        if first:
            slots = self._capacity(ask)
            if self._queue.is_full(ask, slots, self._terms.waiting_per_seat * slots):
                raise Saturated("All accounts are busy and the waiting queue is full.")
        began = self._clock.monotonic()
        self._observer.waiting(self.accounts.transport, 1)
        try:
            state = await self._queue.wait(waiter, partial(self._end, ask=ask))
        finally:
            self._observer.waiting(self.accounts.transport, -1)
        if state is not None:
            self._observer.waited(self.accounts.transport, self._clock.monotonic() - began)
        return state

    def _refusal(self, ask: LeaseRequest) -> GatewayError:
        fit = [state for state in self._asked(ask) if state.suits(ask.want)]
        return _refusal(fit, ask.want, self._clock.monotonic())

    def _prolong(self, waiter: Waiter) -> bool:
        """Let a request wait on whose license is owed a slot; return whether it may."""
        now = anyio.current_time()
        if now >= waiter.last or not self._owes(waiter.ask):
            return False
        waiter.until = min(waiter.last, now + self._terms.wait_seconds)
        return True

    def _owes(self, ask: LeaseRequest) -> bool:
        """Return whether another license, or another process, holds slots beyond its share that this one lacks."""
        slots = self._capacity(ask)
        if self._queue.owes(ask, slots):
            return True
        return self._seats.lack((state.account.id for state in self._asked(ask) if state.suits(ask.want)), slots)

    def _capacity(self, ask: LeaseRequest) -> int:
        """Return how many such requests the accounts that can serve one soon may carry at once."""
        soon, want = self._clock.monotonic() + self._terms.wait_seconds, ask.want
        return sum(
            state.allowed(want)
            for state in self._asked(ask)
            if state.paused is None and state.suits(want) and state.free_at(want, soon) <= soon
        )

    def _worth(self, ask: LeaseRequest, tried: frozenset[str]) -> bool:
        """Say whether an account that would do is only busy, or may begin the next request soon."""
        now, want = self._clock.monotonic(), ask.want
        for state in self._asked(ask):
            if state.account.id in tried or state.paused is not None or not state.suits(want):
                continue
            rest = state.resting(want, now)
            soon = rest is not None and rest is state.pace.get(want.capability) and rest.reason is CooldownReason.PACE
            free = state.free_at(want, now)
            if free <= (now + self._terms.wait_seconds if soon else now):
                return True
        return False

    def _begin(self, state: AccountState, ask: LeaseRequest, now: float) -> None:
        """Count a request in with an account."""
        state.begin(ask.want, now)
        self._queue.begin(ask, state)

    def _count_out(self, state: AccountState, ask: LeaseRequest) -> None:
        state.end(ask.want)
        self._queue.end(ask, state)

    def _end(self, state: AccountState, ask: LeaseRequest) -> None:
        """Count a request out and give its account to the next request that waits for it."""
        self._count_out(state, ask)
        if self._queue and not self._pass_on(state):
            self._serve()

    def _pass_on(self, state: AccountState, ask: LeaseRequest | None = None, waiter: Waiter | None = None) -> bool:
        """Give an account that may be free to the first request that waits for it; return whether one took it.

        With `ask`, only to those that come before it; `waiter` is its own place in the queue.
        """
        now = self._clock.monotonic()
        for other in self._queue:
            if ask is not None and not self._queue.precedes(other, ask, waiter):
                return False
            want = other.ask.want
            if other.ask.takes(state) and state.ready(want, now) and state.throttle.admit(now, self._luck()):
                self._begin(state, other.ask, now)
                self._queue.give(other, state)
                return True
        return False

    def _serve(self) -> None:
        """Look at all who wait: give what is free, and let those go who wait for nothing any more."""
        now, none = self._clock.monotonic(), set[tuple[Requirement, frozenset[str], str | None]]()
        for waiter in self._queue:
            ask = waiter.ask
            alike = (ask.want, ask.tried, ask.only)
            if alike in none:
                continue
            guests = self.accounts.guests if ask.only is None else ()
            state = choose(self._asked(ask), ask.want, now, guests=guests, tried=ask.tried, luck=self._luck)
            if state is not None and state.throttle.admit(now, self._luck()):
                self._begin(state, ask, now)
                self._queue.give(waiter, state)
            elif not self._worth(ask, ask.tried):
                self._queue.give(waiter, None)
            else:
                none.add(alike)

    def _put_off(self, state: AccountState, ask: LeaseRequest, wait: float) -> None:
        """Note that all processes together use all slots of an account, or may begin no more for now."""
        now, want = self._clock.monotonic(), ask.want
        state.throttle.withdraw(now)
        self._count_out(state, ask)
        if wait == FULL:
            state.full_until = now + _LOOK_SECONDS
            return
        pace = state.account.per_minute
        daily = want.capability in state.account.per_day and (not pace or wait > _MINUTE / pace + 1.0)
        state.pace[want.capability] = Cooldown(now + wait, CooldownReason.QUOTA if daily else CooldownReason.PACE)


def held_back(luck: float) -> Saturated:
    """Return the error of a request that is held back from an upstream that takes too little of what it is sent."""
    message = "The upstream fails too often to be asked by everybody; try again soon."
    return Saturated(message, retry_after=1.0 + 4.0 * luck)


def _refusal(fit: Sequence[AccountState], want: Requirement, now: float) -> GatewayError:
    """Return why none of those that suit can be asked."""
    if not any(usable(state, want) for state in fit):
        reason = "parked" if fit else "missing"
        return SignedOut("No account can serve this model until an operator has attended to it.", reason=reason)
    rest = next_free(fit, want, now)
    seconds = max(1.0, rest.until - now) if rest is not None else 1.0
    match rest.reason if rest is not None else CooldownReason.PACE:
        case CooldownReason.ADDRESS:
            return Blocked("The upstream has temporarily blocked this gateway's address.", retry_after=seconds)
        case CooldownReason.QUOTA:
            message = "The usage limit of all of the gateway's accounts for this model is reached."
            return RateLimited(message, retry_after=seconds)
        case _:
            message = "The gateway's accounts are asked as often as they may be; try again soon."
            return Throttled(message, retry_after=seconds)
