"""Failover: sends a request with one account after the other until one answers.

Theory of operation. `transports.router` asks one transport after the other, and this module the accounts of one. An
attempt leases an account from the pool and opens the exchange, which waits for the first event. For an error before it,
`retry_policy.decide` says what follows: the account gets a cooldown or needs attention, and another one is asked.
Retries are limited by the number of attempts, by the deadline, and by a budget over all requests, so that a failing
upstream is not flooded. Attempts count over all transports, but each transport may be asked once. After the first event
the client has a part of the answer, so an error ends it.

Example: `a` answers 429, so it cools down for the model family; `b` is leased and its first event arrives. The client
sees one answer, and `gateway_retries_total` has counted one.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack

import anyio
import msgspec
import structlog

from protocol.model import (
    Blocked,
    Capability,
    DriftDetected,
    Event,
    Exchange,
    Finish,
    GatewayError,
    GenerationRequest,
    MediaUnavailable,
    ModelDowngraded,
    NotIncluded,
    Overloaded,
    RateLimited,
    Saturated,
    Selection,
    SignedOut,
    Text,
    Thought,
    Throttled,
    Unsupported,
    UpstreamFailed,
    UpstreamModel,
    UpstreamTimeout,
    released,
)
from transports.account import Account
from transports.accounts import (
    CooldownReason,
    Lease,
    LeaseRequest,
    Pool,
    RequestsThrottled,
    Requirement,
    Throttle,
    reset_seconds,
)
from transports.base import Transport
from transports.retry_policy import FailoverPolicy, NextStep, RetryDecision, decide
from transports.tracing import Span, SpanKind, finish_attributes, upstream_attributes

_MAX_SDK_RETRIES = 2
"""After this many retries by the client's SDK, the gateway does not retry."""

_LEAST_LEFT = 0.3
"""No retry when less than this share of the time is left."""

_MAY_RUN_TWICE = frozenset({Capability.CHAT, Capability.CANVAS})

_log = structlog.get_logger()


class Call:
    """One request, over all its attempts and all transports that are asked."""

    __slots__ = (
        *("attempts", "begun", "busy", "deadline", "failed", "failover", "failure", "last_retry", "lease", "request"),
        *("requirement", "span", "stack", "timeout", "tried", "waited"),
    )

    def __init__(self, request: GenerationRequest, seconds: float) -> None:
        """Cancel what runs inside `timeout` after some seconds."""
        now = asyncio.get_running_loop().time()
        self.request, self.deadline = request, now + seconds
        self.last_retry = now + (1 - _LEAST_LEFT) * seconds
        """No retry after this time."""
        self.attempts = 0
        """How often an account was asked; a proxy that does not connect does not count."""
        self.tried: frozenset[str] = frozenset()
        """The accounts that were asked."""
        self.failed: set[str] = set()
        """The transports whose upstream has failed."""
        self.failover: Failover | None = None
        """The transport that is asked."""
        self.requirement = Requirement.of(request.selection)
        """What it requires of an account of the transport that is asked."""
        self.stack = AsyncExitStack()
        """Holds the account and the upstream's response."""
        self.timeout = anyio.CancelScope(deadline=self.deadline)
        self.lease: Lease | None = None
        """The account that is asked."""
        self.busy = False
        """Whether the transport that was asked has other accounts, which are busy."""
        self.waited = 0.0
        """Seconds that it has waited for accounts."""
        self.begun = False
        """Whether the first event has arrived."""
        self.failure: GatewayError | None = None
        """The error of the previous attempt at this transport."""
        self.span = Span()
        """The span of the current attempt."""


class Failover:
    """Sends requests through one transport, with one account after the other until one accepts."""

    def __init__(
        self,
        transport: Transport,
        pool: Pool,
        policy: FailoverPolicy,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        """Ask `transport` with the accounts of `pool`; nothing is retried while the process is `draining`."""
        self.transport, self.pool = transport, pool
        self._policy, self._draining = policy, draining
        deps = pool.accounts.deps
        self._clock, self._observer, self._rng, self._tracer = deps.clock, deps.observer, deps.rng, deps.tracer
        self._throttle = Throttle(pool.config.throttle_ratio)
        self._in_flight = self._retrying = 0
        self._accounts: Sequence[Account] = ()
        self._tiers: frozenset[str] = frozenset()
        """The tiers of `_accounts`."""

    def ask(self, call: Call, tier: str = "", home: str | None = None, waited: float | None = 0.0) -> LeaseRequest:
        """Return the request to the pool for an account, after `waited` seconds in queues; None: do not wait.

        `tier` limits the accounts; `home` is the preferred one, as `Transport.home` or `prefers` returns it.
        """
        request = call.request
        return LeaseRequest(
            requirement=self._requirement(request.selection, tier),
            license=request.caller.id,
            tried=call.tried,
            home=home,
            only=request.handle.account if request.handle is not None else None,
            until=call.deadline if waited is not None else anyio.current_time(),
            waited=waited or 0.0,
        )

    async def open(self, call: Call, lease: Lease, *, alone: bool = True) -> Exchange:
        """Open the request with the first account that accepts it; call this inside `call.timeout`.

        `lease` is the first account. The next ones are waited for if this transport is the only one that is left.

        Raises:
            GatewayError: no account accepted it; the last error, or the pool's.

        """
        request, transport = call.request, self.transport
        call.failover, call.failure, call.busy = self, None, False
        call.requirement = lease.request.requirement
        self._begin(call, lease)
        if call.attempts:
            tier = call.requirement.tier or None
            _log.info("request_rerouted", request=request.id, transport=transport.name, tier=tier)
            self._observer.retried(transport.name)
        retrying = transport.name in call.failed
        self._in_flight += 1
        self._retrying += retrying
        try:
            while True:
                try:
                    return self._opened(call, lease, await transport.open(call.stack, request, lease.account))
                except asyncio.CancelledError:
                    if not call.timeout.cancel_called:
                        self._withdraw(lease)
                    raise
                except GatewayError as error:
                    decision = self._failed(error, call, lease)
                    await call.stack.aclose()
                    costs = decision.next is not NextStep.OTHER_EGRESS
                    call.attempts += costs
                    call.tried |= {lease.account.id} if costs else self.pool.accounts.behind(lease.account.egress)
                    if decision.next is NextStep.RETRY_ONCE and not may_run_twice(request):
                        raise _unknown(error) from None
                    if not _in_time(call) or not self._may_retry(decision, call, retrying=retrying):
                        raise
                    call.failure = released(error)
                self._observer.retried(transport.name)
                self._retrying += costs and not retrying
                retrying |= costs
                lease = await self._next_lease(call, lease.request, alone=alone)
        finally:
            self._in_flight -= 1
            self._retrying -= retrying

    async def lease(self, lease_request: LeaseRequest) -> Lease:
        """Lease an account, unless requests to the failing upstream are throttled.

        Raises:
            GatewayError: as `Pool.lease`.

        """
        now = self._clock.monotonic()
        if not self._throttle.admit(now, self._rng()):
            self._observer.throttled(self.transport.name)
            raise RequestsThrottled(self._rng())
        try:
            return await self.pool.lease(lease_request)
        except BaseException:
            self._throttle.withdraw(now)
            raise

    async def _next_lease(self, call: Call, last: LeaseRequest, *, alone: bool) -> Lease:
        """Lease an account for another attempt.

        Raises:
            GatewayError: no account is available; or the error of the previous attempt, if it says more.

        """
        try:
            until = call.deadline if alone else anyio.current_time()
            lease = await self.lease(msgspec.structs.replace(last, tried=call.tried, until=until, waited=call.waited))
        except (Blocked, RateLimited, SignedOut, Saturated) as pool_error:
            call.busy = isinstance(pool_error, Saturated) and not isinstance(pool_error, RequestsThrottled)
            raise _sum_up(call.failure, pool_error) from None
        self._begin(call, lease)
        return lease

    def _begin(self, call: Call, lease: Lease) -> None:
        """Begin an attempt and its span; `call.stack` ends both."""
        name, observer = self.transport.name, self._observer
        call.lease = lease
        call.stack.callback(lease.release)
        call.stack.callback(observer.leased, name, -1)
        observer.upstream_request(name)
        observer.leased(name, 1)
        attributes = upstream_attributes(call.request.selection, self.transport.site)
        attributes |= {"gateway.transport": name, "gateway.account": lease.account.id}
        title = f"{attributes['gen_ai.operation.name']} {call.request.selection.id}"
        call.span = call.stack.enter_context(self._tracer.span(title, attributes, SpanKind.CLIENT))

    def note_rerouted(self, tier: str, error: GatewayError) -> None:
        """Record that the next hop of the route gets a request because of an error."""
        self._observer.rerouted(self.transport.name, tier, type(error).__name__)

    def timed_out(self, call: Call) -> GatewayError:
        """Record that the deadline of a request has passed; return the error to raise."""
        lease = call.lease
        if lease is None:
            return _sum_up(call.failure, Saturated("All of the gateway's accounts are busy.", retry_after=2.0))
        if call.begun:
            error = UpstreamTimeout("The answer took longer than this gateway allows.")
            self._apply_decision(error, call, lease)
            return error
        error = UpstreamTimeout("The upstream did not answer in time.")
        self._failed(error, call, lease)
        return error if may_run_twice(call.request) else _unknown(error)

    def served_by(self, selection: Selection, tier: str = "") -> Iterator[UpstreamModel]:
        """Yield the upstream model that each account that can serve a selection would be asked for."""
        for account in self.usable(selection, tier):
            found = self.transport.served_by(selection, account)
            if found is not None:
                yield found

    def available(self, selection: Selection, tier: str = "") -> bool:
        """Return whether an account can serve a selection now."""
        return self.transport.offers(selection) and bool(self.free(selection, tier))

    def ready(self, selection: Selection, tier: str = "") -> bool:
        """Return whether an account can take a request at once."""
        return self.pool.ready(self._requirement(selection, tier))

    def has_tier(self, tier: str) -> bool:
        """Return whether there are accounts of a tier; empty: any accounts."""
        accounts = self.transport.accounts
        if accounts is not self._accounts:
            self._accounts, self._tiers = accounts, frozenset(account.tier for account in accounts)
        return not tier or tier in self._tiers

    def usable(self, selection: Selection, tier: str = "") -> list[Account]:
        """Return the accounts that can serve a selection and need no attention."""
        return self.pool.usable(self._requirement(selection, tier))

    def free(self, selection: Selection, tier: str = "") -> list[Account]:
        """Return the usable accounts that are in no cooldown."""
        return self.pool.free(self._requirement(selection, tier))

    def _requirement(self, selection: Selection, tier: str = "") -> Requirement:
        return Requirement.of(selection, self.transport.quota_of(selection), tier)

    def has(self, account: str) -> bool:
        """Return whether the pool has an account with this id."""
        self.pool.accounts.sync()
        return self.pool.accounts.state_of(account) is not None

    def _opened(self, call: Call, lease: Lease, exchange: Exchange) -> Exchange:
        """Record that the upstream answers; return the answer, whose end is recorded too."""
        call.begun = True
        call.stack.callback(self._answer_ended, exchange, call)
        self._in_flight += 1
        self._throttle.accept(self._clock.monotonic())
        if lease.state.blocked is not None and lease.state.blocked.reason is CooldownReason.PROXY:
            self.pool.accounts.unblock_egress(lease.account.egress)
        if self.pool.accounts.mark_working(lease.state, call.requirement):
            _log.info("account_recovered", account=lease.account.id)
        return exchange.over(self._observed(exchange, call, lease))

    def _answer_ended(self, exchange: Exchange, call: Call) -> None:
        """Record that an answer ended, in any way, and which model has answered."""
        self._in_flight -= 1
        served = exchange.served
        if served.model:
            call.span.set({"gen_ai.response.model": served.model})
        self._observer.answered(served)
        if served.mismatch is not None:
            requested, answered = served.mismatch
            self._observer.model_mismatched(served.transport, requested, answered)
            _log.warning(
                "model_downgraded",
                request=call.request.id,
                transport=served.transport,
                account=served.account,
                asked=requested,
                answered=answered,
            )

    async def _observed(self, exchange: Exchange, call: Call, lease: Lease) -> AsyncGenerator[Event]:
        """Yield the events, and record how the answer ends."""
        span, waiting = call.span, call.span.recording
        try:
            async for event in exchange.events:
                if waiting and isinstance(event, Text | Thought):
                    waiting = False
                    span.event("first_token")
                elif span.recording and isinstance(event, Finish):
                    span.set(finish_attributes(event))
                yield event
        except GatewayError as error:
            span.failed(error.code)  # the reader may answer its client and leave without an error
            self._apply_decision(error, call, lease)
            raise
        lease.state.finish(self._clock.monotonic())

    def _failed(self, error: GatewayError, call: Call, lease: Lease) -> RetryDecision:
        """Record an error that came before the first event."""
        call.span.failed(error.code)  # the stack is closed without the error when another account is asked
        decision = self._apply_decision(error, call, lease)
        call.lease = None
        if decision.next is NextStep.OTHER_EGRESS or not _is_fault(error):
            self._withdraw(lease)  # says nothing about the health of the account or the upstream
            return decision
        call.failed.add(self.transport.name)
        now = self._clock.monotonic()
        self._throttle.fail(now)
        lease.state.throttle.fail(now)
        return decision

    def _withdraw(self, lease: Lease) -> None:
        now = self._clock.monotonic()
        self._throttle.withdraw(now)
        lease.state.throttle.withdraw(now)

    def _apply_decision(self, error: GatewayError, call: Call, lease: Lease) -> RetryDecision:
        """Apply to the accounts what an error means for them; return the decision."""
        error.transport = self.transport.name
        requirement, now = call.requirement, self._clock.monotonic()
        accounts, state = self.pool.accounts, lease.state
        reason = _cooldown_reason(error)
        if isinstance(error, RateLimited) and reason is CooldownReason.QUOTA and error.retry_after is None:
            error.retry_after = self._reset(lease, requirement)
        failures, proxied = state.failures(requirement.scope, reason, now), bool(lease.account.egress)
        decision = decide(error, failures, jitter=self._rng(), proxied=proxied)
        if decision.attention and accounts.mark_needs_attention(state, decision.attention, decision.message):
            _log.error("account_attention_required", account=lease.account.id, reason=decision.attention)
        if isinstance(error, Blocked):
            error.retry_after = decision.cooldown
            accounts.block_egress(lease.account.egress, decision.cooldown)
        elif decision.next is NextStep.OTHER_EGRESS:
            egress, problem = lease.account.egress, decision.message
            _log.warning("egress_failed", account=lease.account.id, egress=egress, problem=problem)
            accounts.block_egress(egress, decision.cooldown, CooldownReason.PROXY, problem)
        elif decision.cooldown:
            accounts.cool_down(state, requirement.scope, decision.cooldown, reason)
        elif isinstance(error, ModelDowngraded):  # the account works with other models
            self._observer.model_mismatched(self.transport.name, error.requested, error.answered)
        elif _is_fault(error) and accounts.count_failure(state):
            _log.warning("account_ejected", account=lease.account.id)
        name, kind = self.transport.name, type(error).__name__
        self._observer.upstream_error(name, kind)
        self._observer.retry_decided(name, decision.label)
        _log.warning(
            "upstream_request_failed",
            request=call.request.id,
            transport=name,
            account=lease.account.id,
            kind=kind,
            code=error.code,
            needs_attention=decision.attention or None,
        )
        return decision

    def _reset(self, lease: Lease, requirement: Requirement) -> float | None:
        """Return the seconds until the quota resets, if the upstream has reported it."""
        quotas = lease.account.facts().quotas
        reset = next(
            (quota.resets_at for quota in quotas if quota.family == requirement.family and not quota.unlimited), None
        )
        return reset_seconds(reset, self._clock.wall())

    def may_move_on(self, call: Call) -> bool:
        """Return whether another transport may be asked after this one's upstream has failed."""
        return _in_time(call) and not self._draining()

    def may_ask(self, call: Call) -> bool:
        """Return whether a request may come here; for one whose upstream has failed it before, that is a retry."""
        if self.transport.name not in call.failed:
            return True
        return call.request.attempts_before < _MAX_SDK_RETRIES and self._within_budget()

    def _may_retry(self, decision: RetryDecision, call: Call, *, retrying: bool) -> bool:
        policy, request = self._policy, call.request
        if decision.next is NextStep.OTHER_EGRESS:
            return request.handle is None
        if decision.next in {NextStep.FAIL, NextStep.OTHER_TRANSPORT} or self._draining():
            return False
        if request.handle is not None or request.attempts_before >= _MAX_SDK_RETRIES:
            return False
        most = min(policy.attempts, 2) if decision.next is NextStep.RETRY_ONCE else policy.attempts
        return call.attempts < most and (retrying or self._within_budget())

    def _within_budget(self) -> bool:
        policy = self._policy
        return self._retrying < max(policy.min_retry_concurrency, policy.retry_budget * self._in_flight)


def _is_fault(error: GatewayError) -> bool:
    """Return whether an error speaks against the health of the upstream and of the account that was asked."""
    unrelated = ModelDowngraded | Overloaded | MediaUnavailable
    return isinstance(error, UpstreamFailed) and not isinstance(error, unrelated)


def _cooldown_reason(error: GatewayError) -> CooldownReason:
    """Return the reason of the cooldown that a refusal starts."""
    if isinstance(error, Throttled):
        return CooldownReason.PACE
    return CooldownReason.NEVER if isinstance(error, NotIncluded) else CooldownReason.QUOTA


def _in_time(call: Call) -> bool:
    """Return whether enough time is left for another attempt."""
    return asyncio.get_running_loop().time() <= call.last_retry


def may_run_twice(request: GenerationRequest) -> bool:
    """Return whether two accounts may do the work: a second text costs little, a second picture or video a quota."""
    capability = request.selection.capability
    return request.handle is not None or capability in _MAY_RUN_TWICE or capability.has_own_models


def _unknown(error: GatewayError) -> GatewayError:
    """Return the error of work that the upstream may have begun, so it is not retried."""
    if isinstance(error, DriftDetected):
        return error
    message = "The connection to the upstream was lost, and it may have begun the work; the request was not sent again."
    return UpstreamFailed(message, code="upstream_outcome_unknown")


def _sum_up(failure: GatewayError | None, pool_error: GatewayError) -> GatewayError:
    """Return the more useful error for the client: the pool's about quotas, else that of the last attempt."""
    if failure is None or isinstance(failure, RateLimited | SignedOut):
        return pool_error
    if isinstance(failure, Unsupported) and isinstance(pool_error, SignedOut):
        return failure
    return failure if isinstance(failure, UpstreamFailed) else pool_error


def required_by(transport: Transport, selections: Sequence[Selection]) -> list[Requirement]:
    """Return what the selections that a transport offers require of its accounts."""
    offered = (one for one in selections if transport.offers(one))
    return [Requirement.of(one, transport.quota_of(one)) for one in offered]
