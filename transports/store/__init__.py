"""The store that all processes of a gateway share: its port and its implementations."""

from transports.store.barrier import Barrier
from transports.store.change_feed import ChangeFeed
from transports.store.encrypted import Cipher, EncryptedStore
from transports.store.memory import MemoryStore
from transports.store.port import COLLECTIONS, FULL, Bucket, Change, Collection, Record, Store, StoreDown, Unreadable
from transports.store.replicated import ReplicatedStore
from transports.store.sqlite import SqliteStore

__all__ = [
    "COLLECTIONS",
    "FULL",
    "Barrier",
    "Bucket",
    "Change",
    "ChangeFeed",
    "Cipher",
    "Collection",
    "EncryptedStore",
    "MemoryStore",
    "Record",
    "ReplicatedStore",
    "SqliteStore",
    "Store",
    "StoreDown",
    "Unreadable",
]
