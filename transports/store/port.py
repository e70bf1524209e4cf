"""The three ports of the store that all processes of a gateway share: records, locks and limits.

A record has a version, so a reader can change it only if no other process has changed it since (compare and swap).
Expiry is given in seconds and counted by the store's own clock, so the clocks of two machines are never compared.

Code takes only the port that it uses, and a `Store` if it needs several.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

ValueT = TypeVar("ValueT")

FULL = math.inf
"""Returned by `Limits.take_slot` when all slots are taken."""


class StoreDown(OSError):
    """The store failed or cannot be reached. A write may or may not have been done: read again."""

    reason = "broken"
    """One of a fixed set of reasons; a metric label."""


class Unreadable(OSError):
    """A record exists, but it is damaged, belongs to another key, or needs an encryption key that is not configured.

    The store itself works. The record is kept; the message shows no part of its value.
    """


class SealedRecords(OSError):
    """Records need an encryption key that is not configured: without it, they would count as missing."""

    def __init__(self, count: int) -> None:
        """Set the number of the records."""
        sealed = "1 record is" if count == 1 else f"{count} records are"
        super().__init__(
            f"{sealed} sealed with another key; set store.key_file to the key that they were written with, or add that "
            "key to store.old_key_files"
        )


class Collection(msgspec.Struct, frozen=True):
    """A named collection of records."""

    name: str
    durable: bool = True
    """Whether a write is on disk when it returns, in a store that has a disk; otherwise a crash may lose it."""
    encrypted: bool = False
    """Whether its values are secret: they are encrypted if the operator has configured a key."""


ACCOUNTS = Collection("account", encrypted=True)
"""Accounts added by command or admin API, by account id."""
SESSIONS = Collection("session", encrypted=True)
"""Current credentials of accounts after cookie rotation, by account id: the one collection that must never be lost."""
INTENTS = Collection("intent")
"""Cookie rotations that were begun, by account id."""
PAUSES = Collection("pause")
"""Accounts that an operator has disabled, by account id."""
ATTENTION = Collection("attention")
"""Accounts that need attention, by account id."""
COOLDOWNS = Collection("cooldown", durable=False)
"""Cooldowns of accounts and addresses; each expires with its record."""
ACTIONS = Collection("action", durable=False)
"""Who changed an account: written just before the change, for the processes that follow it, and soon expired."""
CONVERSATIONS = Collection("conversation", durable=False, encrypted=True)
"""Conversations that exist upstream and are deleted there after a while, by a digest of their messages."""
SIGNATURES = Collection("signature", durable=False, encrypted=True)
"""Thought signatures of calls, by a digest of license and call."""
BLOBS = Collection("blob", durable=False, encrypted=True)
"""Files that an upstream sent within its answers, by token."""
BLOB_INDEX = Collection("blob-index", durable=False)
"""Time, license, token and size of each of these files, in the keys."""
BLOB_PIECES = Collection("blob-piece", durable=False, encrypted=True)
"""The contents of these files, in pieces, by token and number."""
CONTEXT_CACHES = Collection("context-cache", durable=False)
"""Beginnings of prompts by their digest: how often they were seen, and under which name a project has them cached."""
MODEL_LISTS = Collection("model-list", durable=False)
"""Models that an upstream lists for an account, by the account and its credential's fingerprint."""
UPLOADED_FILES = Collection("uploaded-file", durable=False)
"""Files that an upstream has, by the account's project and the digest of the content."""
DELETIONS = Collection("deletion", durable=False)
"""What is to be deleted at an upstream, by the account's project and the path, with the time."""
LICENSES = Collection("license")
JOBS = Collection("job", encrypted=True)
RESPONSES = Collection("response", durable=False, encrypted=True)
"""Responses with their input, by license and id: clients continue conversations by the id of the last response."""
RESPONSE_INDEX = Collection("response-index", durable=False)
"""License, id and size of each response, in the keys."""
FILES = Collection("file", durable=False, encrypted=True)
"""Files that clients uploaded, by license and id, without their content."""
FILE_INDEX = Collection("file-index", durable=False)
"""License, id and size of each uploaded file, in the keys."""
FILE_PIECES = Collection("file-piece", durable=False, encrypted=True)
"""Content of the uploaded files, in pieces, by license, id and number."""
UPLOAD_TICKETS = Collection("upload-ticket", durable=False, encrypted=True)
"""Tickets of uploads in several requests, by the digest of the ticket."""
JOB_INDEX = Collection("job-index", durable=False)
"""Index of the jobs. An entry is written before its job, so it reaches the disk with the job."""
KEYS = Collection("key", encrypted=True)
"""Secret keys that the gateway's processes share."""
PROCESSES = Collection("process", durable=False)
"""Running processes and their current load."""
MARKS = Collection("mark")
"""The mark that identifies a store, and the records that were restored after it had been emptied."""

COLLECTIONS = (
    ACCOUNTS, SESSIONS, INTENTS, PAUSES, ATTENTION, COOLDOWNS, ACTIONS, CONVERSATIONS, SIGNATURES, BLOBS, BLOB_INDEX,
    BLOB_PIECES, CONTEXT_CACHES, MODEL_LISTS, UPLOADED_FILES, DELETIONS, LICENSES, JOBS, RESPONSES, RESPONSE_INDEX,
    FILES, FILE_INDEX, FILE_PIECES, UPLOAD_TICKETS, JOB_INDEX, KEYS, PROCESSES, MARKS,
)  # fmt: skip


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One stored record."""

    key: str
    value: bytes
    version: int
    """Grows with each write, and never repeats for a key, even after a removal."""
    seconds: float | None = None
    """Seconds until it expires; None: never."""

    def __repr__(self) -> str:
        """Leave out the value, which may be secret."""
        return f"Record(key={self.key!r}, version={self.version!r})"


class KeyRange(msgspec.Struct, frozen=True):
    """A range of keys in a collection, and its order."""

    collection: Collection
    prefix: str
    after: str
    limit: int | None
    reverse: bool


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One write of a batch: a record to put or to remove."""

    collection: Collection
    key: str
    value: bytes | None
    """None removes the record."""
    expected: int | None = None
    """Apply only if the record has this version; 0: only if there is no record; None: always."""
    seconds: float | None = None
    """Seconds until it expires; None: never."""


def decode_record(collection: Collection, record: Record, decode: Callable[[bytes], ValueT]) -> ValueT:
    """Decode the value of a record.

    Raises:
        Unreadable: it is damaged, or was written by a later version.

    """
    try:
        return decode(record.value)
    except msgspec.MsgspecError:
        raise Unreadable(f"the record {record.key!r} of {collection.name!r} cannot be read: it is damaged") from None


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A token bucket for a rate limit; an unknown bucket is full."""

    name: str
    capacity: float
    """Most tokens that it holds."""
    per_second: float
    """Tokens refilled per second."""


class Records(Protocol):
    """Port of the records. Every method may raise StoreDown within a short time, and may be cancelled at any point.

    Keys are 1 to 512 printable ASCII characters.
    """

    async def get(self, collection: Collection, key: str) -> Record | None:
        """Return a record, or None if there is none.

        Raises:
            Unreadable: it cannot be decrypted.

        """
        ...

    async def get_many(self, collection: Collection, keys: Sequence[str]) -> list[Record]:
        """Return the records of these keys that exist, in one call; those that cannot be decrypted are skipped."""
        ...

    async def put(
        self,
        collection: Collection,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        seconds: float | None = None,
    ) -> int | None:
        """Write a record that expires after `seconds` (None: never), and return its version.

        With `expected`, write only if the record has that version (0: only if there is no record), else return None.
        """
        ...

    async def remove(self, collection: Collection, key: str, *, expected: int | None = None) -> bool:
        """Remove a record, with `expected` only in that version; return whether it was removed."""
        ...

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Apply several changes in one call, each independently, as `put` and `remove` do; SQLite uses one transaction.

        Return for each change the version that was put, 0 for a removal, or None if the expected version did not match.
        """
        ...

    async def scan(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`, sorted by key; those that cannot be decrypted are skipped.

        With `after`, only records after that key (with `reverse`: before it) are returned.
        """
        ...

    async def keys(
        self,
        collection: Collection,
        prefix: str = "",
        *,
        after: str = "",
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys of the records that `scan` would return, and of those that cannot be decrypted."""
        ...

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection by name; it grows with every change except an expiry.

        It is above the version of every removed record, and not below the version of any present one.
        """
        ...

    async def now(self) -> float:
        """Return the store's time in epoch seconds, the time that all processes agree on."""
        ...

    async def settle(self) -> bool:
        """Wait briefly until earlier writes are safe; return False if that cannot be confirmed."""
        ...


class Locks(Protocol):
    """Port of the locks, which expire unless they are renewed. Every method may raise StoreDown, as those of Records.

    Names of locks and owners are 1 to 512 printable ASCII characters.
    """

    async def acquire(self, name: str, owner: str, seconds: float, epoch: str | None = None) -> int | None:
        """Acquire a lock unless another owner holds it; return a fencing token, which grows with each grant.

        The lock expires after `seconds`: count them from before the call. An owner that already holds the lock gets
        a new token and the full time. With `epoch`, the lock is granted only if the store has that epoch.
        """
        ...

    async def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Extend a lock to `seconds` from now; return False if the owner no longer holds it."""
        ...

    async def release(self, name: str, owner: str) -> None:
        """Release a lock if the owner holds it."""
        ...

    async def epoch(self) -> str:
        """Return an identifier of the store's server; if it changes, locks and the latest records may have been lost.

        Empty: this store never loses a lock.
        """
        ...


class Limits(Protocol):
    """Port of concurrency slots and rate-limit buckets. Every method may raise StoreDown, as those of Records."""

    async def take_slot(
        self,
        name: str,
        holder: str,
        *,
        slots: int,
        seconds: float,
        buckets: Sequence[Bucket] = (),
    ) -> float:
        """Take one of `slots` for `seconds`, and one token from each bucket: all or nothing.

        Return 0.0 on success, FULL if no slot is free, else the seconds until all buckets may have a token.
        """
        ...

    async def renew_slots(self, slots: Sequence[tuple[str, str]], seconds: float) -> None:
        """Extend slots, `(name, holder)`, to `seconds` from now; an expired one is taken again, even over the limit."""
        ...

    async def release_slots(self, slots: Sequence[tuple[str, str]]) -> None:
        """Release slots, each `(name, holder)`; one that is not taken is ignored."""
        ...

    async def count_slots(self, name: str) -> int:
        """Return the number of slots taken under a name."""
        ...


class Backend(Records, Locks, Limits, Protocol):
    """A store's implementation, which has all three ports."""


class Store(msgspec.Struct, frozen=True):
    """The three ports of one store."""

    records: Records
    locks: Locks
    limits: Limits

    @classmethod
    def of(cls, backend: Backend) -> "Store":
        """Return a store with all ports of one backend."""
        return cls(backend, backend, backend)
