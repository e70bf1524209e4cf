"""The pool of accounts: who may be asked now, and the lease that says who is being asked."""

from transports.accounts.config import PoolConfig
from transports.accounts.conversations import Conversations
from transports.accounts.heartbeat import Heartbeat
from transports.accounts.limits import ConcurrencyLimits
from transports.accounts.pool import Lease, Pool, held_back
from transports.accounts.queue import LeaseRequest
from transports.accounts.records import CooldownReason
from transports.accounts.reports import Reports
from transports.accounts.shared_state import SharedState
from transports.accounts.state import Requirement
from transports.accounts.states import AccountStates, PoolDeps, reset_seconds
from transports.accounts.throttle import Throttle

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
