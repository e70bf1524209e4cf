"""The pool of accounts: who may be asked now, and the lease that says who is being asked."""

from transports.pool.memory import MemoryStore
from transports.pool.pool import Lease, Pool
from transports.pool.sqlite import SqliteStore
from transports.pool.state import Want

__all__ = ["Lease", "MemoryStore", "Pool", "SqliteStore", "Want"]
