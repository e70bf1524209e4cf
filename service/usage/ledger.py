"""Defines the port of the usage ledger, and the questions that it answers."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

import msgspec

from service.usage.usage_record import UsageRecord

Grouping = Literal["day", "license", "model", "user", "account"]
LARGEST_PAGE = 1000
DIMENSIONS = ("license", "user", "model", "capability", "transport", "account")
"""What a roll-up of a day has its sums by."""
SUMS = (
    "requests",
    "errors",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
    "videos",
    "research",
)
"""The sums of roll-ups and reports, in their order."""


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A question about the sums of usage."""

    by: Grouping = "day"
    license: str | None = None
    user: str | None = None
    model: str | None = None
    since: date | None = None
    """The first day that counts; None: the first that is kept."""
    until: date | None = None
    """The last day that counts; None: today."""
    after: str | None = None
    """The group that the last page ended with; None: begin with the first."""
    limit: int = LARGEST_PAGE


class UsageSums(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one group."""

    group: str
    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    videos: int = 0
    research: int = 0


class UsageLedger(Protocol):
    """Port of the ledger. Every method may raise OSError."""

    async def append(self, records: Sequence[UsageRecord]) -> None:
        """Add records and their sums in one transaction; records that are there already are ignored, by their id."""
        ...

    async def sums(self, query: UsageQuery) -> list[UsageSums]:
        """Return a page of the groups, in their order."""
        ...

    async def records(
        self, *, license_id: str | None = None, after: tuple[float, str] | None = None, limit: int = LARGEST_PAGE
    ) -> list[UsageRecord]:
        """Return a page of records, the oldest first: those behind `after`, the time and id of the last page's end."""
        ...

    async def prune(self, now: float) -> None:
        """Delete what is older than the days that are kept."""
        ...


class Days(msgspec.Struct, frozen=True):
    """The days of a time zone."""

    zone: ZoneInfo
    keep: int
    """The number of days that are kept, today among them."""

    def of(self, seconds: float) -> int:
        """Return the number of the day (`date.toordinal`) of a time in epoch seconds."""
        return datetime.fromtimestamp(seconds, self.zone).toordinal()

    def first_kept(self, now: float) -> int:
        """Return the number of the oldest day that is kept."""
        return self.of(now) - self.keep + 1


def sums_of(record: UsageRecord) -> tuple[int, ...]:
    """Return what a record adds to `SUMS`."""
    return (
        1,
        record.failed,
        record.input_tokens,
        record.output_tokens,
        record.reasoning_tokens,
        record.images,
        record.videos,
        record.research,
    )
