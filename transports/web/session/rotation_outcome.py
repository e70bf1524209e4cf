"""Read a rotation's response, name its outcome and report it. Source: reliability 2.2.

Theory of operation. What matters after a failed call is whether the site may have issued a new value. The outcome is
`unknown` if it may have: the request was sent, and no answer came. It is `failed` if the site certainly did nothing.

Example: a timeout after the request was sent is `unknown`, a refused connection is `failed`, HTTP 401 is `refused`.
"""

import math
from typing import Literal

import msgspec

from protocol.model import Certainty, GatewayError, SignedOut, Throttled
from transports.base import Deps
from transports.observer import AccountChange
from transports.web import wire
from transports.web.attention_reasons import AttentionReason
from transports.web.codec import jspb

Outcome = Literal[
    "rotated",
    "unchanged",
    "never",
    "already_rotated",
    "busy",
    "refused",
    "bound",
    "throttled",
    "unknown",
    "failed",
    "unconfirmed",
    "not_saved",
]
"""How a rotation ended; `unconfirmed` and `not_saved` are reported in addition to another outcome."""


def read_interval(body: bytes) -> float | None:
    """Return the seconds until the next rotation that the response asks for, within bounds.

    Infinity: the site never rotates this session. None: the response names no interval. Source: "Session", step 2.
    """
    try:
        parts = msgspec.json.decode(body.strip().removeprefix(wire.FRAMES_PREFIX.encode()))
    except (msgspec.DecodeError, RecursionError):
        return None
    for part in jspb.array(parts):
        if jspb.text(part, 0) == wire.ROTATE_INTERVAL:
            seconds = jspb.integer(part, 1)
            shortest, longest = wire.ROTATE_INTERVALS
            if seconds is None or seconds < 0:
                return None
            return math.inf if seconds >= wire.ROTATE_NEVER else min(longest, max(shortest, float(seconds)))
    return None


def outcome_of(error: Exception) -> Outcome:
    """Return the outcome of a rotation that failed with `error`."""
    if isinstance(error, SignedOut):
        return "bound" if error.reason == AttentionReason.BOUND else "refused"
    if isinstance(error, Throttled):
        return "throttled"
    unsure = isinstance(error, GatewayError) and error.certainty is Certainty.MAYBE_ACCEPTED
    return "unknown" if unsure else "failed"


class RotationReporter:
    """Reports one account's rotations to the observer."""

    def __init__(self, deps: Deps, account: str) -> None:
        """Report to `deps.observer`."""
        self._deps, self._account = deps, account

    def report_outcome(self, outcome: Outcome) -> None:
        """Report the outcome of one rotation."""
        self._deps.observer.rotated(self._deps.name, self._account, outcome)

    def report_change(self, what: str, reason: str = "", message: str = "") -> None:
        """Report a change of the account's session."""
        at, by, transport = self._deps.clock.wall(), self._deps.process_id, self._deps.name
        change = AccountChange(
            at=at, account=self._account, transport=transport, event=what, reason=reason, message=message, by=by
        )
        self._deps.observer.changed(change)
