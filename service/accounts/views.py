"""How an account is shown: what the settings, the store and all processes say of it, brought together. No secret."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from transports.account import Account, Facts, Quota
from transports.accounts.records import AccountLoad, AttentionRecord, CooldownReason, CooldownRecord, ReplicaRecord
from transports.accounts.registry import AccountRecord, PauseRecord

_REASONS = {
    CooldownReason.QUOTA: "its allowance is used up",
    CooldownReason.PACE: "it was asked too often",
    CooldownReason.ADDRESS: "its address is not welcome at the upstream",
    CooldownReason.ERRORS: "its requests failed one after the other",
}


class AccountStatus(StrEnum):
    """Whether an account is asked."""

    READY = "ready"
    RESTING = "resting"
    PARKED = "parked"
    PAUSED = "paused"
    UNUSABLE = "unusable"
    """No gateway can use it as it is kept."""


class CooldownView(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is not asked for until a time."""

    scope: str
    """`family/capability`; a star stands for all."""
    reason: CooldownReason
    until: float
    """Epoch seconds."""


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it is shown."""

    id: str
    transport: str
    kind: str
    declared: bool
    """The settings name it; else it was added by command."""
    state: AccountStatus
    reason: str = ""
    """A word of a closed set."""
    words: str = ""
    """The same for a person, and what to do about it."""
    by: str = ""
    """Who paused it."""
    rests: tuple[CooldownView, ...] = ()
    in_flight: int = 0
    """Over all processes."""
    concurrency: int = 0
    weight: float = 1.0
    per_minute: int = 0
    per_day: dict[str, int] = {}
    capabilities: tuple[str, ...] = ()
    egress: str = ""
    """The way out that its requests take, without credentials."""
    plan: str = ""
    quotas: tuple[Quota, ...] = ()
    rotated_at: float | None = None
    expires_at: float | None = None
    renewal: str = ""
    """How its session is renewed, in words, where that is unusual."""
    added_at: float | None = None
    added_by: str = ""


class SharedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All that the store says at one time."""

    now: float
    pauses: Mapping[str, PauseRecord]
    attention: Mapping[str, AttentionRecord]
    cooldowns: Sequence[tuple[CooldownRecord, float]]
    replicas: Sequence[ReplicaRecord]
    facts: Mapping[str, Facts]
    """What the kept sessions tell of themselves, by the accounts' ids."""


def account_view(account: Account, entry: AccountRecord | None, seen: SharedFacts) -> AccountView:
    """Return an account as it is shown; `entry` is None for one of the settings."""
    rests = tuple(_cooldowns(account, seen))
    carried = [replica.accounts[account.id] for replica in seen.replicas if account.id in replica.accounts]
    return AccountView(
        id=account.id,
        transport=account.transport,
        kind=account.kind.value,
        declared=entry is None,
        rests=rests,
        concurrency=account.concurrency,
        weight=account.weight,
        per_minute=account.per_minute,
        per_day={capability.value: most for capability, most in account.per_day.items()},
        capabilities=tuple(sorted(capability.value for capability in account.capabilities)),
        egress=account.egress,
        **_added(entry),
        **_state(account.id, rests, seen),
        **_load_and_facts(carried, seen.facts.get(account.id, Facts())),
    )


def unusable_view(entry: AccountRecord, why: str) -> AccountView:
    """Return an account of the store that no transport can use."""
    advice = f"{why}. Add it again with --replace, or remove it"
    return AccountView(
        id=entry.id,
        transport=entry.transport,
        kind="",
        declared=False,
        state=AccountStatus.UNUSABLE,
        reason="unusable",
        words=advice,
        **_added(entry),
    )


def _added(entry: AccountRecord | None) -> dict[str, Any]:
    return {} if entry is None else {"added_at": entry.created, "added_by": entry.by}


def _state(account: str, rests: Sequence[CooldownView], seen: SharedFacts) -> dict[str, Any]:
    paused, parked = seen.pauses.get(account), seen.attention.get(account)
    if paused is not None:
        words = paused.reason or f"until `gemini-gateway accounts resume {account}`"
        return {"state": AccountStatus.PAUSED, "reason": "paused", "words": words, "by": paused.by}
    if parked is not None:
        return {"state": AccountStatus.PARKED, "reason": parked.reason, "words": parked.words}
    if rests:
        first = min(rests, key=lambda rest: rest.until)
        return {"state": AccountStatus.RESTING, "reason": first.reason.value, "words": _REASONS[first.reason]}
    return {"state": AccountStatus.READY}


def _cooldowns(account: Account, seen: SharedFacts) -> Iterable[CooldownView]:
    for resting, seconds in seen.cooldowns:
        everybody = not resting.account and resting.egress == account.egress
        if resting.account == account.id or everybody:
            scope = f"{resting.family or '*'}/{resting.capability or '*'}"
            yield CooldownView(scope=scope, reason=resting.reason, until=seen.now + seconds)


def _load_and_facts(carried: Sequence[AccountLoad], kept: Facts) -> dict[str, Any]:
    """Return what the processes and the kept session say; the newest session's times hold."""
    ages = [(one.rotated_at or 0.0, one.expires_at) for one in (*carried, kept)]
    rotated_at, expires_at = max(ages, key=lambda age: age[0])
    return {
        "in_flight": sum(one.in_flight for one in carried),
        "plan": next((one.plan for one in carried if one.plan), kept.plan),
        "quotas": next((one.quotas for one in carried if one.quotas), kept.quotas),
        "rotated_at": rotated_at or None,
        "expires_at": expires_at,
        "renewal": kept.renewal,
    }
