"""The pool of accounts: who may be asked now, and the lease that says who is being asked."""

from transports.pool.accounts import AccountStates, PoolDeps, reset_seconds
from transports.pool.board import SharedState
from transports.pool.conversations import Conversations
from transports.pool.pool import Lease, Pool, held_back
from transports.pool.presence import Heartbeat
from transports.pool.queue import LeaseRequest
from transports.pool.reports import Reports
from transports.pool.seats import ConcurrencyLimits
from transports.pool.standing import CooldownReason
from transports.pool.state import Requirement
from transports.pool.terms import PoolConfig
from transports.pool.throttle import Throttle

__all__ = [
    "AccountStates",
    "ConcurrencyLimits",
    "Conversations",
    "CooldownReason",
    "Heartbeat",
    "Lease",
    "LeaseRequest",
    "Pool",
    "PoolConfig",
    "PoolDeps",
    "Reports",
    "Requirement",
    "SharedState",
    "Throttle",
    "held_back",
    "reset_seconds",
]
