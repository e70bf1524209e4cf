"""How a pool treats its accounts, and those who wait for one."""

import msgspec


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may change of it."""

    wait_seconds: float = 5.0
    """For an account to be free."""
    owed_wait_seconds: float = 60.0
    """The same, while the license has less than its share of the slots and another license more."""
    waiting_per_seat: float = 2.0
    """Requests that wait, for each that the accounts can carry; more are refused at once."""
    failures: int = 5
    """So many in a row, none of them a refusal, and an account rests."""
    eject_seconds: float = 30.0
    """For so long, and longer each time that it happens again."""
    eject_longest_seconds: float = 300.0
    throttle_ratio: float = 2.0
    """Requests sent for each that is taken, while an upstream takes less than all; 0: as many as come."""
    seat_seconds: float = 60.0
    """After so long, the slots of a process that died are free."""
    probe_seconds: float = 60.0
    """A parked account is tried again so often, where no other is left."""
