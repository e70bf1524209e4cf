"""The availability of one account: a pure state machine that is given the time.

An account is in cooldown (for one model family and capability, for several, or for all) until a time, is paused by an
operator, or needs attention. An account that needs attention is tried again as soon as its credential has changed,
since an operator may have renewed it; and now and then, unless a check of the transport watches it. After a cooldown
the account's concurrency grows step by step (slow start).
"""

from collections import Counter

import msgspec

from protocol.model import Capability, Selection
from transports.account import Account, Quota
from transports.accounts.records import AttentionRecord, CooldownReason
from transports.accounts.registry import PauseRecord
from transports.accounts.throttle import Throttle

Scope = tuple[str | None, Capability | None]
"""Family and capability that a cooldown applies to; None: all."""

EVERYTHING: Scope = (None, None)


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is wanted for."""

    family: str
    capability: Capability
    guest: bool
    """A guest will do."""

    @classmethod
    def of(cls, selection: Selection) -> "Requirement":
        """Return what a selection wants."""
        guest = selection.model.guest and selection.capability is Capability.CHAT
        return cls(family=selection.model.family, capability=selection.capability, guest=guest)

    @property
    def key(self) -> Scope:
        """What is limited together."""
        return (self.family, self.capability)


class Cooldown(msgspec.Struct, frozen=True):
    """End of a cooldown, and its reason."""

    until: float
    reason: CooldownReason


def covers(scope: Scope, key: Scope) -> bool:
    """Return whether a cooldown of `scope` applies to `key`."""
    return scope[0] in {None, key[0]} and scope[1] in {None, key[1]}


class AccountState:
    """One account's fitness."""

    def __init__(self, account: Account, *, throttle_ratio: float = 2.0, probe_seconds: float = 60.0) -> None:
        """Begin fit and idle."""
        self.account = account
        self.in_flight = 0
        self.used_at = float("-inf")
        self.attention: AttentionRecord | None = None
        self.paused: PauseRecord | None = None
        self.retired = False
        """It is no account of the transport's any more."""
        self.blocked: Cooldown | None = None
        """Its address is not welcome."""
        self.cooldowns: dict[Scope, Cooldown] = {}
        self.pace: dict[Capability, Cooldown] = {}
        """It may begin no more of these for now."""
        self.quotas: tuple[Quota, ...] = ()
        """What was last heeded of what the upstream says of its limits."""
        self.full_until = float("-inf")
        """All its slots are taken, by other processes too."""
        self.errors = 0
        """Failures in a row, none of them a refusal."""
        self.ejections = 0
        self.throttle = Throttle(throttle_ratio)
        self._probe_seconds, self._probe_at = probe_seconds, float("-inf")
        self._in_flight_by_scope: Counter[Scope] = Counter()
        self._slow_start: dict[Scope, int] = {}
        self._failures: dict[tuple[Scope, CooldownReason], int] = {}

    def supports(self, requirement: Requirement) -> bool:
        """Say whether the account can ever do it."""
        account = self.account
        if (
            self.retired
            or requirement.capability not in account.capabilities
            or account.per_day.get(requirement.capability) == 0
        ):
            return False
        return requirement.guest or not account.guest

    def ready(self, requirement: Requirement, now: float, *, include_ejected: bool = False) -> bool:
        """Return whether the account can serve a request now; `include_ejected` ignores cooldowns for errors."""
        if self.paused is not None or self.full_until > now or not self.supports(requirement):
            return False
        return not self.busy(requirement) and self.available_at(requirement, now, desperate=include_ejected) <= now

    def busy(self, requirement: Requirement) -> bool:
        """Say whether it carries all that it may at once."""
        if self.in_flight >= self.account.concurrency:
            return True
        return bool(self._slow_start) and self.in_flight_with(requirement) >= self.allowed(requirement)

    def allowed(self, requirement: Requirement) -> int:
        """Return the current concurrency limit for such requests: one right after a cooldown, then more."""
        most = self.account.concurrency
        return min((most, *(slow for scope, slow in self._slow_start.items() if covers(scope, requirement.key))))

    def in_flight_with(self, requirement: Requirement) -> int:
        """Return how many requests it carries of those that are limited together with this now."""
        wide = [scope for scope in self._slow_start if covers(scope, requirement.key)]
        return sum(
            count for key, count in self._in_flight_by_scope.items() if any(covers(scope, key) for scope in wide)
        )

    def load(self, requirement: Requirement) -> float:
        """Return how much it carries, as a part of what it may."""
        most = self.allowed(requirement) if self._slow_start else self.account.concurrency
        return self.in_flight / (most * self.account.weight)

    def available_at(self, requirement: Requirement, now: float, *, desperate: bool = False) -> float:
        """Return when it may be asked: `now` or earlier is at once."""
        free = now
        if self.limited:
            cooldown = self.active_cooldown(requirement, now, desperate=desperate)
            free = cooldown.until if cooldown is not None else now
        if self.attention is not None and not self.renewed:
            return max(free, self._probe_at)
        return free

    @property
    def renewed(self) -> bool:
        """Whether its credential has changed since it needed attention, or since it was last tried."""
        return self.attention is not None and self.account.facts().credential != self.attention.credential

    def active_cooldown(self, requirement: Requirement, now: float, *, desperate: bool = False) -> Cooldown | None:
        """Return the cooldown for this requirement that ends last, or None."""
        cooldowns = [cooldown for scope, cooldown in self.cooldowns.items() if covers(scope, requirement.key)]
        if desperate:
            cooldowns = [cooldown for cooldown in cooldowns if cooldown.reason is not CooldownReason.ERRORS]
        cooldowns += [
            cooldown for cooldown in (self.blocked, self.pace.get(requirement.capability)) if cooldown is not None
        ]
        longest = max(cooldowns, key=lambda cooldown: cooldown.until, default=None)
        return longest if longest is not None and longest.until > now else None

    def begin(self, requirement: Requirement, now: float) -> None:
        """Count a request in."""
        self.in_flight += 1
        self._in_flight_by_scope[requirement.key] += 1
        self.used_at = now
        if self.attention is not None:
            self._schedule_probe(self.attention, now)

    def end(self, requirement: Requirement) -> None:
        """Count a request out."""
        self.in_flight -= 1
        self._in_flight_by_scope[requirement.key] -= 1
        if not self._in_flight_by_scope[requirement.key]:
            del self._in_flight_by_scope[requirement.key]
        self.full_until = float("-inf")

    def failures(self, scope: Scope, reason: CooldownReason, now: float) -> int:
        """Return the number of consecutive cooldowns of this kind that have ended before."""
        count = self._failures.get((scope, reason), 0)
        under_way = self._cooldown_of(scope, now)
        return count - 1 if under_way is not None and under_way.reason is reason else count

    def cool_down(self, until: float, scope: Scope, reason: CooldownReason, now: float) -> bool:
        """Start a cooldown; return whether it is new or has another reason.

        Refusals that arrive during a cooldown do not make the next cooldown longer.
        """
        under_way = self._cooldown_of(scope, now)
        if until <= (under_way.until if under_way is not None else now):
            return False
        news = under_way is None or under_way.reason is not reason
        if news:
            self._failures[scope, reason] = self._failures.get((scope, reason), 0) + 1
        self.cooldowns[scope] = Cooldown(until, reason)
        self._slow_start[scope] = 1
        return news

    def block_egress(self, until: float, now: float) -> bool:
        """Start a cooldown for everything because the IP address is refused; return whether it is new."""
        news = self.blocked is None or self.blocked.until <= now
        if news or (self.blocked is not None and self.blocked.until < until):
            self.blocked = Cooldown(until, CooldownReason.ADDRESS)
        self._slow_start[EVERYTHING] = 1
        return news

    def end_cooldown(self, scope: Scope) -> Cooldown | None:
        """End a cooldown and return it."""
        self._failures = {key: count for key, count in self._failures.items() if key[0] != scope}
        return self.cooldowns.pop(scope, None)

    @property
    def limited(self) -> bool:
        """Whether anything keeps it, or has kept it of late, from being asked for some of what it can do."""
        return bool(self.cooldowns or self.pace) or self.blocked is not None

    def sweep(self, now: float) -> list[tuple[Scope, Cooldown]]:
        """Remove the cooldowns that have ended, and return them."""
        if not self.limited:
            return []
        over = [(scope, cooldown) for scope, cooldown in self.cooldowns.items() if cooldown.until <= now]
        for scope, _ in over:
            del self.cooldowns[scope]
        if self.blocked is not None and self.blocked.until <= now:
            over.append((EVERYTHING, self.blocked))
            self.blocked = None
        self.pace = {capability: cooldown for capability, cooldown in self.pace.items() if cooldown.until > now}
        return over

    def mark_needs_attention(self, record: AttentionRecord, now: float) -> bool:
        """Set the attention state; return whether it is new or has another reason."""
        before, self.attention = self.attention, record
        self._probe_at = self._next_probe(record, now)
        return before is None or (before.reason, before.check) != (record.reason, record.check)

    def clear_attention(self) -> bool:
        """Clear the attention state; return whether it was set."""
        record, self.attention = self.attention, None
        return record is not None

    def succeed(self, requirement: Requirement, now: float) -> None:
        """Record that an answer has begun: the limit after a cooldown doubles."""
        if self._failures or self._slow_start:
            self._recover(requirement, now)

    def finish(self, now: float) -> None:
        """Record that an answer was completed."""
        self.errors = 0
        if self.ejections and self._cooldown_of(EVERYTHING, now) is None:
            self.ejections = 0

    def _recover(self, requirement: Requirement, now: float) -> None:
        awake = self.blocked is None or self.blocked.until <= now
        for scope in [scope for scope in self._slow_start if covers(scope, requirement.key)]:
            if awake and self._cooldown_of(scope, now) is None:
                self._slow_start[scope] *= 2
                if self._slow_start[scope] >= self.account.concurrency:
                    del self._slow_start[scope]
        for scope, reason in list(self._failures):
            if covers(scope, requirement.key) and self._cooldown_of(scope, now) is None:
                del self._failures[scope, reason]

    def _cooldown_of(self, scope: Scope, now: float) -> Cooldown | None:
        cooldown = self.cooldowns.get(scope)
        return cooldown if cooldown is not None and cooldown.until > now else None

    def _schedule_probe(self, record: AttentionRecord, now: float) -> None:
        self._probe_at = self._next_probe(record, now)
        self.attention = msgspec.structs.replace(record, credential=self.account.facts().credential)

    def _next_probe(self, record: AttentionRecord, now: float) -> float:
        """Return when a request may be tried: never while a check of the transport's own looks after the account."""
        return float("inf") if record.check else now + self._probe_seconds
