"""Summarize the gateway at startup: lines for a console, or one log event."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import click
import msgspec
import structlog

from service import VERSION, wiring
from service.accounts.service import AccountError, AccountService
from service.accounts.views import AccountStatus, AccountView
from service.config.schema import LogSettings, Origin, Settings
from service.licenses.store import LicenseStore
from service.storage.factory import StoreLocation, cipher_of
from service.telemetry import logs
from transports.account import AccountKind
from transports.base import Transport
from transports.clock import Clock
from transports.store import Records, Unreadable

_MAX_NAMED = 8
_KEYS = {AccountKind.API_KEY, AccountKind.SERVICE_ACCOUNT}
_log = structlog.get_logger()


class StartupSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The configured parts, and the missing ones."""

    store: str
    encrypted: bool
    transports: tuple[str, ...]
    accounts: dict[str, list[str]] = {}
    """Account ids by state."""
    licenses: int | None = None
    """Number of licenses; None: the store does not answer."""
    missing: tuple[str, ...] = ()
    """Missing parts, each with the command that adds it."""


async def startup_summary(
    settings: Settings, origin: Origin, location: StoreLocation, records: Records, clock: Clock
) -> StartupSummary:
    """Collect the summary without contacting an upstream; an unavailable store is reported as missing."""

    @asynccontextmanager
    async def refuse(name: str, _account: str) -> AsyncGenerator[Transport]:
        raise AccountError("unusable", name)  # the summary needs only stored data
        yield

    configs = wiring.transport_settings(settings, origin)
    found = StartupSummary(
        store=str(location),
        encrypted=cipher_of(settings.store, origin).can_encrypt,
        transports=tuple(configs),
    )
    try:
        rows = await AccountService(configs, records, clock, refuse).list_accounts()
        valid = [one for one in await LicenseStore(records, clock).all() if one.revoked is None]
    except Unreadable as error:
        return msgspec.structs.replace(found, missing=(f"the accounts: {error}",))
    except OSError:
        return msgspec.structs.replace(found, missing=("the store does not answer; accounts are unknown",))
    licenses = len(settings.licenses) + len(valid)
    accounts = {state.label: [row.id for row in rows if row.state is state] for state in AccountStatus}
    return msgspec.structs.replace(
        found,
        accounts={state: names for state, names in accounts.items() if names},
        licenses=licenses,
        missing=tuple(_missing(found, rows, licenses)),
    )


def print_summary(summary: StartupSummary, log: LogSettings) -> None:
    """Print the summary to a console, or log it as one event."""
    if not logs.is_console(log):
        _log.info("gateway_started", version=VERSION, **msgspec.structs.asdict(summary))
        return
    for line in summary_lines(summary):
        click.echo(line, err=True)


def summary_lines(summary: StartupSummary) -> list[str]:
    """Return the summary as lines for a console."""
    accounts: list[str] = []
    for state, names in summary.accounts.items():
        more = f", and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
        accounts.append(f"{len(names)} {state} ({', '.join(names[:_MAX_NAMED])}{more})")
    encrypted = "secrets encrypted" if summary.encrypted else "not encrypted"
    rows = [
        ("upstream", ", ".join(summary.transports)),
        ("accounts", "; ".join(accounts) or "none"),
        ("licenses", "unknown" if summary.licenses is None else str(summary.licenses)),
        ("store", f"{summary.store}, {encrypted}"),
        *(("missing", missing) for missing in summary.missing),
    ]
    return [f"gemini-gateway {VERSION}", *(f"  {name:<10}{text}" for name, text in rows)]


def _missing(found: StartupSummary, rows: list[AccountView], licenses: int) -> list[str]:
    missing = [
        f"a working {'key' if row.kind in _KEYS else 'session'} of {row.id}: gemini-gateway accounts show {row.id}"
        for row in rows
        if row.state in {AccountStatus.NEEDS_ATTENTION, AccountStatus.UNUSABLE}
    ]
    if not rows and any(wiring.TRANSPORTS[name].accounts is not None for name in found.transports):
        missing.append("an account: gemini-gateway accounts add NAME")
    if not licenses:
        missing.append("a license, which clients need: gemini-gateway licenses add NAME")
    if not found.encrypted:
        missing.append("store.key_file, to encrypt cookies and prompts in the store")
    return missing
