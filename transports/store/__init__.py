"""The store that all processes of a gateway share, and its kinds."""

from transports.store.barrier import Barrier
from transports.store.lasting import CopiedStore
from transports.store.memory import MemoryStore
from transports.store.port import FULL, PLACES, Bucket, Change, Place, Record, Store, StoreDown, Unreadable
from transports.store.sealed import SealedStore, Sealer
from transports.store.sqlite import SqliteStore
from transports.store.watch import Watch

__all__ = [
    "FULL",
    "PLACES",
    "Barrier",
    "Bucket",
    "Change",
    "CopiedStore",
    "MemoryStore",
    "Place",
    "Record",
    "SealedStore",
    "Sealer",
    "SqliteStore",
    "Store",
    "StoreDown",
    "Unreadable",
    "Watch",
]
