"""The pool of accounts: who may be asked now, and the lease that says who is being asked."""

from transports.pool.accounts import Accounts, Ground, reset_seconds
from transports.pool.board import Board
from transports.pool.conversations import Conversations
from transports.pool.pool import Lease, Pool, held_back
from transports.pool.presence import Presence
from transports.pool.queue import Ask
from transports.pool.reports import Reports
from transports.pool.seats import Seats
from transports.pool.standing import Reason
from transports.pool.state import Want
from transports.pool.terms import Terms
from transports.pool.throttle import Throttle

__all__ = [
    "Accounts",
    "Ask",
    "Board",
    "Conversations",
    "Ground",
    "Lease",
    "Pool",
    "Presence",
    "Reason",
    "Reports",
    "Seats",
    "Terms",
    "Throttle",
    "Want",
    "held_back",
    "reset_seconds",
]
