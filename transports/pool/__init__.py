"""The pool of accounts: who may be asked now, and the lease that says who is being asked."""

from transports.pool.conversations import MemoryConversations, SqliteConversations
from transports.pool.pool import Lease, Pool
from transports.pool.standing import Reason
from transports.pool.state import Want

__all__ = [
    "Lease",
    "MemoryConversations",
    "Pool",
    "Reason",
    "SqliteConversations",
    "Want",
]
