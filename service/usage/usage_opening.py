"""Opens the usage ledger that the settings describe, and its recorder."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from service.config.schema import Origin, SettingsError, UsageSettings
from service.usage.ledger import Days, UsageLedger
from service.usage.recorder import UsageRecorder, open_recorder
from service.usage.sqlite_ledger import SqliteUsageLedger
from transports.clock import Clock


def days_of(settings: UsageSettings, origin: Origin) -> Days:
    """Return the days of the settings.

    Raises:
        SettingsError: there is no such time zone.

    """
    try:
        zone = ZoneInfo(settings.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        where = f"{origin.of('usage.timezone')}: usage.timezone"
        raise SettingsError(
            f"{where}: unknown time zone {settings.timezone!r}; use a name such as 'UTC' or 'Europe/Berlin'"
        ) from None
    return Days(zone, settings.keep_days)


@asynccontextmanager
async def open_ledger(settings: UsageSettings, origin: Origin, store_path: Path) -> AsyncGenerator[UsageLedger]:
    """Open the ledger of the settings, and close it afterwards.

    Raises:
        SettingsError: there is no such time zone.

    """
    with closing(SqliteUsageLedger(store_path.parent / settings.path, days_of(settings, origin))) as ledger:
        yield ledger


@asynccontextmanager
async def open_usage(
    settings: UsageSettings, origin: Origin, store_path: Path, clock: Clock
) -> AsyncGenerator[UsageRecorder | None]:
    """Open the ledger and its recorder; yields None if usage is not recorded.

    Raises:
        SettingsError: there is no such time zone.

    """
    if not settings.enabled:
        yield None
        return
    path = store_path.parent / settings.path
    async with (
        open_ledger(settings, origin, store_path) as ledger,
        open_recorder(ledger, path.with_name(path.name + ".journal"), clock) as recorder,
    ):
        yield recorder
