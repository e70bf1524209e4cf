"""Account views: state merged from the settings, the store and all processes, without secrets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from transports.account import Account, Facts, Quota
from transports.accounts.records import (
    AccountLoad,
    AccountStatus,
    AttentionRecord,
    CooldownReason,
    CooldownRecord,
    ReplicaRecord,
    status_of,
)
from transports.accounts.registry import AccountRecord, PauseRecord

_REASONS = {
    CooldownReason.QUOTA: "its quota is used up",
    CooldownReason.PACE: "the upstream rate-limited it",
    CooldownReason.ADDRESS: "the upstream refuses its IP address",
    CooldownReason.ERRORS: "its requests failed repeatedly",
}


class CooldownView(msgspec.Struct, frozen=True, kw_only=True):
    """A cooldown of an account for a family of models and a capability."""

    scope: str
    """`family/capability`; `*` matches all."""
    reason: CooldownReason
    until: float
    """End of the cooldown, in epoch seconds."""


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
    quotas: tuple[Quota, ...] = ()
    rotated_at: float | None = None
    expires_at: float | None = None
    rotation_note: str = ""
    """A note about how its session is rotated, if that is unusual."""
    added_at: float | None = None
    added_by: str = ""


class SharedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of what the store knows about all accounts."""

    now: float
    pauses: Mapping[str, PauseRecord]
    attention: Mapping[str, AttentionRecord]
    cooldowns: Sequence[tuple[CooldownRecord, float]]
    replicas: Sequence[ReplicaRecord]
    facts: Mapping[str, Facts]
    """Facts read from the stored sessions, by account id."""


def account_view(account: Account, entry: AccountRecord | None, seen: SharedFacts) -> AccountView:
    """Build the view of an account; `entry` is None for an account of the settings."""
    cooldowns = tuple(_cooldowns(account, seen))
    carried = [replica.accounts[account.id] for replica in seen.replicas if account.id in replica.accounts]
    return AccountView(
        id=account.id,
        transport=account.transport,
        kind=account.kind.value,
        in_settings=entry is None,
        cooldowns=cooldowns,
        concurrency=account.concurrency,
        weight=account.weight,
        per_minute=account.per_minute,
        per_day={capability.value: most for capability, most in account.per_day.items()},
        capabilities=tuple(sorted(capability.value for capability in account.capabilities)),
        proxy=account.egress,
        **_added(entry),
        **_state(account.id, cooldowns, seen),
        **_load_and_facts(carried, seen.facts.get(account.id, Facts())),
    )


def unusable_view(entry: AccountRecord, why: str) -> AccountView:
    """Build the view of an account whose record no transport accepts."""
    advice = f"{why}. Add it again with --replace, or remove it"
    return AccountView(
        id=entry.id,
        transport=entry.transport,
        kind="",
        in_settings=False,
        state=AccountStatus.UNUSABLE,
        reason="unusable",
        message=advice,
        **_added(entry),
    )


def _added(entry: AccountRecord | None) -> dict[str, Any]:
    return {} if entry is None else {"added_at": entry.created, "added_by": entry.by}


def _state(account: str, cooldowns: Sequence[CooldownView], seen: SharedFacts) -> dict[str, Any]:
    paused, attention = seen.pauses.get(account), seen.attention.get(account)
    state = {"state": status_of(paused, attention, cooldowns)}
    if paused is not None:
        message = paused.reason or f"until `gemini-gateway accounts resume {account}`"
        return {**state, "reason": "paused", "message": message, "paused_by": paused.by}
    if attention is not None:
        return {**state, "reason": attention.reason, "message": attention.message}
    if cooldowns:
        first = min(cooldowns, key=lambda cooldown: cooldown.until)
        return {**state, "reason": first.reason.value, "message": _REASONS[first.reason]}
    return state


def _cooldowns(account: Account, seen: SharedFacts) -> Iterable[CooldownView]:
    for cooldown, seconds in seen.cooldowns:
        if cooldown.account == account.id or (not cooldown.account and cooldown.egress == account.egress):
            scope = f"{cooldown.family or '*'}/{cooldown.capability or '*'}"
            yield CooldownView(scope=scope, reason=cooldown.reason, until=seen.now + seconds)


def _load_and_facts(carried: Sequence[AccountLoad], kept: Facts) -> dict[str, Any]:
    """Return an account's load, plan, quotas and session times; the newest session's times win."""
    ages = [(one.rotated_at or 0.0, one.expires_at) for one in (*carried, kept)]
    rotated_at, expires_at = max(ages, key=lambda age: age[0])
    return {
        "in_flight": sum(one.in_flight for one in carried),
        "plan": next((one.plan for one in carried if one.plan), kept.plan),
        "quotas": next((one.quotas for one in carried if one.quotas), kept.quotas),
        "rotated_at": rotated_at or None,
        "expires_at": expires_at,
        "rotation_note": kept.rotation_note,
    }
