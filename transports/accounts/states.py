"""The states of one transport's accounts, shared with all processes and reported to the observer."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from transports.account import Account, Facts, Quota, Report
from transports.accounts.config import PoolConfig
from transports.accounts.records import AccountLoad, AttentionRecord, CooldownReason, CooldownRecord
from transports.accounts.registry import PauseRecord
from transports.accounts.selection import Rng
from transports.accounts.shared_state import ActiveCooldown, SharedState
from transports.accounts.state import EVERYTHING, AccountState, Requirement, Scope
from transports.clock import Clock
from transports.observer import ELSEWHERE, AccountChange, Observer
from transports.tracing import NO_TRACER, Tracer

_log = structlog.get_logger()

_LONGEST_RESET = 86400.0
_SAME_SECONDS = 2.0
"""Two processes' words on when a rest ends are no more apart than this."""


class PoolDeps(msgspec.Struct, frozen=True, kw_only=True):
    """What all pools of a process stand on."""

    clock: Clock
    shared_state: SharedState
    observer: Observer
    rng: Rng
    tracer: Tracer = NO_TRACER


class AccountStates:
    """What is known of each of them."""

    def __init__(
        self, transport: str, source: Callable[[], Sequence[Account]], deps: PoolDeps, config: PoolConfig
    ) -> None:
        """Know those that `source` returns: another sequence whenever they are others."""
        self.transport, self.deps, self._config = transport, deps, config
        self._source, self._accounts = source, source()
        self.states = [self._new_state(account) for account in self._accounts]
        self._by_id = {state.account.id: state for state in self.states}
        self.guests = _guests(self.states)
        self._draining: list[AccountState] = []
        self._pending_reports: dict[tuple[str, str], Report] = {}
        """Reports on accounts that are not among the states yet."""
        deps.shared_state.add_listener(self)

    def state_of(self, account: str) -> AccountState | None:
        """Return what is known of an account."""
        return self._by_id.get(account)

    def sync(self) -> bool:
        """Look whether the transport has other accounts now; say so. What is known of those that stay is kept."""
        now = self._source()
        if now is self._accounts:
            return False
        self._accounts = now
        known = {state.account.id: state for state in self.states}
        self.states = [self._update_state(known.pop(account.id, None), account) for account in now]
        self._by_id = {state.account.id: state for state in self.states}
        self.guests = _guests(self.states)
        for gone in known.values():
            gone.retired = True
            self._emit(gone, "removed", by=self.deps.shared_state.actor_of(gone.account.id, "removed"))
        self._draining = [state for state in [*self._draining, *known.values()] if state.in_flight]
        self.deps.shared_state.notify(self)
        for report in [
            report for report in self._pending_reports.values() if self.state_of(report.account) is not None
        ]:
            del self._pending_reports[report.account, report.check]
            self.apply_report(report)
        return True

    def apply_report(self, report: Report) -> None:
        """Set an account's state by what its transport has found out by itself.

        A check ends what it has found itself. One that was served with another credential also ends what was found
        before. What a request has found with this credential is ended by a request, or by a person.
        """
        self.sync()
        state = self.state_of(report.account)
        if state is None:
            self._pending_reports[report.account, report.check] = report
        elif report.error is not None:
            words = report.error.advice or report.error.message
            if self.mark_needs_attention(state, report.error.reason, words, check=report.check):
                _log.error(
                    "account_attention_required", account=report.account, reason=report.error.reason, check=report.check
                )
        elif state.attention is not None and (
            state.attention.check == report.check or (state.renewed and report.served)
        ):
            self._clear_attention(state)
            _log.info("account_recovered", account=report.account, check=report.check)

    def tick(self) -> bool:
        """Do what time brings; say whether an account may be free that was not."""
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
        """Return what each account carries here, and what is known of it."""
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
        """Start a cooldown; return whether it is new."""
        now = self.deps.clock.monotonic()
        news = state.cool_down(now + seconds, scope, reason, now)
        cooldown = state.cooldowns.get(scope)
        if cooldown is not None and cooldown.until == now + seconds and not state.retired:
            self.deps.shared_state.set_cooldown(self._cooldown_record(state, scope, reason, now), seconds)
        if news:
            self._emit(state, "cooldown_started", scope=scope, reason=reason, seconds=seconds)
        return news

    def block_egress(self, egress: str, seconds: float) -> None:
        """Start a cooldown of all accounts that use this proxy: the upstream refuses its IP address."""
        self._block(egress, self.deps.clock.monotonic() + seconds, by="")
        self.deps.shared_state.set_cooldown(
            CooldownRecord(account="", egress=egress, reason=CooldownReason.ADDRESS), seconds
        )
        self.deps.shared_state.notify_others(self)

    def mark_needs_attention(self, state: AccountState, reason: str, message: str = "", *, check: str = "") -> bool:
        """Mark an account as needing attention; return whether it is new.

        `check` names the transport's own check that found it: what that has found, a request does not change.
        """
        now = self.deps.clock
        credential = state.account.facts().credential
        held = state.attention.check if state.attention is not None and state.attention.credential == credential else ""
        if held and held != check:
            return False
        record = AttentionRecord(reason=reason, message=message, at=now.wall(), credential=credential, check=check)
        if not state.mark_needs_attention(record, now.monotonic()):
            return False
        if not state.retired:
            self.deps.shared_state.set_attention(state.account.id, record)
        self._emit(state, "needs_attention", reason=reason, message=message)
        return True

    def mark_working(self, state: AccountState, requirement: Requirement) -> bool:
        """Record that an account answered; return whether it needed attention until now."""
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
        """Count a failure that was no refusal; return whether it starts a cooldown.

        The last available account gets none.

        Source: reliability 6.6.
        """
        state.errors += 1
        if state.errors < self._config.consecutive_failures or not self._may_eject(state):
            return False
        state.errors = 0
        state.ejections += 1
        seconds = min(self._config.max_ejection_seconds, self._config.ejection_seconds * state.ejections)
        return self.cool_down(state, EVERYTHING, seconds, CooldownReason.ERRORS)

    def _may_eject(self, state: AccountState) -> bool:
        now = self.deps.clock.monotonic()
        ejected = [other for other in self.states if _ejected(other, now)]
        left = [other for other in self.states if other is not state and _is_available(other, now)]
        return bool(left) and state not in ejected and len(ejected) + 1 <= len(self.states) / 2

    def pauses_changed(self, pauses: Mapping[str, PauseRecord]) -> None:
        """Take these accounts, and no others, as paused."""
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
            elif _differs(state.attention, record) and state.mark_needs_attention(record, now):
                self._emit(state, "needs_attention", reason=record.reason, message=record.message, by=ELSEWHERE)

    def cooldowns_changed(self, cooldowns: Mapping[str, ActiveCooldown]) -> None:
        """Set exactly these cooldowns."""
        now = self.deps.clock.monotonic()
        of: dict[str, dict[Scope, ActiveCooldown]] = {}
        addresses: dict[str, float] = {}
        for cooldown in cooldowns.values():
            record = cooldown.record
            if not record.account:
                addresses[record.egress] = cooldown.until
            else:
                of.setdefault(record.account, {})[record.family, record.capability] = cooldown
        for state in self.states:
            self._apply_cooldowns(state, of.get(state.account.id, {}), now)
            if state.blocked is not None and state.account.egress not in addresses:
                state.blocked = None
                self._emit(state, "cooldown_ended", reason=CooldownReason.ADDRESS, by=ELSEWHERE)
        for egress, until in addresses.items():
            self._block(egress, until, by=ELSEWHERE)

    def _apply_cooldowns(self, state: AccountState, cooldowns: Mapping[Scope, ActiveCooldown], now: float) -> None:
        for scope in [scope for scope in state.cooldowns if scope not in cooldowns]:
            over = state.end_cooldown(scope)
            if over is not None:
                self._emit(state, "cooldown_ended", scope=scope, reason=over.reason, by=self._resumed_by(state))
        for scope, cooldown in cooldowns.items():
            there = state.cooldowns.get(scope)
            if there is not None and cooldown.until - there.until < _SAME_SECONDS:
                continue
            if state.cool_down(cooldown.until, scope, cooldown.record.reason, now):
                seconds = cooldown.until - now
                self._emit(
                    state, "cooldown_started", scope=scope, reason=cooldown.record.reason, seconds=seconds, by=ELSEWHERE
                )

    def _apply_quotas(self, state: AccountState, now: float) -> None:
        """Start cooldowns for model families whose quota is used up, and end them when it is refilled.

        Only what is new is heeded: what was told a while ago says nothing against another process, nor a person.
        """
        quotas = state.account.facts().quotas
        if quotas == state.quotas:
            return
        before, state.quotas = {quota.name: quota for quota in state.quotas}, quotas
        for quota in state.quotas:
            known = before.get(quota.name)
            if known == quota or not quota.family:
                continue
            scope = (quota.family, None)
            cooldown = state.cooldowns.get(scope)
            seconds = reset_seconds(quota.resets_at, self.deps.clock.wall()) if quota.used_up else None
            if seconds and (cooldown is None or cooldown.until < now + seconds - _SAME_SECONDS):
                self.cool_down(state, scope, seconds, CooldownReason.QUOTA)
            elif (
                known and _more_left(quota, known) and cooldown is not None and cooldown.reason is CooldownReason.QUOTA
            ):
                state.end_cooldown(scope)
                self.deps.shared_state.clear_cooldown(self._cooldown_record(state, scope, cooldown.reason, now))
                self._emit(state, "cooldown_ended", scope=scope, reason=cooldown.reason)

    def _resumed_by(self, state: AccountState) -> str:
        """Return who has ended what an account waited for."""
        return self.deps.shared_state.actor_of(state.account.id, "resumed", ELSEWHERE)

    def _block(self, egress: str, until: float, *, by: str) -> None:
        now = self.deps.clock.monotonic()
        for state in self.states:
            if state.account.egress == egress and state.block_egress(until, now):
                self._emit(state, "cooldown_started", reason=CooldownReason.ADDRESS, seconds=until - now, by=by)

    def _update_state(self, state: AccountState | None, account: Account) -> AccountState:
        if state is None:
            state = self._new_state(account)
            self._emit(state, "added", by=self.deps.shared_state.actor_of(account.id, "added"))
        else:
            changed = _settings(state.account) != _settings(account)
            state.account = account
            if changed:
                self._emit(state, "changed", by=self.deps.shared_state.actor_of(account.id, "added"))
        return state

    def _new_state(self, account: Account) -> AccountState:
        terms = self._config
        return AccountState(account, throttle_ratio=terms.throttle_ratio, probe_seconds=terms.probe_seconds)

    @staticmethod
    def _cooldown_record(state: AccountState, scope: Scope, reason: CooldownReason, now: float) -> CooldownRecord:
        failures = state.failures(scope, reason, now) + 1
        return CooldownRecord(
            account=state.account.id, family=scope[0], capability=scope[1], reason=reason, failures=failures
        )

    def _emit(  # noqa: PLR0913 -- what a Change says
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
            scope="" if scope == EVERYTHING else f"{scope[0] or '*'}/{scope[1] or '*'}",
            reason=str(reason),
            message=message,
            seconds=seconds,
            by=by,
        )
        self.deps.observer.changed(change)


def _guests(states: Sequence[AccountState]) -> list[AccountState]:
    return [state for state in states if state.account.guest]


def _more_left(now: Quota, before: Quota) -> bool:
    return now.remaining > before.remaining or (now.unlimited and not before.unlimited)


def reset_seconds(reset: float | None, wall: float) -> float | None:
    """Return the seconds to a reset that an upstream tells, as far as it can be believed. Source: reliability 6.5."""
    return None if reset is None or reset <= wall else min(_LONGEST_RESET, reset - wall)


def _differs(known: AttentionRecord | None, told: AttentionRecord) -> bool:
    return known is None or (known.reason, known.check) != (told.reason, told.check)


def _settings(account: Account) -> Account:
    """Return an account but for what changes with time."""
    return msgspec.structs.replace(account, facts=Facts)


def _ejected(state: AccountState, now: float) -> bool:
    cooldown = state.cooldowns.get(EVERYTHING)
    return cooldown is not None and cooldown.until > now and cooldown.reason is CooldownReason.ERRORS


def _is_available(state: AccountState, now: float) -> bool:
    """Say whether an account is asked for something now."""
    everything = state.cooldowns.get(EVERYTHING)
    cooldowns = [cooldown for cooldown in (everything, state.blocked) if cooldown is not None and cooldown.until > now]
    return state.paused is None and state.attention is None and not cooldowns and not state.account.guest
