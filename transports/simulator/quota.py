"""An account's usage limits, per model family. No I/O."""

from collections import defaultdict

import msgspec

_UNLIMITED = 1000
"""The total that `qpEbW` names if there is no limit."""


class QuotaUsage(msgspec.Struct, frozen=True, kw_only=True):
    """One family's limit, as the site reports it."""

    percent: int
    reset: int
    total: int
    remaining: int


class SimulatedQuota:
    """Counts answers per family in windows of time; all times in epoch seconds."""

    def __init__(self, limit: int, window: float) -> None:
        """Allow `limit` answers (0: any number) in `window` seconds."""
        self._limit, self._window = limit, window
        self._used: defaultdict[str, int] = defaultdict(int)
        self._resets: dict[str, float] = {}
        self._out: dict[str, float] = {}

    def unlimited(self, family: str, now: float) -> bool:
        """Return whether the family has no limit, and no prompt has asked for one."""
        self._start_new_window(family, now)
        return not self._limit and family not in self._out

    def exhausted(self, family: str, now: float) -> bool:
        """Return whether the family has no answer left."""
        self._start_new_window(family, now)
        return bool(self._limit) and self._used[family] >= self._limit

    def spend(self, family: str, now: float) -> None:
        """Count an answer."""
        self._start_new_window(family, now)
        self._resets.setdefault(family, now + self._window)
        self._used[family] += 1

    def report_exhausted(self, family: str, until: float) -> None:
        """Report the limit as reached until then, without enforcing it."""
        self._out[family] = until

    def usage(self, family: str, now: float) -> QuotaUsage:
        """Return the family's limit and use."""
        self._start_new_window(family, now)
        total = self._limit or _UNLIMITED
        if family in self._out:
            return QuotaUsage(percent=100, reset=_ceil(self._out[family]), total=total, remaining=0)
        used = min(self._used[family], total if self._limit else total - 1)  # what has no limit never runs out
        reset = _ceil(self._resets.get(family, now + self._window))
        return QuotaUsage(percent=100 * used // total, reset=reset, total=total, remaining=total - used)

    def _start_new_window(self, family: str, now: float) -> None:
        """Start a new window where the last one has ended."""
        if now >= self._resets.get(family, now + 1):
            del self._resets[family]
            self._used[family] = 0
        if now >= self._out.get(family, now + 1):
            del self._out[family]


def _ceil(seconds: float) -> int:
    return int(seconds) + (seconds > int(seconds))
