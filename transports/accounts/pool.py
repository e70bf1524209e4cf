"""The account pool: selects an account for each request and leases it, in an order that is fair between licenses.

Theory of operation. `lease` first claims an account in memory: `choose` picks one that is available, and a request in
the queue that comes before gets it instead. Then `limits` takes a slot of the account, which counts over all
processes; if other processes have all slots, the account counts as full for a moment and another one is claimed. If no
account is free, the request waits in `queue` until a lease is released, another process has given a slot back, or its
time is over. A request waits only if waiting can help: if all accounts cool down, it is refused at once, with the time
at which the first one is available again.

Example: accounts `a` and `b` have one slot each, and both are in use. The next request waits. When `a` is released, it
gets `a` at once, without another choice.

`choose` takes the less loaded of two accounts that are picked at random. This "power of two choices" spreads the load
nearly as evenly as asking for the least loaded one, but does not send all processes to the same account at the same
moment. Example: of `a` (2 of 5 requests), `b` (0 of 5) and `c` (1 of 5), `a` and `c` are picked: `c` is chosen.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial

import anyio
import msgspec

from protocol.model import Blocked, GatewayError, RateLimited, Saturated, SignedOut, Throttled
from transports.account import Account
from transports.accounts.availability import AccountState, Cooldown, Requirement
from transports.accounts.egress import EgressProbes
from transports.accounts.limits import ConcurrencyLimits, LicenseShare, Slot
from transports.accounts.queue import LeaseRequest, Queue, Waiter
from transports.accounts.records import CooldownReason
from transports.accounts.stats import AccountCounter, Requirements
from transports.accounts.tracker import AccountTracker, PoolConfig, Rng
from transports.observer import AccountStats
from transports.store.port import FULL
from transports.tasks import background_tasks, every

_LOOK_SECONDS = 0.25
"""How often waiting requests look for slots of other processes and for cooldowns that are over."""

_STATS_SECONDS = 1.0

_MINUTE = 60.0

_SEVERAL = 2
_HELD_PER_FREE = 3
"""Slots that a license may hold per free one, before it takes another."""
_KEPT_PART = 4
_BUSY = "All of the gateway's accounts are busy."
_KEPT = "This license uses its share of the gateway's accounts; the free ones are kept for others. Wait for an answer."

_CANDIDATES = 2


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """An account for one request."""

    account: Account
    state: AccountState
    request: LeaseRequest
    release: Callable[[], None]
    """Ends the lease; call it once. A request that waits for the account gets it then, or as soon as it may."""


class Pool:
    """The accounts of one transport, and the requests that wait for them."""

    def __init__(
        self,
        accounts: AccountTracker,
        limits: ConcurrencyLimits,
        config: PoolConfig,
        requirements: Requirements = tuple,
    ) -> None:
        """Lease `accounts` within `limits`; `requirements` returns what requests can require."""
        self.accounts, self._limits, self.config = accounts, limits, config
        self._clock, self._observer = accounts.deps.clock, accounts.deps.observer
        self._rng, self._tracer = accounts.deps.rng, accounts.deps.tracer
        self._queue = Queue(self._clock)
        self._limited: dict[str, float] = {}
        """Until when a license takes no further slot, because other processes have few free ones."""
        self._counter = AccountCounter(accounts.transport, requirements)
        self._last_stats: AccountStats | None = None

    @property
    def states(self) -> list[AccountState]:
        """The state of each account."""
        return self.accounts.states

    def usable(self, requirement: Requirement) -> list[Account]:
        """Return the accounts that can serve this and need no attention."""
        self.accounts.sync()
        return [state.account for state in self.states if usable(state, requirement)]

    def free(self, requirement: Requirement) -> list[Account]:
        """Return the accounts that can serve this now: usable, and not in a cooldown."""
        self.accounts.sync()
        now = self._clock.monotonic()
        fit = (state for state in self.states if usable(state, requirement))
        return [state.account for state in fit if state.active_cooldown(requirement, now) is None]

    def ready(self, requirement: Requirement) -> bool:
        """Return whether an account can take such a request at once."""
        self.accounts.sync()
        now = self._clock.monotonic()
        return any(state.ready(requirement, now) for state in self.states)

    async def run(self) -> None:
        """Serve the queue, publish account statistics and probe proxies until cancelled."""
        async with background_tasks() as tasks:
            tasks.start_soon(EgressProbes(self.accounts).run)
            tasks.start_soon(every, _STATS_SECONDS, self._publish_stats, self._clock)
            await every(_LOOK_SECONDS, self._tick, self._clock)

    def _tick(self) -> None:
        if self.accounts.tick() or self._queue:
            self._serve()
        self._limited = {name: until for name, until in self._limited.items() if until > self._clock.monotonic()}

    def _publish_stats(self) -> None:
        stats = self._counter.count(self.states, self._clock.monotonic())
        if stats != self._last_stats:
            self._last_stats = stats
            self._observer.account_stats(stats)

    async def lease(self, request: LeaseRequest) -> Lease:
        """Lease an account that is available, or wait for a busy one. The caller must release it.

        Raises:
            RateLimited: all suitable accounts are cooling down; the first one that is free again had used up its quota.
            Throttled: all are cooling down, and the first one that is free again had reached a rate limit.
            Blocked: all are cooling down, and the upstream had blocked the address of the first one that is free again.
            SignedOut: all suitable accounts need attention.
            Saturated: all available accounts stayed busy, the queue is full, or requests are throttled.

        """
        began = self._clock.monotonic()
        with self._tracer.span("lease", {"gateway.transport": self.accounts.transport}) as span:
            try:
                lease = await self._lease(request)
            finally:
                span.set({"gateway.lease.waited_seconds": round(self._clock.monotonic() - began, 6)})
            span.set({"gateway.account": lease.account.id})
            return lease

    async def _lease(self, request: LeaseRequest) -> Lease:
        if self.accounts.sync() and self._queue:
            self._serve()
        waiter: Waiter | None = None
        while True:
            state = self._claim(request, waiter)
            if state is None:
                if waiter is None:
                    now, config = anyio.current_time() - request.waited, self.config
                    until = min(request.until, now + config.queue_timeout_seconds)
                    last = max(until, min(request.until, now + config.fair_queue_timeout_seconds))
                    waiter = self._queue.ticket(request, until, last)
                state = await self._wait(waiter)
            if state is None:
                continue
            try:
                share = self._license_share(request, state)
                slot, wait = await self._limits.acquire(state.account, request.requirement, share)
            except BaseException:
                self._end(state, request)
                raise
            if not wait:
                return self._leased(state, request, slot)
            self._note_full(state, request, wait, limited=slot.limited)

    def _leased(self, state: AccountState, request: LeaseRequest, slot: Slot) -> Lease:
        self._queue.recent.add(request.license)
        if self._queue and state.account.per_minute:
            self._serve()  # the next request may take a token now, too
        release = partial(self._limits.release, slot, partial(self._end, state, request))
        return Lease(account=state.account, state=state, request=request, release=release)

    def _claim(
        self, request: LeaseRequest, waiter: Waiter | None, *, include_ejected: bool = False
    ) -> AccountState | None:
        """Reserve a slot on an account, unless a request that waits for it comes before.

        Raises:
            Saturated: requests to all suitable accounts are throttled.

        """
        now, tried, throttled = self._clock.monotonic(), request.tried, False
        states, guests = self._candidates(request), self.accounts.guests if request.only is None else ()
        home = self.accounts.state_of(request.home) if request.home is not None else None
        while not self._keeps_free(request):
            state = choose(
                states,
                request.requirement,
                now,
                guests=guests,
                tried=tried,
                home=home,
                rng=self._rng,
                include_ejected=include_ejected,
            )
            if state is None:
                break
            if self._queue and self._pass_on(state, request, waiter):
                continue
            if state.throttle.admit(now, self._rng()):
                self._begin(state, request, now)
                return state
            throttled = True
            tried |= {state.account.id}
        if throttled and not self._worth_waiting(request, tried):
            self._observer.throttled(self.accounts.transport)
            raise RequestsThrottled(self._rng())
        return None

    def _candidates(self, request: LeaseRequest) -> Sequence[AccountState]:
        if request.only is None:
            return self.states
        only = self.accounts.state_of(request.only)
        return [only] if only is not None else []

    async def _wait(self, waiter: Waiter) -> AccountState | None:
        """Wait for a busy account, and return it with the request counted; None: choose again."""
        request, first = waiter.request, waiter.account is None and not waiter.woken.is_set()
        if not self._worth_waiting(request, request.tried):
            state = self._claim(request, waiter, include_ejected=True)
            if state is None:
                raise self._refusal(request)
            return state
        if anyio.current_time() >= waiter.until and not self._extend_wait(waiter):
            raise Saturated(_KEPT if self._keeps_free(request) else _BUSY, retry_after=2.0)
        if first and not request.tried:
            slots = self._capacity(request)
            if self._queue.is_full(request, slots, self.config.queue_per_slot * slots):
                raise Saturated("All accounts are busy and the waiting queue is full.")
        began = self._clock.monotonic()
        self._observer.waiting(self.accounts.transport, 1)
        try:
            state = await self._queue.wait(waiter, partial(self._end, request=request))
        finally:
            self._observer.waiting(self.accounts.transport, -1)
        if state is not None:
            self._observer.waited(self.accounts.transport, self._clock.monotonic() - began)
        return state

    def _refusal(self, request: LeaseRequest) -> GatewayError:
        fit = [state for state in self._candidates(request) if state.supports(request.requirement)]
        return _refusal(fit, request.requirement, self._clock.monotonic())

    def _extend_wait(self, waiter: Waiter) -> bool:
        """Extend a request's wait if its license or this process is below its fair share and another one is above it.

        Return whether the wait was extended.
        """
        now, request = anyio.current_time(), waiter.request
        if now >= waiter.last:
            return False
        slots = self._capacity(request)
        suitable = (state.account.id for state in self._candidates(request) if state.supports(request.requirement))
        owed = self._queue.is_owed(request, slots) or self._queue.recent.is_behind(request.license)
        if not owed and not self._limits.below_share(suitable, slots):
            return False
        waiter.until = min(waiter.last, now + self.config.queue_timeout_seconds)
        return True

    def _keeps_free(self, request: LeaseRequest) -> bool:
        """Return whether the free slots are kept for other licenses: this one holds three for each of them.

        A running answer is never interrupted, so a license that took every slot for long answers would lock out all
        others. Up to an equal share of all licenses it may take each slot. Example: of 10 slots a license takes 8.
        """
        held, licenses = self._queue.slots_taken(request), self.accounts.deps.licenses()
        free, now, requirement = 0, self._clock.monotonic(), request.requirement
        if now < self._limited.get(request.license, now):
            return True
        if not held or licenses < _SEVERAL:
            return False
        for state in self.states:
            if state.ready(requirement, now):
                free += max(1, state.allowed(requirement) - state.in_flight)
                if held < _HELD_PER_FREE * free:
                    return False
        return held >= self._capacity(request) / licenses

    def _patience(self, request: LeaseRequest) -> float:
        """Return how long a request may wait for an account's rate limit: longer if its license has begun few requests.

        Otherwise a license that asks all the time would take every request of the minute.
        """
        config = self.config
        is_behind = self._queue.recent.is_behind(request.license)
        return config.fair_queue_timeout_seconds if is_behind else config.queue_timeout_seconds

    def _capacity(self, request: LeaseRequest) -> int:
        """Return the concurrency limit for such requests over all accounts that can serve one soon."""
        soon, requirement = self._clock.monotonic() + self._patience(request), request.requirement
        return sum(
            state.allowed(requirement)
            for state in self._candidates(request)
            if state.paused is None
            and state.supports(requirement)
            and state.available_at(requirement, soon, include_ejected=True) <= soon
        )

    def _worth_waiting(self, request: LeaseRequest, tried: frozenset[str]) -> bool:
        """Return whether a suitable account is only busy, or may begin a request soon."""
        now, requirement = self._clock.monotonic(), request.requirement
        for state in self._candidates(request):
            if state.account.id in tried or state.paused is not None or not state.supports(requirement):
                continue
            cooldown = state.active_cooldown(requirement, now)
            soon = (
                cooldown is not None
                and cooldown is state.pace.get(requirement.capability)
                and cooldown.reason is CooldownReason.PACE
            )
            free = state.available_at(requirement, now)
            if free <= (now + self._patience(request) if soon else now):
                return True
        return False

    def _begin(self, state: AccountState, request: LeaseRequest, now: float) -> None:
        """Count a request that begins."""
        state.begin(request.requirement, now)
        self._queue.begin(request, state)

    def _count_out(self, state: AccountState, request: LeaseRequest) -> None:
        state.end(request.requirement)
        self._queue.end(request, state)

    def _end(self, state: AccountState, request: LeaseRequest) -> None:
        """Count a request that ended, and give its account to the next waiting request."""
        self._count_out(state, request)
        if self._queue and not self._pass_on(state):
            self._serve()

    def _pass_on(self, state: AccountState, request: LeaseRequest | None = None, waiter: Waiter | None = None) -> bool:
        """Give an account that may be free to the first request that waits for it; return whether one took it.

        With `request`, only to requests that come before it; `waiter` is its own entry in the queue.
        """
        now = self._clock.monotonic()
        for other in self._queue:
            if request is not None and not self._queue.precedes(other, request, waiter):
                return False
            requirement = other.request.requirement
            if (
                other.request.accepts(state)
                and state.ready(requirement, now)
                and not self._keeps_free(other.request)
                and state.throttle.admit(now, self._rng())
            ):
                self._begin(state, other.request, now)
                self._queue.give(other, state)
                return True
        return False

    def _serve(self) -> None:
        """Give free accounts to waiting requests, and wake those for which waiting cannot help."""
        now, unserved = self._clock.monotonic(), set[tuple[Requirement, frozenset[str], str | None]]()
        for waiter in self._queue:
            request = waiter.request
            key = (request.requirement, request.tried, request.only)
            if key in unserved:
                continue
            guests = self.accounts.guests if request.only is None else ()
            keeps_free, state = self._keeps_free(request), None
            if not keeps_free:
                state = choose(
                    self._candidates(request),
                    request.requirement,
                    now,
                    guests=guests,
                    tried=request.tried,
                    rng=self._rng,
                )
            if state is not None and state.throttle.admit(now, self._rng()):
                self._begin(state, request, now)
                self._queue.give(waiter, state)
            elif not self._worth_waiting(request, request.tried):
                self._queue.give(waiter, None)
            elif not keeps_free:
                unserved.add(key)

    def _license_share(self, request: LeaseRequest, state: AccountState) -> LicenseShare | None:
        """Return how a license shares an account's slots over several processes; None: it may take each."""
        processes, licenses = self._limits.processes, self.accounts.deps.licenses()
        kept = state.account.concurrency // _KEPT_PART
        if processes == 1 or licenses < _SEVERAL or not kept:
            return None
        held = self._queue.slots_taken(request) - 1
        over = request.license in self._limited or held >= self._capacity(request) / processes / licenses
        return LicenseShare(request.license, kept, over)

    def _note_full(self, state: AccountState, request: LeaseRequest, wait: float, *, limited: bool) -> None:
        """Record that all slots of an account are taken over all processes, or that its rate limit is reached."""
        now, requirement = self._clock.monotonic(), request.requirement
        state.throttle.withdraw(now)
        self._count_out(state, request)
        if limited:
            self._limited[request.license] = now + _LOOK_SECONDS
            return
        if wait == FULL:
            state.full_until = now + _LOOK_SECONDS
            return
        pace = state.account.per_minute
        daily = requirement.capability in state.account.per_day and (not pace or wait > _MINUTE / pace + 1.0)
        state.pace[requirement.capability] = Cooldown(
            now + wait, CooldownReason.QUOTA if daily else CooldownReason.PACE
        )


def choose(  # noqa: PLR0913 -- a pure function
    states: Sequence[AccountState],
    requirement: Requirement,
    now: float,
    *,
    guests: Sequence[AccountState] = (),
    tried: Collection[str] = frozenset(),
    home: AccountState | None = None,
    rng: Rng,
    include_ejected: bool = False,
) -> AccountState | None:
    """Return the account to ask now: of two picked at random, the less loaded one; None if none is free.

    `home` comes before all others. If a guest can serve the request, guests come before signed-in accounts, because
    they use no account's quota. An account that needs attention is asked only if no other is left.
    """

    def fit(state: AccountState) -> bool:
        return state.account.id not in tried and state.ready(requirement, now, include_ejected=include_ejected)

    if home is not None and fit(home) and (home.attention is None or home.renewed):
        return home
    if requirement.guest:
        guest = next((state for state in guests if state.attention is None and fit(state)), None)
        if guest is not None:
            return guest
    return _less_loaded_of_two(states, fit, requirement, rng)


def _less_loaded_of_two(
    states: Sequence[AccountState], fit: Callable[[AccountState], bool], requirement: Requirement, rng: Rng
) -> AccountState | None:
    """Return the less loaded of two fit accounts picked at random; one that needs attention if there is no other."""
    left, found = list(states), list[AccountState]()
    attention: AccountState | None = None
    while left and len(found) < _CANDIDATES:
        state = left.pop(int(rng() * len(left)))
        if not fit(state):
            continue
        if state.attention is not None and not state.renewed:
            attention = attention or state
        else:
            found.append(state)
    return min(found, key=lambda state: (state.load(requirement), state.used_at), default=attention)


def next_free(states: Iterable[AccountState], requirement: Requirement, now: float) -> Cooldown | None:
    """Return the cooldown that ends first among the usable accounts; None if no usable account is cooling down."""
    cooldowns = [state.active_cooldown(requirement, now) for state in states if usable(state, requirement)]
    return min(
        (cooldown for cooldown in cooldowns if cooldown is not None), key=lambda cooldown: cooldown.until, default=None
    )


def usable(state: AccountState, requirement: Requirement) -> bool:
    """Return whether an account can serve this, now or later, without an operator's help."""
    return state.supports(requirement) and state.paused is None and state.attention is None


class RequestsThrottled(Saturated):
    """The upstream rejects most requests, so this one is not sent."""

    def __init__(self, jitter: float) -> None:
        """Spread the retries by `jitter`, a number from 0 to 1."""
        message = "The upstream rejects most requests, so the gateway sends fewer. Try again soon."
        super().__init__(message, retry_after=1.0 + 4.0 * jitter)


def _refusal(fit: Sequence[AccountState], requirement: Requirement, now: float) -> GatewayError:
    """Return the error if no suitable account is available."""
    if not any(usable(state, requirement) for state in fit):
        reason = "needs_attention" if fit else "missing"
        message = "No account can serve this model until the operator of the gateway repairs or adds one."
        return SignedOut(message, reason=reason)
    cooldown = next_free(fit, requirement, now)
    seconds = max(1.0, cooldown.until - now) if cooldown is not None else 1.0
    match cooldown.reason if cooldown is not None else CooldownReason.PACE:
        case CooldownReason.ADDRESS:
            return Blocked("The upstream has temporarily blocked this gateway's address.", retry_after=seconds)
        case CooldownReason.QUOTA:
            message = "All accounts of the gateway have reached their usage limit for this model."
            return RateLimited(message, retry_after=seconds)
        case _:
            message = "All accounts of the gateway have reached their rate limit. Try again soon."
            return Throttled(message, retry_after=seconds)
