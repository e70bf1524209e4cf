"""What all processes of a gateway share: records, leases, seats and buckets, behind one port.

A record has a version, so that whoever read it can change it only if nobody else has since. What lives for a time is
given seconds, which the store's own clock counts: no two machines compare their clocks.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

ValueT = TypeVar("ValueT")

FULL = math.inf
"""What `enter` returns where all seats are taken."""


class StoreDown(OSError):
    """The store is out of order or out of reach. Whether a write was done is not known: read again."""

    reason = "broken"
    """A word of a closed set."""


class Unreadable(OSError):
    """A record is there, but it is damaged, another's, or sealed with a key that is not given. The store is well.

    It stays where it is, for whoever has the key; the message shows none of it.
    """


class Collection(msgspec.Struct, frozen=True):
    """A collection of records."""

    name: str
    durable: bool = True
    """A write has reached the disk when it returns, where the store has one. Else it may be lost."""
    sealed: bool = False
    """Its values are secret: encrypted where the operator has given a key."""


ACCOUNTS = Collection("account", sealed=True)
"""Accounts that were added by command, by their ids."""
SESSIONS = Collection("session", sealed=True)
"""What became of an account's credential, by its id: the one thing that must never be lost."""
INTENTS = Collection("intent")
"""A rotation that was begun, by the account's id."""
PAUSES = Collection("pause")
"""Accounts that an operator has paused, by their ids."""
ATTENTION = Collection("park")
"""Accounts that wait for a person, by their ids."""
COOLDOWNS = Collection("rest", durable=False)
"""What accounts and addresses rest from, each for its time."""
ACTIONS = Collection("deed", durable=False)
"""Who has just changed an account, for those who hear of the change: told before it is made, and soon forgotten."""
CONVERSATIONS = Collection("conversation", durable=False, sealed=True)
"""Conversations that upstreams keep, and are to forget in time, by a digest of what leads to them."""
LICENSES = Collection("license")
JOBS = Collection("job", sealed=True)
JOB_INDEX = Collection("job-index", durable=False)
"""What leads to a job; written before it, it reaches the disk with it."""
KEYS = Collection("key", sealed=True)
"""Keys that the gateway's processes share."""
REPLICAS = Collection("replica", durable=False)
"""The processes that are there now, and what each carries."""
MARKS = Collection("mark")
"""What a store is recognised by, and what was put back into it after it had been emptied."""

PLACES = (
    ACCOUNTS, SESSIONS, INTENTS, PAUSES, ATTENTION, COOLDOWNS, ACTIONS, CONVERSATIONS, LICENSES, JOBS, JOB_INDEX, KEYS,
    REPLICAS, MARKS,
)  # fmt: skip


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept under one key."""

    key: str
    value: bytes
    version: int
    """Never the same twice for a key, even if it was removed in between; grows."""
    seconds: float | None = None
    """How long it still lives; None: until it is removed."""

    def __repr__(self) -> str:
        """Show no value: it may be secret."""
        return f"Record(key={self.key!r}, version={self.version!r})"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is to be kept or removed."""

    place: Collection
    key: str
    value: bytes | None
    """None: remove it."""
    expected: int | None = None
    """Change it only in this version; 0: only where no record is kept; None: in any case."""
    seconds: float | None = None
    """How long it is kept; None: until it is removed."""


def understood(place: Collection, record: Record, decode: Callable[[bytes], ValueT]) -> ValueT:
    """Return what a record of the place says.

    Raises:
        Unreadable: it is damaged, or of a version that says more than this one knows.

    """
    try:
        return decode(record.value)
    except msgspec.MsgspecError:
        raise Unreadable(f"the record {record.key!r} of {place.name!r} cannot be read: it is damaged") from None


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that come back with time; a bucket that nobody knows is full."""

    name: str
    most: float
    """Tokens that it holds."""
    per_second: float
    """Tokens that come back."""


class Store(Protocol):
    """One store; every method may raise StoreDown, soon, and may be cancelled at any point without harm.

    A key, and every other name, is 1 to 512 printable ASCII characters.
    """

    async def get(self, place: Collection, key: str) -> Record | None:
        """Return what is kept, None where nothing is."""
        ...

    async def put(
        self,
        place: Collection,
        key: str,
        value: bytes,
        *,
        expected: int | None = None,
        seconds: float | None = None,
    ) -> int | None:
        """Keep a value, for so many seconds or until it is removed; return its version.

        With `expected` only where the version is that (0: where nothing is kept), else None is returned.
        """
        ...

    async def remove(self, place: Collection, key: str, *, expected: int | None = None) -> bool:
        """Forget a record, with `expected` only in that version; say whether it was there."""
        ...

    async def write(self, changes: Sequence[Change]) -> list[int | None]:
        """Make several changes in one call, each for itself and as `put` and `remove` do; in a file, all at once.

        Return for each the version that was put, 0 for a removal, None where the expected version was not there.
        """
        ...

    async def scan(
        self,
        place: Collection,
        prefix: str = "",
        *,
        after: str = "",
        most: int | None = None,
        reverse: bool = False,
    ) -> list[Record]:
        """Return the records whose keys begin with `prefix`, in the order of their keys.

        `after` is a key: only what comes behind it in that order (in reverse: before it) is returned.
        """
        ...

    async def keys(
        self,
        place: Collection,
        prefix: str = "",
        *,
        after: str = "",
        most: int | None = None,
        reverse: bool = False,
    ) -> list[str]:
        """Return the keys of what `scan` would."""
        ...

    async def revisions(self) -> dict[str, int]:
        """Return a number by place's name that grows whenever something in it changes, but for what ran out of time.

        It is above every version that the place has lost, and no lower than those that are there.
        """
        ...

    async def acquire(self, name: str, owner: str, seconds: float, epoch: str | None = None) -> int | None:
        """Hold the lease of this name, unless another owner does; return its fence, which grows with each grant.

        An owner that holds it already gets a new fence and the full time. Count the seconds from before the call.
        With `epoch` it is granted only where the store's epoch is that.
        """
        ...

    async def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Hold the lease for so long from now; False: it is not the owner's any more."""
        ...

    async def release(self, name: str, owner: str) -> None:
        """Let go of a lease, if it is the owner's."""
        ...

    async def enter(
        self,
        name: str,
        holder: str,
        *,
        seats: int,
        seconds: float,
        buckets: Sequence[Bucket] = (),
    ) -> float:
        """Take one of `seats` for so long, and a token from each bucket: all of it, or nothing.

        Return 0.0 when it was done, FULL where no seat is free, else the seconds until the buckets may have tokens.
        """
        ...

    async def stay(self, seats: Sequence[tuple[str, str]], seconds: float) -> None:
        """Keep these seats, `(name, holder)`, for so long from now; one that was lost is taken again, free or not."""
        ...

    async def leave(self, seats: Sequence[tuple[str, str]]) -> None:
        """Give seats back, each `(name, holder)`; one that is not taken is passed over."""
        ...

    async def seated(self, name: str) -> int:
        """Return how many seats of this name are taken."""
        ...

    async def now(self) -> float:
        """Return the store's time, in epoch seconds: what all processes agree on."""
        ...

    async def epoch(self) -> str:
        """Return who the store's server is; another answer than before means that leases may have been forgotten.

        Empty: it never forgets a lease.
        """
        ...

    async def settle(self) -> bool:
        """Wait a little until what was written is where it survives; False: it may not be, and nobody can tell."""
        ...
