"""Hands what a transport finds out about its accounts to the transport's pool."""

from collections.abc import Callable

from transports.account import Report


class Reports:
    """Takes a transport's reports; those that come before the pool is there wait for it."""

    def __init__(self) -> None:
        """Start without a pool: a transport is connected before its pool is made."""
        self._waiting: list[Report] = []
        self._handle: Callable[[Report], None] = self._waiting.append

    def __call__(self, report: Report) -> None:
        """Take a report."""
        self._handle(report)

    def connect(self, learn: Callable[[Report], None]) -> None:
        """Have `learn` take the reports from now on, and those that have waited."""
        self._handle = learn
        while self._waiting:
            learn(self._waiting.pop(0))
