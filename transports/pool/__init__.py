"""The pool of accounts: who may be asked now, and the lease that says who is being asked."""

from transports.pool.conversations import MemoryConversations, SqliteConversations
from transports.pool.memory import MemoryStore
from transports.pool.pool import Lease, Pool
from transports.pool.sqlite import SqliteStore
from transports.pool.state import Reason, Want

__all__ = [
    "Lease",
    "MemoryConversations",
    "MemoryStore",
    "Pool",
    "Reason",
    "SqliteConversations",
    "SqliteStore",
    "Want",
]
