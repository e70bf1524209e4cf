"""The availability of one account: a pure state machine that is given the time.

An account is in cooldown (for one model family and capability, for several, or for all) until a time, is paused by an
operator, or needs attention. An account that needs attention is tried again as soon as its credential has changed,
since an operator may have renewed it; and now and then, unless a check of the transport watches it. After a cooldown
the account's concurrency grows step by step (slow start).

`Throttle` sends fewer requests to an upstream that fails: to an account, and in `failover` to all of a transport.
Source: reliability 2.6.
"""

from collections import Counter, deque

import msgspec

from protocol.model import Capability, Selection
from transports.account import Account, Quota
from transports.accounts.records import AttentionRecord, CooldownReason
from transports.accounts.registry import PauseRecord

Scope = tuple[str | None, Capability | None]
"""Family and capability that a cooldown applies to; None: all."""

EVERYTHING: Scope = (None, None)

_LONG_WINDOW = 120.0
_LONG_SLOT = 5.0
_SHORT_WINDOW = 5.0
_SHORT_SLOT = 0.5
_ALWAYS_ADMITTED = 5
"""Requests that always pass within a window: they notice the recovery."""


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """What a request requires of an account."""

    family: str
    """What the quota that it uses is named after: a model family, or a model (`Transport.quota_of`)."""
    capability: Capability
    guest: bool
    """Whether a guest account can serve it."""
    tier: str = ""
    """The only tier whose accounts can serve it; empty: all."""
    by_model: bool = False
    """Whether the quota is that of a model, for all capabilities."""

    @classmethod
    def of(cls, selection: Selection, quota: str = "", tier: str = "") -> "Requirement":
        """Return what a selection requires; `quota` empty: its model family."""
        guest = selection.model.guest and selection.capability is Capability.CHAT
        family = selection.model.family
        return cls(
            family=quota or family,
            capability=selection.capability,
            guest=guest,
            tier=tier,
            by_model=quota not in {"", family},
        )

    @property
    def key(self) -> Scope:
        """What the request uses."""
        return (self.family, self.capability)

    @property
    def scope(self) -> Scope:
        """The scope of a cooldown that this request can cause."""
        return (self.family, None if self.by_model else self.capability)


class Cooldown(msgspec.Struct, frozen=True):
    """The end of a cooldown, and its reason."""

    until: float
    reason: CooldownReason

    @property
    def certain(self) -> bool:
        """Whether a request would be refused; otherwise one is tried if no other account is left."""
        return self.reason not in {CooldownReason.ERRORS, CooldownReason.PROXY}


def covers(scope: Scope, key: Scope) -> bool:
    """Return whether a cooldown of `scope` applies to `key`."""
    return scope[0] in {None, key[0]} and scope[1] in {None, key[1]}


class _Window:
    """Counts of requests and of accepted requests within a sliding window."""

    def __init__(self, seconds: float, slot: float) -> None:
        self._slot, self._slots = slot, round(seconds / slot)
        self._counts: deque[list[int]] = deque()
        self.requests = self.accepts = self.failures = 0

    def add(self, now: float, requests: int, accepts: int, failures: int) -> None:
        slot = int(now / self._slot)
        counts = self._counts
        if not counts or counts[-1][0] != slot:
            counts.append([slot, 0, 0, 0])
            while counts[0][0] <= slot - self._slots:
                _, old_requests, old_accepts, old_failures = counts.popleft()
                self.requests -= old_requests
                self.accepts -= old_accepts
                self.failures -= old_failures
        last = counts[-1]
        last[1] += requests
        last[2] += accepts
        last[3] += failures
        self.requests += requests
        self.accepts += accepts
        self.failures += failures

    def excess(self, ratio: float) -> float:
        """Return the share of requests that exceeds `ratio` times the accepted ones."""
        requests = max(0, self.requests)  # can be negative: a request may be withdrawn after its window has passed
        return max(0.0, (requests - _ALWAYS_ADMITTED - ratio * self.accepts) / (requests + 1))


class Throttle:
    """Limits requests to `ratio` times the accepted ones, and a few more, while an upstream fails.

    Two windows decide: one of two minutes, so that a short failure does not count, and one of a few seconds, so that
    the recovery is noticed soon. Requests are counted before they are sent, but they are limited only while more fail
    than are accepted, because many start before a slow upstream has answered the first.
    """

    def __init__(self, ratio: float) -> None:
        """Start without requests; a ratio of 0 never throttles."""
        self._ratio = ratio
        self._long, self._short = _Window(_LONG_WINDOW, _LONG_SLOT), _Window(_SHORT_WINDOW, _SHORT_SLOT)

    def admit(self, now: float, draw: float) -> bool:
        """Count a request and return whether it may be sent; `draw` is a random number from 0 to 1."""
        self._add(now, requests=1)
        recent = self._long
        if not self._ratio or recent.failures <= max(_ALWAYS_ADMITTED, (self._ratio - 1.0) * recent.accepts):
            return True
        return draw >= min(self._long.excess(self._ratio), self._short.excess(self._ratio))

    def accept(self, now: float) -> None:
        """Count a request that the upstream accepted: its first event has arrived."""
        self._add(now, accepts=1)

    def fail(self, now: float) -> None:
        """Count a request that failed before its first event."""
        self._add(now, failures=1)

    def withdraw(self, now: float) -> None:
        """Remove a request that says nothing about the upstream's health."""
        self._add(now, requests=-1)

    def _add(self, now: float, *, requests: int = 0, accepts: int = 0, failures: int = 0) -> None:
        self._long.add(now, requests, accepts, failures)
        self._short.add(now, requests, accepts, failures)


class AccountState:
    """The availability of one account."""

    def __init__(self, account: Account, *, throttle_ratio: float = 2.0, probe_seconds: float = 60.0) -> None:
        """Start available and without requests."""
        self.account = account
        self.in_flight = 0
        self.handed_over = 0
        """Requests that were given the account from the queue, and have not run since."""
        self.used_at = float("-inf")
        self.attention: AttentionRecord | None = None
        self.paused: PauseRecord | None = None
        self.retired = False
        """Whether the account was removed from its transport."""
        self.blocked: Cooldown | None = None
        """The cooldown of its egress: the upstream refuses its address, or its proxy does not connect."""
        self.cooldowns: dict[Scope, Cooldown] = {}
        self.pace: dict[Capability, Cooldown] = {}
        """Cooldowns of its own rate limits, by capability."""
        self.quotas: tuple[Quota, ...] = ()
        """The quotas that were last applied."""
        self.full_until = float("-inf")
        """Until when all its slots count as taken, over all processes."""
        self.errors = 0
        """Consecutive failures, refusals excluded."""
        self.ejections = 0
        self.throttle = Throttle(throttle_ratio)
        self._probe_seconds, self._probe_at = probe_seconds, float("-inf")
        self._in_flight_by_scope: Counter[Scope] = Counter()
        self._slow_start: dict[Scope, int] = {}
        self._failures: dict[tuple[Scope, CooldownReason], int] = {}

    def supports(self, requirement: Requirement) -> bool:
        """Return whether the account can serve this at all."""
        account = self.account
        if (
            self.retired
            or requirement.capability not in account.capabilities
            or account.per_day.get(requirement.capability) == 0
            or requirement.tier not in {"", account.tier}
            or account.lacks(requirement.family)
        ):
            return False
        if self.cooldowns and self._never_has(requirement):
            return False
        return requirement.guest or not account.guest

    def _never_has(self, requirement: Requirement) -> bool:
        return any(
            cooldown.reason is CooldownReason.NEVER and covers(scope, requirement.key)
            for scope, cooldown in self.cooldowns.items()
        )

    def ready(self, requirement: Requirement, now: float, *, include_ejected: bool = False) -> bool:
        """Return whether the account can serve a request now; `include_ejected` ignores cooldowns for failures."""
        if self.paused is not None or self.full_until > now or not self.supports(requirement):
            return False
        if self.handed_over and self.account.per_minute:  # its next token is theirs: they take it when they run
            return False
        return (
            not self.busy(requirement) and self.available_at(requirement, now, include_ejected=include_ejected) <= now
        )

    def busy(self, requirement: Requirement) -> bool:
        """Return whether the account is at its concurrency limit."""
        if self.in_flight >= self.account.concurrency:
            return True
        return bool(self._slow_start) and self.in_flight_with(requirement) >= self.allowed(requirement)

    def allowed(self, requirement: Requirement) -> int:
        """Return the concurrency limit for such requests now; after a cooldown it starts at one."""
        most = self.account.concurrency
        return min((most, *(slow for scope, slow in self._slow_start.items() if covers(scope, requirement.key))))

    def in_flight_with(self, requirement: Requirement) -> int:
        """Return the number of open requests in the slow starts that apply to this."""
        scopes = [scope for scope in self._slow_start if covers(scope, requirement.key)]
        return sum(
            count for key, count in self._in_flight_by_scope.items() if any(covers(scope, key) for scope in scopes)
        )

    def load(self, requirement: Requirement) -> float:
        """Return its load relative to its limit and weight."""
        most = self.allowed(requirement) if self._slow_start else self.account.concurrency
        return self.in_flight / (most * self.account.weight)

    def available_at(self, requirement: Requirement, now: float, *, include_ejected: bool = False) -> float:
        """Return when it can take a request; `now` or earlier means at once."""
        free = now
        if self.limited:
            cooldown = self.active_cooldown(requirement, now, include_ejected=include_ejected)
            free = cooldown.until if cooldown is not None else now
        if self.attention is not None and not self.renewed:
            return max(free, self._probe_at)
        return free

    @property
    def renewed(self) -> bool:
        """Whether its credential has changed since it needed attention, or since the last attempt."""
        return self.attention is not None and self.account.facts().credential != self.attention.credential

    def active_cooldown(
        self, requirement: Requirement, now: float, *, include_ejected: bool = False
    ) -> Cooldown | None:
        """Return the cooldown that ends last of those that apply to this; None: there is none."""
        cooldowns = [cooldown for scope, cooldown in self.cooldowns.items() if covers(scope, requirement.key)]
        cooldowns += [
            cooldown for cooldown in (self.blocked, self.pace.get(requirement.capability)) if cooldown is not None
        ]
        if include_ejected:
            cooldowns = [cooldown for cooldown in cooldowns if cooldown.certain]
        longest = max(cooldowns, key=lambda cooldown: cooldown.until, default=None)
        return longest if longest is not None and longest.until > now else None

    def is_ejected(self, now: float) -> bool:
        """Return whether it has a cooldown because its requests failed repeatedly."""
        cooldown = self._cooldown_of(EVERYTHING, now)
        return cooldown is not None and cooldown.reason is CooldownReason.ERRORS

    def is_available(self, now: float) -> bool:
        """Return whether it is a signed-in account that takes requests now."""
        if self.paused is not None or self.attention is not None or self.account.guest:
            return False
        return self._cooldown_of(EVERYTHING, now) is None and (self.blocked is None or self.blocked.until <= now)

    def begin(self, requirement: Requirement, now: float) -> None:
        """Count a request that begins."""
        self.in_flight += 1
        self._in_flight_by_scope[requirement.key] += 1
        self.used_at = now
        if self.attention is not None:
            self._probe_at = self._next_probe(self.attention, now)
            self.attention = msgspec.structs.replace(self.attention, credential=self.account.facts().credential)

    def end(self, requirement: Requirement) -> None:
        """Count a request that ended."""
        self.in_flight -= 1
        self._in_flight_by_scope[requirement.key] -= 1
        if not self._in_flight_by_scope[requirement.key]:
            del self._in_flight_by_scope[requirement.key]
        self.full_until = float("-inf")

    def failures(self, scope: Scope, reason: CooldownReason, now: float) -> int:
        """Return the number of consecutive cooldowns for this before the current one."""
        count = self._failures.get((scope, reason), 0)
        current = self._cooldown_of(scope, now)
        return count - 1 if current is not None and current.reason is reason else count

    def cool_down(self, until: float, scope: Scope, reason: CooldownReason, now: float) -> bool:
        """Start a cooldown, or extend one; return whether it is new.

        Refusals that arrive during a cooldown do not make the next cooldown longer.
        """
        current = self._cooldown_of(scope, now)
        if until <= (current.until if current is not None else now):
            return False
        is_new = current is None or current.reason is not reason
        if is_new:
            self._failures[scope, reason] = self._failures.get((scope, reason), 0) + 1
        self.cooldowns[scope] = Cooldown(until, reason)
        self._slow_start[scope] = 1
        return is_new

    def block_egress(self, until: float, now: float, reason: CooldownReason = CooldownReason.ADDRESS) -> bool:
        """Start a cooldown of everything because of the egress; return whether it is new.

        A proxy that connects again serves as before, so there is no slow start after it.
        """
        is_new = self.blocked is None or self.blocked.until <= now
        if is_new or (self.blocked is not None and self.blocked.until < until):
            self.blocked = Cooldown(until, reason)
        if reason is CooldownReason.ADDRESS:
            self._slow_start[EVERYTHING] = 1
        return is_new

    def end_cooldown(self, scope: Scope) -> Cooldown | None:
        """End a cooldown and return it."""
        self._failures = {key: count for key, count in self._failures.items() if key[0] != scope}
        return self.cooldowns.pop(scope, None)

    @property
    def limited(self) -> bool:
        """Whether it has cooldowns; those that are over count until `sweep`."""
        return bool(self.cooldowns or self.pace) or self.blocked is not None

    def sweep(self, now: float) -> list[tuple[Scope, Cooldown]]:
        """Remove the cooldowns that are over, and return them."""
        if not self.limited:
            return []
        ended = [(scope, cooldown) for scope, cooldown in self.cooldowns.items() if cooldown.until <= now]
        for scope, _ in ended:
            del self.cooldowns[scope]
        if self.blocked is not None and self.blocked.until <= now:
            ended.append((EVERYTHING, self.blocked))
            self.blocked = None
        self.pace = {capability: cooldown for capability, cooldown in self.pace.items() if cooldown.until > now}
        return ended

    def mark_needs_attention(self, record: AttentionRecord, now: float) -> bool:
        """Set the attention state; return whether it is new."""
        before, self.attention = self.attention, record
        self._probe_at = self._next_probe(record, now)
        return before is None or before.finding != record.finding

    def clear_attention(self) -> bool:
        """Clear the attention state; return whether it was set."""
        record, self.attention = self.attention, None
        return record is not None

    def succeed(self, requirement: Requirement, now: float) -> None:
        """Note that it began to answer: this doubles the limit of a slow start."""
        if not self._failures and not self._slow_start:
            return
        unblocked = self.blocked is None or self.blocked.until <= now
        for scope in [scope for scope in self._slow_start if covers(scope, requirement.key)]:
            if unblocked and self._cooldown_of(scope, now) is None:
                self._slow_start[scope] *= 2
                if self._slow_start[scope] >= self.account.concurrency:
                    del self._slow_start[scope]
        for scope, reason in list(self._failures):
            if covers(scope, requirement.key) and self._cooldown_of(scope, now) is None:
                del self._failures[scope, reason]

    def finish(self, now: float) -> None:
        """Note that an answer is complete."""
        self.errors = 0
        if self.ejections and self._cooldown_of(EVERYTHING, now) is None:
            self.ejections = 0

    def _cooldown_of(self, scope: Scope, now: float) -> Cooldown | None:
        cooldown = self.cooldowns.get(scope)
        return cooldown if cooldown is not None and cooldown.until > now else None

    def _next_probe(self, record: AttentionRecord, now: float) -> float:
        """Return when a request may be tried; never if a check of the transport watches the account."""
        return float("inf") if record.check else now + self._probe_seconds
