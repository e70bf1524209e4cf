"""The store that all processes of a gateway share, and its kinds."""

from transports.store.barrier import Barrier
from transports.store.memory import MemoryStore
from transports.store.port import FULL, PLACES, Bucket, Place, Record, Store, StoreDown
from transports.store.sqlite import SqliteStore
from transports.store.watch import Watch

__all__ = [
    "FULL",
    "PLACES",
    "Barrier",
    "Bucket",
    "MemoryStore",
    "Place",
    "Record",
    "SqliteStore",
    "Store",
    "StoreDown",
    "Watch",
]
