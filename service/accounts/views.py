"""Account views: state merged from the settings, the store and all processes, without secrets."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from transports.account import Account, Facts, Finding, Quota, warning
from transports.accounts.records import (
    AccountStatus,
    AttentionRecord,
    CooldownReason,
    CooldownRecord,
    ProcessRecord,
    scope_text,
    status_of,
)
from transports.accounts.registry import AccountRecord, PauseRecord

_REASONS = {
    CooldownReason.QUOTA: "its quota is used up",
    CooldownReason.NEVER: "it does not include this model",
    CooldownReason.PACE: "the upstream rate-limited it",
    CooldownReason.ADDRESS: "the upstream refuses its IP address",
    CooldownReason.PROXY: "its proxy does not connect",
    CooldownReason.ERRORS: "its requests failed repeatedly",
}


class CooldownView(msgspec.Struct, frozen=True, kw_only=True):
    """A cooldown of an account for a family of models and a capability."""

    scope: str
    """`family/capability`; `*` matches all."""
    reason: CooldownReason
    until: float
    """End of the cooldown, in epoch seconds."""
    message: str = ""
    """What was found, if more is known than the reason."""

    def covers(self, model: str, capability: str) -> bool:
        """Return whether it applies to a model, or model family, and a capability."""
        family, _, of = self.scope.rpartition("/")
        return family in {"*", model} and of in {"*", capability}

    @property
    def subject(self) -> str:
        """What it applies to, in short: a model, a capability, both, or everything."""
        return "everything" if self.scope == "*/*" else self.scope.removesuffix("/*").removeprefix("*/")

    @property
    def explanation(self) -> str:
        """What was found, in words."""
        return self.message or _REASONS[self.reason]


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account with its current state, without secrets."""

    id: str
    transport: str
    kind: str
    in_settings: bool
    """Whether it is defined in the settings; otherwise it is in the store."""
    state: AccountStatus
    reason: str = ""
    """Machine-readable reason of the state."""
    message: str = ""
    """Explanation of the state, and what to do about it."""
    paused_by: str = ""
    """User or admin token that paused it."""
    cooldowns: tuple[CooldownView, ...] = ()
    """Its cooldowns."""
    in_flight: int = 0
    """Open requests in all processes."""
    concurrency: int = 0
    weight: float = 1.0
    per_minute: int = 0
    per_day: dict[str, int] = {}
    capabilities: tuple[str, ...] = ()
    proxy: str = ""
    """Proxy that its requests use, without credentials."""
    plan: str = ""
    tier: str = ""
    """Whether its use costs money: free or paid; empty: the transport has no tiers."""
    project: str = ""
    """The project that it shares its quotas with; empty: it has quotas of its own."""
    quotas: tuple[Quota, ...] = ()
    rotated_at: float | None = None
    expires_at: float | None = None
    rotation_note: str = ""
    """A note about how its session is rotated, if that is unusual."""
    tags: tuple[str, ...] = ()
    note: str = ""
    """The operator's note."""

    def matches(self, states: Collection[str] = (), tags: Collection[str] = (), search: str = "") -> bool:
        """Return whether it is in one of the states, has all of the tags, and its id, tags or note contain a text."""
        if (states and self.state not in states) or not set(tags) <= set(self.tags):
            return False
        return search.lower() in "\n".join((self.id, *self.tags, self.note)).lower()

    added_at: float | None = None
    added_by: str = ""


class SharedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of what the store knows about all accounts."""

    now: float
    pauses: Mapping[str, PauseRecord]
    attention: Mapping[str, AttentionRecord]
    cooldowns: Sequence[tuple[CooldownRecord, float]]
    processes: Sequence[ProcessRecord]
    facts: Mapping[str, Facts]
    """Facts read from the stored sessions, by account id."""
    models: Mapping[str, Collection[tuple[str, str]]] = {}
    """What quotas are counted by, as pairs of a model, or model family, and a capability: by transport."""


def account_view(account: Account, record: AccountRecord | None, shared: SharedFacts) -> AccountView:
    """Build the view of an account; `record` is None for an account of the settings."""
    cooldowns = tuple(
        CooldownView(
            scope=scope_text(one.family, one.capability),
            reason=one.reason,
            until=shared.now + seconds,
            message=one.message,
        )
        for one, seconds in shared.cooldowns
        if one.covers(account)
    )
    loads = [process.accounts[account.id] for process in shared.processes if account.id in process.accounts]
    facts = shared.facts.get(account.id, Facts())
    newest = max((*loads, facts), key=lambda one: one.rotated_at or 0.0)
    return AccountView(
        id=account.id,
        transport=account.transport,
        kind=account.kind.value,
        in_settings=record is None,
        cooldowns=cooldowns,
        concurrency=account.concurrency,
        weight=account.weight,
        per_minute=account.per_minute,
        per_day={capability.value: most for capability, most in account.per_day.items()},
        capabilities=tuple(sorted(capability.value for capability in account.capabilities)),
        proxy=account.egress,
        **_added(record),
        **_state(account, cooldowns, shared),
        in_flight=sum(load.in_flight for load in loads),
        tier=account.tier,
        project=account.quota_group,
        plan=next((load.plan for load in loads if load.plan), facts.plan or account.tier),
        quotas=next((load.quotas for load in loads if load.quotas), facts.quotas),
        rotated_at=newest.rotated_at,
        expires_at=newest.expires_at,
        rotation_note=facts.rotation_note,
        tags=account.tags,
        note=account.note,
    )


def state_findings(row: AccountView) -> Iterator[Finding]:
    """Yield what keeps an account from serving requests, or some of them."""
    resume = f"gemini-gateway accounts resume {row.id}"
    if row.state is not AccountStatus.READY and row.state is not AccountStatus.COOLING_DOWN:
        advice = "" if row.state is AccountStatus.UNUSABLE else f"When that is done: {resume}"
        yield warning("state", f"{row.state.label}: {row.message}", advice)
    for one in row.cooldowns:
        until = datetime.fromtimestamp(one.until, UTC).astimezone()
        message = f"{one.subject}: {one.explanation}, until {until:%Y-%m-%d %H:%M %Z}"
        yield warning("cooldown", message, f"It ends then; to end it now: {resume}")


def unusable_view(record: AccountRecord, why: str) -> AccountView:
    """Build the view of an account whose record no transport accepts."""
    advice = f"{why}. Add it again with --replace, or remove it"
    return AccountView(
        id=record.id,
        transport=record.transport,
        kind="",
        in_settings=False,
        state=AccountStatus.UNUSABLE,
        reason="unusable",
        message=advice,
        tags=tuple(str(tag) for tag in record.options.get("tags") or ()),
        note=str(record.options.get("note") or ""),
        **_added(record),
    )


def _added(record: AccountRecord | None) -> dict[str, Any]:
    return {} if record is None else {"added_at": record.created, "added_by": record.by}


def _state(account: Account, cooldowns: Sequence[CooldownView], shared: SharedFacts) -> dict[str, Any]:
    paused, attention = shared.pauses.get(account.id), shared.attention.get(account.id)
    cooldowns = _resting(account, cooldowns, shared.models.get(account.transport, ()))
    state = {"state": status_of(paused, attention, cooldowns)}
    if paused is not None:
        message = paused.reason or f"until `gemini-gateway accounts resume {account.id}`"
        return {**state, "reason": "paused", "message": message, "paused_by": paused.by}
    if attention is not None:
        return {**state, "reason": attention.reason, "message": attention.message}
    if cooldowns:
        first = min(cooldowns, key=lambda cooldown: cooldown.until)
        return {**state, "reason": first.reason.value, "message": first.explanation}
    return state


def _resting(
    account: Account, cooldowns: Sequence[CooldownView], models: Collection[tuple[str, str]]
) -> list[CooldownView]:
    """Return the cooldowns that keep an account from serving; none, if it can serve one of the models now.

    Models that it never has do not count, neither as limited nor as left.
    """
    never = [one for one in cooldowns if one.reason is CooldownReason.NEVER]
    passing = [one for one in cooldowns if one.reason is not CooldownReason.NEVER]
    for model, capability in models if passing else ():
        if capability in account.capabilities and not any(one.covers(model, capability) for one in (*never, *passing)):
            return []
    return passing
