"""Settings of the account pool."""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


class PoolConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Account pool: queue, cooldown, throttling and shared state."""

    queue_timeout_seconds: Seconds = 5.0
    """How long a request waits for a free account."""
    fair_queue_timeout_seconds: Seconds = 60.0
    """The same, while its license uses less than its fair share of the account slots and another license more."""
    queue_per_slot: Annotated[float, Meta(ge=0)] = 2.0
    """Queue length per account slot; when the queue is full, requests fail with 503 at once."""
    consecutive_failures: Count = 5
    """Consecutive failures, refusals excluded, that start a cooldown of an account, unless it is the last one."""
    ejection_seconds: Seconds = 30.0
    """Length of that cooldown; it grows each time the account fails again."""
    max_ejection_seconds: Seconds = 300.0
    """Maximum length of that cooldown."""
    throttle_ratio: Annotated[float, Meta(ge=0)] = 2.0
    """Requests sent per accepted request while an upstream fails; 0: no throttling."""
    slot_ttl_seconds: Annotated[float, Meta(ge=5)] = 60.0
    """Time after which other processes reclaim the account slots of a process that died."""
    probe_seconds: Seconds = 60.0
    """Interval between retries of an account that needs attention, if no other account is left."""
