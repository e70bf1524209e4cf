"""Accounts of all transports: their configuration, their state over all processes, and the pool that leases them."""

from transports.accounts.availability import Requirement, Throttle
from transports.accounts.conversations import Conversations
from transports.accounts.heartbeat import Heartbeat
from transports.accounts.limits import ConcurrencyLimits
from transports.accounts.pool import Lease, Pool, RequestsThrottled
from transports.accounts.queue import LeaseRequest
from transports.accounts.records import CooldownReason
from transports.accounts.shared_state import SharedState
from transports.accounts.tracker import AccountTracker, PoolConfig, PoolDeps, Reports, reset_seconds

__all__ = [
    "AccountTracker",
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
    "RequestsThrottled",
    "Requirement",
    "SharedState",
    "Throttle",
    "reset_seconds",
]
