"""Tracks the accounts of one transport: their states, shared with all processes and reported to the observer.

Theory of operation. `availability.AccountState` decides what one account may do; `AccountTracker` connects the states
of a transport's accounts to requests, checks, the store and operators. A change reaches a state in one of three ways:

- failover reports what a request has found (`cool_down`, `mark_needs_attention`, `mark_working`, `count_failure`). The
  change is applied here, written to the store by `shared_state`, and emitted to the observer.
- the transport reports what its own checks have found (`apply_report`), or its facts change (`tick` reads the quotas).
- another process, an operator or a command has changed the store: `shared_state` calls `pauses_changed`,
  `attention_changed` and `cooldowns_changed` with all records, and the states are made to agree with them.

Example: process 1 gets a 429 for account `a`. Its `cool_down` starts a cooldown and writes it. The change feed of
process 2 sees the record within a second, and its `cooldowns_changed` starts the same cooldown there, `by` another
process.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from transports.account import Account, Facts, Report, reachable
from transports.accounts.availability import EVERYTHING, AccountState, Requirement, Scope
from transports.accounts.records import (
    AccountLoad,
    AttentionRecord,
    CooldownReason,
    CooldownRecord,
    scope_text,
)
from transports.accounts.registry import PauseRecord
from transports.accounts.shared_state import ActiveCooldown, SharedState
from transports.clock import Clock
from transports.observer import ELSEWHERE, AccountChange, Observer
from transports.tracing import NO_TRACER, Tracer

_log = structlog.get_logger()

_LONGEST_RESET = 86400.0
_OF_QUOTAS = {CooldownReason.QUOTA, CooldownReason.PACE, CooldownReason.NEVER}
_SAME_SECONDS = 2.0
"""Two processes compute the end of a cooldown with at most this difference."""


Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


Rng = Callable[[], float]
"""Returns a number from 0 up to 1, like `random.random`."""


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Account pool: queue, cooldown, throttling and shared state."""

    queue_timeout_seconds: Seconds = 5.0
    """How long a request waits for a free account."""
    fair_queue_timeout_seconds: Seconds = 60.0
    """The same, while its license uses less than its fair share of the account slots and another license more."""
    queue_per_slot: Annotated[float, Meta(ge=0)] = 2.0
    """Queue length per account slot; when the queue is full, requests fail with 503 at once."""
    consecutive_failures: Count = 5
    """Consecutive failures, refusals excluded, that start a cooldown of an account, unless it is the last one."""
    ejection_seconds: Seconds = 30.0
    """Length of that cooldown; it grows each time the account fails again."""
    max_ejection_seconds: Seconds = 300.0
    """Maximum length of that cooldown."""
    throttle_ratio: Annotated[float, Meta(ge=0)] = 2.0
    """Requests sent per accepted request while an upstream fails; 0: no throttling."""
    slot_ttl_seconds: Annotated[float, Meta(ge=5)] = 60.0
    """Time after which other processes reclaim the account slots of a process that died."""
    probe_seconds: Seconds = 60.0
    """Interval between retries of an account that needs attention, if no other account is left."""


class PoolDeps(msgspec.Struct, frozen=True, kw_only=True):
    """Dependencies of all pools of a process."""

    clock: Clock
    shared_state: SharedState
    observer: Observer
    rng: Rng
    tracer: Tracer = NO_TRACER
    licenses: Callable[[], int] = lambda: 1
    """Returns the number of valid licenses, whether they send requests or not."""


class Reports:
    """Passes a transport's reports on to its pool; those that come before the pool exists are kept for it."""

    def __init__(self) -> None:
        """Start without a pool: a transport is connected before its pool is made."""
        self._waiting: list[Report] = []
        self._handle: Callable[[Report], None] = self._waiting.append

    def __call__(self, report: Report) -> None:
        """Pass a report on, or keep it."""
        self._handle(report)

    def connect(self, handle: Callable[[Report], None]) -> None:
        """Call `handle` with the reports that were kept, and with all later ones."""
        self._handle = handle
        while self._waiting:
            handle(self._waiting.pop(0))


class AccountTracker:
    """Tracks the state of each account of one transport."""

    def __init__(
        self, transport: str, source: Callable[[], Sequence[Account]], deps: PoolDeps, config: PoolConfig
    ) -> None:
        """Follow the accounts that `source` returns; it returns another sequence when they have changed."""
        self.transport, self.deps, self._config = transport, deps, config
        self._source, self._accounts = source, source()
        self.states = [self._new_state(account) for account in self._accounts]
        self._index()
        self._draining: list[AccountState] = []
        self._pending_reports: dict[tuple[str, str], Report] = {}
        """Reports on accounts that are not among the states yet."""
        deps.shared_state.add_listener(self)

    def state_of(self, account: str) -> AccountState | None:
        """Return the state of an account."""
        return self._by_id.get(account)

    def sync(self) -> bool:
        """Add and remove states if the transport's accounts have changed; return whether they have."""
        now = self._source()
        if now is self._accounts:
            return False
        self._accounts = now
        known = {state.account.id: state for state in self.states}
        states: list[AccountState] = []
        for account in now:
            state = known.pop(account.id, None)
            if state is None:
                state = self._new_state(account)
                self._emit(state, "added", by=self.deps.shared_state.actor_of(account.id, "added"))
            else:
                changed = _settings(state.account) != _settings(account)
                state.account = account
                if changed:
                    self._emit(state, "changed", by=self.deps.shared_state.actor_of(account.id, "added"))
            states.append(state)
        self.states = states
        self._index()
        for removed in known.values():
            removed.retired = True
            self._emit(removed, "removed", by=self.deps.shared_state.actor_of(removed.account.id, "removed"))
        self._draining = [state for state in [*self._draining, *known.values()] if state.in_flight]
        self.deps.shared_state.notify(self)
        for report in [
            report for report in self._pending_reports.values() if self.state_of(report.account) is not None
        ]:
            del self._pending_reports[report.account, report.check]
            self.apply_report(report)
        return True

    def apply_report(self, report: Report) -> None:
        """Apply what a check of the transport has found.

        A check clears the attention state that it has set itself. A check that was served with a new credential also
        clears what was found with the old one. What a request has found is cleared by a request or by an operator.
        """
        self.sync()
        state = self.state_of(report.account)
        if state is None:
            self._pending_reports[report.account, report.check] = report
        elif report.error is not None:
            message = report.error.advice or report.error.message
            if self.mark_needs_attention(state, report.error.reason, message, check=report.check):
                _log.error(
                    "account_attention_required", account=report.account, reason=report.error.reason, check=report.check
                )
        elif state.attention is not None and (
            state.attention.check == report.check or (state.renewed and report.served)
        ):
            self._clear_attention(state)
            _log.info("account_recovered", account=report.account, check=report.check)

    def tick(self) -> bool:
        """End cooldowns that are over and apply new quotas; return whether an account may have become available."""
        now = self.deps.clock.monotonic()
        changed = self.sync()
        for state in self.states:
            for scope, cooldown in state.sweep(now):
                self._emit(state, "cooldown_ended", scope=scope, reason=cooldown.reason)
                changed = True
            self._apply_quotas(state, now)
        self._draining = [state for state in self._draining if state.in_flight]
        return changed

    def loads(self) -> dict[str, AccountLoad]:
        """Return the open requests and facts of each account in this process."""
        found: dict[str, AccountLoad] = {}
        for state in [*self.states, *self._draining]:
            facts = state.account.facts()
            found[state.account.id] = AccountLoad(
                in_flight=state.in_flight,
                plan=facts.plan,
                rotated_at=facts.rotated_at,
                expires_at=facts.expires_at,
                quotas=facts.quotas,
            )
        return found

    def cool_down(self, state: AccountState, scope: Scope, seconds: float, reason: CooldownReason) -> bool:
        """Start a cooldown of an account; return whether it is new.

        One because of a quota of the upstream applies to all accounts that share it.
        """
        if reason in _OF_QUOTAS and state.account.quota_group:
            for other in self.states:
                if other is not state and other.account.quota_group == state.account.quota_group:
                    self._cool_down(other, scope, seconds, reason)
        return self._cool_down(state, scope, seconds, reason)

    def _cool_down(self, state: AccountState, scope: Scope, seconds: float, reason: CooldownReason) -> bool:
        now = self.deps.clock.monotonic()
        started = state.cool_down(now + seconds, scope, reason, now)
        cooldown = state.cooldowns.get(scope)
        if cooldown is not None and cooldown.until == now + seconds and not state.retired:
            self.deps.shared_state.set_cooldown(self._cooldown_record(state, scope, reason), seconds)
        if started:
            self._emit(state, "cooldown_started", scope=scope, reason=reason, seconds=seconds)
        return started

    def block_egress(
        self, egress: str, seconds: float, reason: CooldownReason = CooldownReason.ADDRESS, message: str = ""
    ) -> None:
        """Start a cooldown of every account that uses this egress, because of its address or its proxy.

        One because of its address is limited to this transport: another upstream may well accept it.
        """
        transport = self.transport if reason is CooldownReason.ADDRESS else ""
        record = CooldownRecord(account="", egress=egress, transport=transport, reason=reason, message=message)
        self._block(record, self.deps.clock.monotonic() + seconds, by="")
        self.deps.shared_state.set_cooldown(record, seconds)
        self.deps.shared_state.notify_others(self)

    def unblock_egress(self, egress: str) -> None:
        """End the cooldown of every account whose proxy connects again."""
        for state in self.states:
            own = state.account.egress == egress
            if own and state.blocked is not None and state.blocked.reason is CooldownReason.PROXY:
                state.blocked = None
                self._emit(state, "cooldown_ended", reason=CooldownReason.PROXY)
        record = CooldownRecord(account="", egress=egress, reason=CooldownReason.PROXY)
        self.deps.shared_state.clear_cooldown(record)
        self.deps.shared_state.notify_others(self)

    def behind(self, egress: str) -> set[str]:
        """Return the ids of the accounts that use this egress."""
        return {state.account.id for state in self.states if state.account.egress == egress}

    def without_way_out(self) -> list[AccountState]:
        """Return one account of each egress whose proxy does not connect."""
        blocked = {
            state.account.egress: state
            for state in self.states
            if state.blocked is not None and state.blocked.reason is CooldownReason.PROXY
        }
        return list(blocked.values())

    def mark_needs_attention(self, state: AccountState, reason: str, message: str = "", *, check: str = "") -> bool:
        """Set an account's attention state; return whether it is new.

        `check` names the transport's check that found the reason: only the same check may then change it.
        """
        now = self.deps.clock
        credential = state.account.facts().credential
        before = state.attention
        if before is not None and before.credential == credential and before.check not in {"", check}:
            return False
        record = AttentionRecord(reason=reason, message=message, at=now.wall(), credential=credential, check=check)
        if not state.mark_needs_attention(record, now.monotonic()):
            return False
        if not state.retired:
            self.deps.shared_state.set_attention(state.account.id, record)
        self._emit(state, "needs_attention", reason=reason, message=message)
        return True

    def mark_working(self, state: AccountState, requirement: Requirement) -> bool:
        """Note that an account answered; return whether this cleared its attention state."""
        now = self.deps.clock.monotonic()
        state.throttle.accept(now)
        state.succeed(requirement, now)
        if state.attention is None:
            return False
        self._clear_attention(state)
        return True

    def _clear_attention(self, state: AccountState) -> None:
        state.clear_attention()
        self.deps.shared_state.clear_attention(state.account.id)
        self._emit(state, "recovered")

    def count_failure(self, state: AccountState) -> bool:
        """Count a failure, refusals excluded; return whether it started a cooldown. The last account never gets one.

        Source: reliability 2.6.
        """
        state.errors += 1
        if state.errors < self._config.consecutive_failures or not self._may_eject(state):
            return False
        state.errors = 0
        state.ejections += 1
        seconds = min(self._config.max_ejection_seconds, self._config.ejection_seconds * state.ejections)
        return self.cool_down(state, EVERYTHING, seconds, CooldownReason.ERRORS)

    def _may_eject(self, state: AccountState) -> bool:
        """Return whether another account is available, and at most half of all accounts would be ejected."""
        now = self.deps.clock.monotonic()
        ejected = [other for other in self.states if other.is_ejected(now)]
        available = [other for other in self.states if other is not state and other.is_available(now)]
        return bool(available) and state not in ejected and len(ejected) + 1 <= len(self.states) / 2

    def pauses_changed(self, pauses: Mapping[str, PauseRecord]) -> None:
        """Mark exactly these accounts as paused."""
        for state in self.states:
            before, state.paused = state.paused, pauses.get(state.account.id)
            if before is None and state.paused is not None:
                self._emit(state, "paused", reason=state.paused.reason, by=state.paused.by)
            elif before is not None and state.paused is None:
                self._emit(state, "resumed", by=self._resumed_by(state))

    def attention_changed(self, attention: Mapping[str, AttentionRecord]) -> None:
        """Mark exactly these accounts as needing attention."""
        now = self.deps.clock.monotonic()
        for state in self.states:
            record = attention.get(state.account.id)
            if record is None:
                if state.clear_attention():
                    self._emit(state, "resumed", by=self._resumed_by(state))
            elif state.attention is not None and state.attention.finding == record.finding:
                continue
            elif state.mark_needs_attention(record, now):
                self._emit(state, "needs_attention", reason=record.reason, message=record.message, by=ELSEWHERE)

    def cooldowns_changed(self, cooldowns: Mapping[str, ActiveCooldown]) -> None:
        """Apply exactly these cooldowns."""
        now = self.deps.clock.monotonic()
        by_account: dict[str, dict[Scope, ActiveCooldown]] = {}
        addresses: list[ActiveCooldown] = []
        for cooldown in cooldowns.values():
            record = cooldown.record
            if not record.account:
                addresses.append(cooldown)
            else:
                by_account.setdefault(record.account, {})[record.family, record.capability] = cooldown
        for state in self.states:
            self._apply_cooldowns(state, by_account.get(state.account.id, {}), now)
            if state.blocked is not None and not any(one.record.covers(state.account) for one in addresses):
                ended, state.blocked = state.blocked, None
                self._emit(state, "cooldown_ended", reason=ended.reason, by=ELSEWHERE)
        for active in addresses:
            self._block(active.record, active.until, by=ELSEWHERE)

    def _apply_cooldowns(self, state: AccountState, cooldowns: Mapping[Scope, ActiveCooldown], now: float) -> None:
        for scope in [scope for scope in state.cooldowns if scope not in cooldowns]:
            ended = state.end_cooldown(scope)
            if ended is not None:
                self._emit(state, "cooldown_ended", scope=scope, reason=ended.reason, by=self._resumed_by(state))
        for scope, active in cooldowns.items():
            current = state.cooldowns.get(scope)
            if current is not None and active.until - current.until < _SAME_SECONDS:
                continue
            if state.cool_down(active.until, scope, active.record.reason, now):
                seconds = active.until - now
                self._emit(
                    state, "cooldown_started", scope=scope, reason=active.record.reason, seconds=seconds, by=ELSEWHERE
                )

    def _apply_quotas(self, state: AccountState, now: float) -> None:
        """Start cooldowns for quotas that are used up, and end those whose quota has some left again.

        Only quotas that have changed are applied: an old one must not override another process or an operator.
        """
        quotas = state.account.facts().quotas
        if quotas == state.quotas:
            return
        before, state.quotas = {quota.name: quota for quota in state.quotas}, quotas
        for quota in state.quotas:
            old = before.get(quota.name)
            if old == quota or not quota.family:
                continue
            scope = (quota.family, None)
            cooldown = state.cooldowns.get(scope)
            seconds = reset_seconds(quota.resets_at, self.deps.clock.wall()) if quota.used_up else None
            if seconds and (cooldown is None or cooldown.until < now + seconds - _SAME_SECONDS):
                self.cool_down(state, scope, seconds, CooldownReason.QUOTA)
            elif old and quota.has_more_than(old) and cooldown is not None and cooldown.reason is CooldownReason.QUOTA:
                state.end_cooldown(scope)
                self.deps.shared_state.clear_cooldown(self._cooldown_record(state, scope, cooldown.reason))
                self._emit(state, "cooldown_ended", scope=scope, reason=cooldown.reason)

    def _resumed_by(self, state: AccountState) -> str:
        """Return who has resumed an account or ended its cooldown."""
        return self.deps.shared_state.actor_of(state.account.id, "resumed", ELSEWHERE)

    def _block(self, record: CooldownRecord, until: float, *, by: str) -> None:
        now = self.deps.clock.monotonic()
        for state in self.states:
            if record.covers(state.account) and state.block_egress(until, now, record.reason):
                seconds, message = until - now, record.message
                self._emit(state, "cooldown_started", reason=record.reason, message=message, seconds=seconds, by=by)

    def _new_state(self, account: Account) -> AccountState:
        config = self._config
        return AccountState(account, throttle_ratio=config.throttle_ratio, probe_seconds=config.probe_seconds)

    def _index(self) -> None:
        self._by_id = {state.account.id: state for state in self.states}
        self.guests = [state for state in self.states if state.account.guest]

    @staticmethod
    def _cooldown_record(state: AccountState, scope: Scope, reason: CooldownReason) -> CooldownRecord:
        return CooldownRecord(account=state.account.id, family=scope[0], capability=scope[1], reason=reason)

    def _emit(  # noqa: PLR0913 -- the fields of an AccountChange
        self,
        state: AccountState,
        event: str,
        *,
        scope: Scope = EVERYTHING,
        reason: str = "",
        message: str = "",
        seconds: float | None = None,
        by: str = "",
    ) -> None:
        change = AccountChange(
            at=self.deps.clock.wall(),
            account=state.account.id,
            transport=self.transport,
            event=event,
            scope="" if scope == EVERYTHING else scope_text(*scope),
            reason=str(reason),
            message=message,
            seconds=seconds,
            by=by,
        )
        self.deps.observer.changed(change)


def reset_seconds(reset: float | None, wall: float) -> float | None:
    """Return the seconds until an upstream's reset time, at most a day; None: it is past. Source: reliability 2.5."""
    return None if reset is None or reset <= wall else min(_LONGEST_RESET, reset - wall)


def _settings(account: Account) -> Account:
    """Return an account without its facts, which change over time, and its connection."""
    return msgspec.structs.replace(account, facts=Facts, reach=reachable)
