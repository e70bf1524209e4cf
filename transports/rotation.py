"""One request over as many accounts as it takes, until the first event; after it there is no way back."""

from collections.abc import AsyncGenerator, Callable, Iterator
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
    ModelDowngraded,
    RateLimited,
    Saturated,
    Selection,
    Served,
    SignedOut,
    Throttled,
    UpstreamFailed,
    UpstreamModel,
    UpstreamTimeout,
    released,
)
from transports.base import Transport, Upstream
from transports.pool import Ask, Lease, Pool, Reason, Throttle, Want, held_back, reset_seconds
from transports.verdict import Next, Verdict, judge

_SDK_GAVE_UP = 2
"""A client that has tried so often gets no retries of ours on top."""

_LEAST_LEFT = 0.3
"""No retry when less than this part of the time is left."""

_log = structlog.get_logger()


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long and how often one request is tried."""

    attempts: int = 3
    """Accounts asked for one request, at most."""
    retry_share: float = 0.2
    """Retries under way, as a part of the requests in flight."""
    retry_floor: int = 3
    """Retries always allowed at once."""
    throttle_ratio: float = 2.0
    """Requests sent to the upstream for each that it takes, while it takes less than all; 0: as many as come."""


def _never() -> bool:
    return False


class Rotation:
    """One transport and its pool."""

    def __init__(
        self,
        transport: Transport,
        pool: Pool,
        policy: Policy,
        draining: Callable[[], bool] = _never,
    ) -> None:
        """Ask `transport` with the accounts of `pool`; while it is `draining`, nothing is tried again."""
        self.transport, self.pool = transport, pool
        self._policy, self._draining = policy, draining
        ground = pool.accounts.ground
        self._clock, self._observer, self._luck = ground.clock, ground.observer, ground.luck
        self._throttle = Throttle(policy.throttle_ratio)
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
        only = request.handle.account if request.handle is not None else None
        ask = Ask(
            want=want, license=request.caller.id, home=await self.transport.home(request), only=only, until=deadline
        )
        failure: GatewayError | None = None
        patience = _LEAST_LEFT * (deadline - anyio.current_time())
        with ExitStack() as retries:
            while True:
                try:
                    lease = await self._lease(stack, ask)
                except (Blocked, RateLimited, SignedOut, Saturated) as nobody:
                    raise _sum_up(failure, nobody) from None
                try:
                    return await self._attempt(stack, request, lease, deadline)
                except GatewayError as error:
                    verdict = self._judge(error, lease, request)
                    self._note_failure(error, lease)
                    await stack.aclose()
                    ask = msgspec.structs.replace(ask, tried=ask.tried | {lease.account.id})
                    tried = ask.tried
                    late = deadline - anyio.current_time() < patience
                    if verdict.next is Next.ONCE and not _harmless_twice(request):
                        raise _unknown(error) from None
                    if late or request.handle or not self._may_retry(verdict, request, len(tried)):
                        raise
                    failure = released(error)
                self._observer.retried(self.transport.name)
                if len(tried) == 1:
                    self._retrying += 1
                    retries.callback(self._end_retry)

    async def _lease(self, stack: AsyncExitStack, ask: Ask) -> Lease:
        """Lease an account, unless the upstream as a whole takes too little of what it is sent."""
        now = self._clock.monotonic()
        if not self._throttle.admit(now, self._luck()):
            self._observer.throttled(self.transport.name)
            raise held_back(self._luck())
        try:
            return await stack.enter_async_context(self.pool.lease(ask))
        except BaseException:
            self._throttle.withdraw(now)
            raise

    def served_by(self, selection: Selection) -> Iterator[UpstreamModel]:
        """Yield the upstream model that each account that can serve a selection would be asked for."""
        for account in self.pool.usable(Want.of(selection)):
            found = self.transport.served_by(selection, account)
            if found is not None:
                yield found

    def has(self, account: str) -> bool:
        """Say whether an account of this id is among the pool's."""
        self.pool.accounts.sync()
        return self.pool.accounts.state_of(account) is not None

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
        try:
            with anyio.move_on_at(deadline):
                upstream = await stack.enter_async_context(self.transport.open(request, lease.account))
                stack.callback(self._note_model, upstream, request)
                self._works(lease, Want.of(request.selection))
                return Course(upstream, lambda error: self._end(error, lease, request))
        except anyio.get_cancelled_exc_class():
            self._withdraw(lease)
            raise
        raise UpstreamTimeout("The upstream did not answer in time.")

    def _note_model(self, upstream: Upstream, request: GenerationRequest) -> None:
        """Count which model has answered, when the answer is over however it ended."""
        served = upstream.served
        self._observer.answered(served)
        if served.mismatch is not None:
            asked, answered = served.mismatch
            self._observer.model_mismatched(served.transport, asked, answered)
            _log.warning(
                "model_downgraded",
                request=request.id,
                transport=served.transport,
                account=served.account,
                asked=asked,
                answered=answered,
            )

    def _note_failure(self, error: GatewayError, lease: Lease) -> None:
        """Have what came before the first event count against account and upstream, if their health is at fault."""
        if isinstance(error, ModelDowngraded) or not isinstance(error, UpstreamFailed):
            self._withdraw(lease)
            return
        now = self._clock.monotonic()
        self._throttle.fail(now)
        lease.state.throttle.fail(now)

    def _withdraw(self, lease: Lease) -> None:
        now = self._clock.monotonic()
        self._throttle.withdraw(now)
        lease.state.throttle.withdraw(now)

    def _end(self, error: GatewayError | None, lease: Lease, request: GenerationRequest) -> None:
        """Note how an answer that had begun came to its end."""
        if error is not None:
            self._judge(error, lease, request)
        else:
            lease.state.finish(self._clock.monotonic())

    def _judge(self, error: GatewayError, lease: Lease, request: GenerationRequest) -> Verdict:
        """Let the accounts bear what an error means for them; say what it means for the request."""
        want, now = Want.of(request.selection), self._clock.monotonic()
        accounts, state = self.pool.accounts, lease.state
        reason = Reason.PACE if isinstance(error, Throttled) else Reason.QUOTA
        if isinstance(error, RateLimited) and reason is Reason.QUOTA and error.retry_after is None:
            error.retry_after = self._reset(lease, want)
        verdict = judge(error, state.failures(want.key, reason, now), luck=self._luck())
        if verdict.park and accounts.park(state, verdict.park, verdict.words):
            _log.error("account_needs_a_person", account=lease.account.id, reason=verdict.park)
        if isinstance(error, Blocked):
            error.retry_after = verdict.rest
            accounts.block(lease.account.egress, verdict.rest)
        elif verdict.rest:
            accounts.rest(state, want.key, verdict.rest, reason)
        elif isinstance(error, ModelDowngraded):  # the account is sound: other models are answered as they should be
            self._observer.model_mismatched(self.transport.name, error.asked, error.answered)
        elif isinstance(error, UpstreamFailed) and accounts.fails(state):
            _log.warning("account_fails", account=lease.account.id)
        name, kind = self.transport.name, type(error).__name__
        self._observer.upstream_error(name, kind)
        self._observer.judged(name, verdict.word)
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

    def _reset(self, lease: Lease, want: Want) -> float | None:
        """Return the seconds until the allowance starts anew, where the upstream has told of it."""
        quotas = lease.account.facts().quotas
        reset = next((quota.reset for quota in quotas if quota.name == want.family and not quota.unlimited), None)
        return reset_seconds(reset, self._clock.wall())

    def _works(self, lease: Lease, want: Want) -> None:
        self._throttle.accept(self._clock.monotonic())
        if self.pool.accounts.works(lease.state, want):
            _log.info("account_works_again", account=lease.account.id)

    def _may_retry(self, verdict: Verdict, request: GenerationRequest, attempts: int) -> bool:
        policy = self._policy
        if verdict.next in {Next.GIVE_UP, Next.ANOTHER_TRANSPORT} or self._draining():
            return False
        if request.attempts_before >= _SDK_GAVE_UP:
            return False
        most = min(policy.attempts, 2) if verdict.next is Next.ONCE else policy.attempts
        budget = max(policy.retry_floor, policy.retry_share * self._in_flight)
        return attempts < most and (attempts > 1 or self._retrying < budget)


class Course:
    """The exchange of one request with the account that took it."""

    def __init__(self, upstream: Upstream, end: Callable[[GatewayError | None], None]) -> None:
        """Call `end` when the answer is whole, or with the error that it breaks off with."""
        self._upstream, self._end = upstream, end

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
            self._end(error)
            raise
        self._end(None)

    def late(self) -> UpstreamTimeout:
        """Return the error of an answer that its deadline cut short."""
        error = UpstreamTimeout("The answer took longer than this gateway allows.")
        self._end(error)
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
