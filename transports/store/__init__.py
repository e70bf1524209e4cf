"""The store that all processes of a gateway share: its port and its implementations."""

from transports.store.barrier import Barrier
from transports.store.change_feed import ChangeFeed
from transports.store.encryption import Cipher
from transports.store.local_replica import ReplicatedRecords
from transports.store.memory import MemoryStore
from transports.store.port import (
    COLLECTIONS,
    FULL,
    Backend,
    Bucket,
    Change,
    Collection,
    Limits,
    Locks,
    Record,
    Records,
    Store,
    StoreDown,
    Unreadable,
)
from transports.store.sqlite import SqliteStore

__all__ = [
    "COLLECTIONS",
    "FULL",
    "Backend",
    "Barrier",
    "Bucket",
    "Change",
    "ChangeFeed",
    "Cipher",
    "Collection",
    "Limits",
    "Locks",
    "MemoryStore",
    "Record",
    "Records",
    "ReplicatedRecords",
    "SqliteStore",
    "Store",
    "StoreDown",
    "Unreadable",
]
