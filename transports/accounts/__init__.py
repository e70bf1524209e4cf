"""Accounts of all transports: their configuration, their state over all processes, and the pool that leases them."""

from transports.accounts.conversations import Conversations
from transports.accounts.heartbeat import Heartbeat
from transports.accounts.limits import ConcurrencyLimits
from transports.accounts.pool import Lease, Pool, throttled_error
from transports.accounts.queue import LeaseRequest
from transports.accounts.records import CooldownReason
from transports.accounts.shared_state import SharedState
from transports.accounts.state import Requirement
from transports.accounts.states import AccountStates, PoolConfig, PoolDeps, Reports, reset_seconds
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
    "reset_seconds",
    "throttled_error",
]
