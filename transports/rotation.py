"""One request over as many accounts as it takes, until the first event; after it there is no way back."""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import anyio
import msgspec
import structlog

from protocol.model import (
    Blocked,
    Capability,
    DriftDetected,
    Event,
    Exchange,
    GatewayError,
    GenerationRequest,
    RateLimited,
    Saturated,
    Served,
    SignedOut,
    Throttled,
    UpstreamFailed,
    UpstreamTimeout,
)
from transports.base import Transport, Upstream
from transports.clock import Clock
from transports.observer import Observer
from transports.pool import Lease, Pool, Reason, Want
from transports.verdict import Next, Verdict, judge

_SDK_GAVE_UP = 2
"""A client that has tried so often gets no retries of ours on top."""

_LEAST_LEFT = 0.3
"""No retry when less than this part of the time is left."""

_log = structlog.get_logger()


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long and how often one request is tried."""

    lease_seconds: float = 5.0
    """For an account to be free."""
    attempts: int = 3
    """Accounts asked for one request, at most."""
    retry_share: float = 0.2
    """Retries under way, as a part of the requests in flight."""
    retry_floor: int = 3
    """Retries always allowed at once."""


class Rotation:
    """One transport and its pool."""

    def __init__(self, transport: Transport, pool: Pool, policy: Policy, clock: Clock, observer: Observer) -> None:
        """Ask `transport` with the accounts of `pool`."""
        self.transport, self.pool = transport, pool
        self._policy, self._clock, self._observer = policy, clock, observer
        self._in_flight = self._retrying = 0

    @asynccontextmanager
    async def open(self, request: GenerationRequest, deadline: float) -> AsyncGenerator[Exchange]:
        """Open the request with the first account that takes it; `deadline` is of the event loop's clock.

        Raises:
            GatewayError: nobody took it; the last refusal, or the pool's.
            UpstreamTimeout: what was done with the exchange was not over by the deadline.

        """
        self._in_flight += 1
        try:
            async with AsyncExitStack() as stack:
                course = await self._attempts(stack, request, deadline)
                with anyio.CancelScope(deadline=deadline) as patience:
                    yield course
                if patience.cancelled_caught:
                    raise course.late()
        finally:
            self._in_flight -= 1

    async def _attempts(self, stack: AsyncExitStack, request: GenerationRequest, deadline: float) -> "Course":
        want = Want.of(request.selection)
        tried, home = frozenset[str](), await self.transport.home(request)
        only = request.handle.account if request.handle is not None else None
        failure: GatewayError | None = None
        patience = _LEAST_LEFT * (deadline - anyio.current_time())
        with ExitStack() as retries:
            while True:
                try:
                    lease = await stack.enter_async_context(self.pool.lease(want, tried, home, only))
                except (Blocked, RateLimited, SignedOut, Saturated) as nobody:
                    raise _sum_up(failure, nobody) from None
                try:
                    return await self._attempt(stack, request, lease, deadline)
                except GatewayError as error:
                    await stack.aclose()
                    verdict = self._judge(error, lease, request)
                    tried |= {lease.account.id}
                    late = deadline - anyio.current_time() < patience
                    if verdict.next is Next.ONCE and not _harmless_twice(request):
                        raise _unknown(error) from None
                    if late or request.handle or not self._may_retry(verdict, request, len(tried)):
                        raise
                    failure = error
                if len(tried) == 1:
                    self._retrying += 1
                    retries.callback(self._end_retry)

    def has(self, account: str) -> bool:
        """Say whether an account of this id is among the pool's."""
        return any(state.account.id == account for state in self.pool.states)

    def _end_retry(self) -> None:
        self._retrying -= 1

    async def _attempt(
        self,
        stack: AsyncExitStack,
        request: GenerationRequest,
        lease: Lease,
        deadline: float,
    ) -> "Course":
        name = self.transport.name
        self._observer.upstream_request(name)
        self._observer.leased(name, 1)
        stack.callback(self._observer.leased, name, -1)
        with anyio.move_on_at(deadline):
            upstream = await stack.enter_async_context(self.transport.open(request, lease.account))
            self._works(lease, Want.of(request.selection))
            return Course(upstream, lambda error: self._judge(error, lease, request))
        raise UpstreamTimeout("The upstream did not answer in time.")

    def _judge(self, error: GatewayError, lease: Lease, request: GenerationRequest) -> Verdict:
        """Let the accounts bear what an error means for them; say what it means for the request."""
        want, now = Want.of(request.selection), self._clock.monotonic()
        reason = Reason.PACE if isinstance(error, Throttled) else Reason.QUOTA
        luck = random.random()  # noqa: S311 -- spreads load, hides nothing
        verdict = judge(error, lease.state.failures(want, reason, now), luck=luck)
        if verdict.park and lease.state.park(verdict.park, now):
            _log.error("account_needs_a_person", account=lease.account.id, reason=verdict.park)
        if isinstance(error, Blocked):
            error.retry_after = verdict.rest
            self.pool.block(lease.account.egress, now + verdict.rest)
        elif verdict.rest:
            lease.state.rest(now + verdict.rest, want, reason, now)
        name, kind = self.transport.name, type(error).__name__
        self._observer.upstream_error(name, kind)
        _log.warning(
            "upstream_refused",
            request=request.id,
            transport=name,
            account=lease.account.id,
            kind=kind,
            code=error.code,
            parked=verdict.park or None,
        )
        return verdict

    def _works(self, lease: Lease, want: Want) -> None:
        if lease.state.succeed(want, self._clock.monotonic()):
            _log.info("account_works_again", account=lease.account.id)

    def _may_retry(self, verdict: Verdict, request: GenerationRequest, attempts: int) -> bool:
        policy = self._policy
        if verdict.next in {Next.GIVE_UP, Next.ANOTHER_TRANSPORT} or request.attempts_before >= _SDK_GAVE_UP:
            return False
        most = min(policy.attempts, 2) if verdict.next is Next.ONCE else policy.attempts
        budget = max(policy.retry_floor, policy.retry_share * self._in_flight)
        return attempts < most and (attempts > 1 or self._retrying < budget)


class Course:
    """The exchange of one request with the account that took it."""

    def __init__(self, upstream: Upstream, judge: Callable[[GatewayError], object]) -> None:
        """Tell `judge` of an error on the way."""
        self._upstream, self._judge = upstream, judge

    @property
    def served(self) -> Served:
        """Who answers."""
        return self._upstream.served

    async def __aiter__(self) -> AsyncGenerator[Event]:
        """Yield events until `Finish`."""
        try:
            async for event in self._upstream:
                yield event
        except GatewayError as error:
            self._judge(error)
            raise

    def late(self) -> UpstreamTimeout:
        """Return the error of an answer that its deadline cut short."""
        error = UpstreamTimeout("The answer took longer than this gateway allows.")
        self._judge(error)
        return error


def _harmless_twice(request: GenerationRequest) -> bool:
    """Say whether nothing is lost when two accounts do it: text comes twice, a picture or a video costs twice."""
    return request.handle is not None or request.selection.capability in {Capability.CHAT, Capability.CANVAS}


def _unknown(error: GatewayError) -> GatewayError:
    """Return the error of work that may be under way, and is not asked for again."""
    if isinstance(error, DriftDetected):
        return error
    message = "The connection to the upstream was lost while it may have been at work; nothing was sent again."
    return UpstreamFailed(message, code="upstream_outcome_unknown")


def _sum_up(failure: GatewayError | None, nobody: GatewayError) -> GatewayError:
    """Return what the caller should know: the pool's word on quota, else what the last account said."""
    if failure is None or isinstance(failure, RateLimited | SignedOut):
        return nobody
    return failure if isinstance(failure, UpstreamFailed) else nobody
