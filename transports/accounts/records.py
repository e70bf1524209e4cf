"""Store records about account states, read by all processes, the command line and the admin API."""

from collections.abc import Sized
from enum import StrEnum

import msgspec

from protocol.model import Capability
from transports.account import Account, Quota
from transports.store import Records
from transports.store.port import ATTENTION, COOLDOWNS, PROCESSES, decode_record


class CooldownReason(StrEnum):
    """Reason for a cooldown."""

    QUOTA = "quota"
    """The quota is used up."""
    NEVER = "never"
    """It never has the model: its quota is 0. It is tried again when the cooldown ends."""
    PACE = "pace"
    """A rate limit was reached, the upstream's or the account's own."""
    ADDRESS = "address"
    """The upstream refuses the IP address."""
    PROXY = "proxy"
    """Its proxy does not connect to the upstream."""
    ERRORS = "errors"
    """Consecutive requests failed."""


class AccountStatus(StrEnum):
    """State of an account: whether it receives requests, and if not, why."""

    READY = "ready"
    COOLING_DOWN = "cooling_down"
    NEEDS_ATTENTION = "needs_attention"
    PAUSED = "paused"
    UNUSABLE = "unusable"
    """Its record is invalid."""

    @property
    def label(self) -> str:
        """The state in words for a terminal."""
        return self.value.replace("_", " ")


def status_of(paused: object | None, attention: object | None, cooldowns: Sized) -> AccountStatus:
    """Return an account's status: a pause outranks the attention state, which outranks cooldowns."""
    if paused is not None:
        return AccountStatus.PAUSED
    if attention is not None:
        return AccountStatus.NEEDS_ATTENTION
    return AccountStatus.COOLING_DOWN if cooldowns else AccountStatus.READY


class AttentionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Record that an account needs attention."""

    reason: str
    """Machine-readable reason, from a fixed set of the transport's."""
    message: str
    """What the operator should do."""
    at: float
    """Epoch seconds."""
    credential: str = ""
    """`Facts.credential` at that time: if the credential has changed since, the account is tried again."""
    check: str = ""
    """The transport's own check that found it, and that reports when it is over: until then no request is tried with
    the account. Empty: a request found it, and a request is tried now and then."""

    @property
    def finding(self) -> tuple[str, str]:
        """The reason and the check; a different time or message alone is not reported."""
        return self.reason, self.check


def scope_text(family: str | None, capability: Capability | None) -> str:
    """Return the scope of a cooldown as `family/capability`; `*` matches all."""
    return f"{family or '*'}/{capability or '*'}"


class CooldownRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Record of a cooldown of an account or an IP address; it ends when the record expires."""

    account: str
    """Empty: all accounts of `egress`."""
    egress: str = ""
    transport: str = ""
    """The transport whose upstream refuses the address of `egress`; empty: those of all, as its proxy is at fault."""
    family: str | None = None
    """None: every model family."""
    capability: Capability | None = None
    reason: CooldownReason
    message: str = ""
    """What was found, for the operator."""

    @property
    def key(self) -> str:
        """The record's key; those of one account begin with its id and a slash."""
        owner = self.account or f"~{self.transport}~{self.egress}"
        return f"{owner}/{scope_text(self.family, self.capability)}"

    def covers(self, account: Account) -> bool:
        """Return whether it applies to an account."""
        if self.account:
            return self.account == account.id
        return self.egress == account.egress and self.transport in {"", account.transport}


class AccountLoad(msgspec.Struct, frozen=True, kw_only=True):
    """Load and facts of an account in one process."""

    in_flight: int = 0
    plan: str = ""
    rotated_at: float | None = None
    expires_at: float | None = None
    quotas: tuple[Quota, ...] = ()


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A running process."""

    id: str
    started: float
    """Epoch seconds."""
    accounts: dict[str, AccountLoad] = {}


_decode_attention = msgspec.json.Decoder(AttentionRecord).decode
_decode_cooldown = msgspec.json.Decoder(CooldownRecord).decode
_decode_process = msgspec.json.Decoder(ProcessRecord).decode


async def read_attention(records: Records) -> dict[str, AttentionRecord]:
    """Return the accounts that need attention, by id; raises OSError when the store cannot be read."""
    return {one.key: decode_record(ATTENTION, one, _decode_attention) for one in await records.scan(ATTENTION)}


async def read_cooldowns(records: Records) -> list[tuple[CooldownRecord, float]]:
    """Return all cooldowns, of accounts and of addresses, with the seconds that each one still lasts."""
    return [
        (decode_record(COOLDOWNS, one, _decode_cooldown), one.seconds or 0.0) for one in await records.scan(COOLDOWNS)
    ]


async def read_processes(records: Records) -> list[ProcessRecord]:
    """Return the running processes."""
    return [decode_record(PROCESSES, one, _decode_process) for one in await records.scan(PROCESSES)]
