"""How the store says that accounts stand: what all processes, the command line and the admin API read alike."""

from enum import StrEnum

import msgspec

from protocol.model import Capability
from transports.account import Quota
from transports.store import Records
from transports.store.port import ATTENTION, COOLDOWNS, REPLICAS, decode_record


class CooldownReason(StrEnum):
    """Why an account rests."""

    QUOTA = "quota"
    """Its allowance for what is wanted is used up."""
    PACE = "pace"
    """It was, or would be, asked too often."""
    ADDRESS = "address"
    """The address that it is asked from is not welcome."""
    ERRORS = "errors"
    """Its requests failed one after the other."""


class AttentionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """That an account waits for a person."""

    reason: str
    """A word of the transport's closed set."""
    message: str
    """What a person should do about it."""
    at: float
    """Epoch seconds."""
    credential: str = ""
    """`Facts.credential` at that time: with another one it is worth a try."""
    check: str = ""
    """The transport's own check that found it, and that reports when it is over: until then no request is tried with
    the account. Empty: a request found it, and a request is tried now and then."""


class CooldownRecord(msgspec.Struct, frozen=True, kw_only=True):
    """That an account is not asked for something until a time is over; the record's own time says how long."""

    account: str
    """Empty: all accounts of `egress`."""
    egress: str = ""
    family: str | None = None
    """None: from everything."""
    capability: Capability | None = None
    reason: CooldownReason
    failures: int = 1
    """How many rests of this reason came one after the other."""

    @property
    def key(self) -> str:
        """The record's key; those of one account begin with its id and a slash."""
        owner = self.account or f"~{self.egress}"
        return f"{owner}/{self.family or '*'}/{self.capability or '*'}"


class AccountLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One account as one process knows it."""

    in_flight: int = 0
    plan: str = ""
    rotated_at: float | None = None
    expires_at: float | None = None
    quotas: tuple[Quota, ...] = ()


class ReplicaRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A process that is there now."""

    id: str
    started: float
    """Epoch seconds."""
    accounts: dict[str, AccountLoad] = {}


_decode_attention = msgspec.json.Decoder(AttentionRecord).decode
_decode_cooldown = msgspec.json.Decoder(CooldownRecord).decode
_decode_replica = msgspec.json.Decoder(ReplicaRecord).decode


async def read_attention(records: Records) -> dict[str, AttentionRecord]:
    """Return the accounts that need attention, by id; raises OSError when the store cannot be read."""
    return {one.key: decode_record(ATTENTION, one, _decode_attention) for one in await records.scan(ATTENTION)}


async def read_cooldowns(records: Records) -> list[tuple[CooldownRecord, float]]:
    """Return all cooldowns, of accounts and of addresses, with the seconds that each one still lasts."""
    return [
        (decode_record(COOLDOWNS, one, _decode_cooldown), one.seconds or 0.0) for one in await records.scan(COOLDOWNS)
    ]


async def read_replicas(records: Records) -> list[ReplicaRecord]:
    """Return the processes that are there now."""
    return [decode_record(REPLICAS, one, _decode_replica) for one in await records.scan(REPLICAS)]
