"""Hands out accounts, one lease per request, and remembers how they fared."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import anyio
import msgspec

from protocol.model import Blocked, GatewayError, RateLimited, Saturated, SignedOut, Throttled
from transports.account import Account
from transports.clock import Clock
from transports.pool.choose import choose, next_free
from transports.pool.state import Reason, State, Want

_MOST_WAITING_FACTOR = 2


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """An account for one request."""

    account: Account
    state: State


class Pool:
    """The accounts of one transport."""

    def __init__(self, accounts: Iterable[Account], clock: Clock, *, wait_seconds: float) -> None:
        """Let a request wait `wait_seconds` for a busy account, at most."""
        self._states = [State(account) for account in accounts]
        self._clock, self._wait_seconds = clock, wait_seconds
        self._freed = anyio.Condition()
        self._waiting = 0

    @property
    def states(self) -> list[State]:
        """What is known of every account."""
        return self._states

    def block(self, egress: str, until: float) -> None:
        """Let every account on this way out rest from everything: its address is not welcome."""
        for state in self._states:
            if state.account.egress == egress:
                state.block(until)

    @asynccontextmanager
    async def lease(
        self,
        want: Want,
        tried: frozenset[str],
        home: str | None = None,
        only: str | None = None,
    ) -> AsyncGenerator[Lease]:
        """Yield an account that is fit now and not in `tried`, `home` before others; waits for a busy one only.

        With `only`, it is that account or none, and what is told of all is told of that one.

        Raises:
            RateLimited: all that suit rest, and the allowance of the first one that is free again was used up.
            Throttled: … or it was asked too often.
            Blocked: … or the address that it is asked from is at fault. All three say until when.
            SignedOut: all that suit wait for a person.
            Saturated: all that are fit stayed busy, or too many wait already.

        """
        states = self._states if only is None else [state for state in self._states if state.account.id == only]
        state = choose(states, want, self._clock.monotonic(), tried, home)
        if state is None:
            state = await self._wait(states, want, tried)
        state.begin(self._clock.monotonic())
        try:
            yield Lease(account=state.account, state=state)
        finally:
            state.end()
            if self._waiting:
                with anyio.CancelScope(shield=True):
                    async with self._freed:
                        self._freed.notify_all()

    async def _wait(self, states: list[State], want: Want, tried: frozenset[str]) -> State:
        capacity = sum(state.account.concurrency for state in self._states)
        if self._waiting >= _MOST_WAITING_FACTOR * capacity:
            raise Saturated("All of the gateway's accounts are busy, and enough requests wait for one.")
        self._waiting += 1
        try:
            with anyio.move_on_after(self._wait_seconds):
                async with self._freed:
                    while True:
                        now = self._clock.monotonic()
                        state = choose(states, want, now, tried)
                        if state is not None:
                            return state
                        if not _only_busy(states, want, now, tried):
                            raise _refusal(states, want, now)
                        await self._freed.wait()
        finally:
            self._waiting -= 1
        raise Saturated("All of the gateway's accounts are busy.", retry_after=2.0)


def _only_busy(states: list[State], want: Want, now: float, tried: frozenset[str]) -> bool:
    return any(
        state.busy and state.suits(want) and state.free_at(want, now) <= now and state.account.id not in tried
        for state in states
    )


def _refusal(states: list[State], want: Want, now: float) -> GatewayError:
    fit = [state for state in states if state.suits(want)]
    if all(state.parked is not None for state in fit):
        reason = "parked" if fit else "missing"
        return SignedOut("No account can serve this model until an operator has attended to it.", reason=reason)
    rest = next_free(fit, want, now)
    seconds = max(1.0, rest.until - now) if rest is not None else 1.0
    match rest.reason if rest is not None else Reason.PACE:
        case Reason.ADDRESS:
            return Blocked("The upstream has temporarily blocked this gateway's address.", retry_after=seconds)
        case Reason.QUOTA:
            message = "The usage limit of all of the gateway's accounts for this model is reached."
            return RateLimited(message, retry_after=seconds)
        case _:
            message = "The gateway's accounts are asked as often as they may be; try again soon."
            return Throttled(message, retry_after=seconds)
