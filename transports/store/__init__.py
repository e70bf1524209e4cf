"""The store that all processes of a gateway share, and its kinds."""

from transports.store.barrier import Barrier
from transports.store.lasting import ReplicatedStore
from transports.store.memory import MemoryStore
from transports.store.port import FULL, PLACES, Bucket, Change, Collection, Record, Store, StoreDown, Unreadable
from transports.store.sealed import Cipher, EncryptedStore
from transports.store.sqlite import SqliteStore
from transports.store.watch import ChangeFeed

__all__ = [
    "FULL",
    "PLACES",
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
