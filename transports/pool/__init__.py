"""The pool of accounts: who may be asked now, and the lease that says who is being asked."""

from transports.pool.conversations import Conversations
from transports.pool.pool import Lease, Pool
from transports.pool.standing import Reason
from transports.pool.state import Want

__all__ = [
    "Conversations",
    "Lease",
    "Pool",
    "Reason",
    "Want",
]
