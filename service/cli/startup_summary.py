"""What a gateway is when it begins to serve: some lines for a person, one line for a log."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import click
import msgspec
import structlog

from service import VERSION, wiring
from service.accounts.service import AccountError, AccountService
from service.accounts.views import AccountStatus, AccountView
from service.config.schema import Log, Origin, Settings
from service.licenses.store import LicenseStore
from service.storage.factory import StoreLocation, cipher_of
from service.telemetry import logs
from transports.base import Transport
from transports.clock import Clock
from transports.store import Store, Unreadable

_MAX_NAMED = 8
_STATES = {
    AccountStatus.READY: "ready",
    AccountStatus.RESTING: "resting",
    AccountStatus.PARKED: "waiting for a person",
    AccountStatus.PAUSED: "paused",
    AccountStatus.UNUSABLE: "of no use",
}

_log = structlog.get_logger()


class StartupSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What there is, and what is not."""

    store: str
    encrypted: bool
    transports: tuple[str, ...]
    accounts: dict[str, list[str]] = {}
    """Their ids, by how they stand."""
    licenses: int | None = None
    """None: the store does not say."""
    missing: tuple[str, ...] = ()
    """In words, with the command that helps."""


async def startup_summary(
    settings: Settings, origin: Origin, location: StoreLocation, store: Store, clock: Clock
) -> StartupSummary:
    """Look at what there is; no site is asked, and a store that is away is a finding."""
    configs = wiring.transport_settings(settings, origin)
    found = StartupSummary(
        store=str(location),
        encrypted=cipher_of(settings.store, origin).can_encrypt,
        transports=tuple(configs),
    )
    try:
        rows = await AccountService(configs, store, clock, _nowhere).list_accounts()
        book = [one for one in await LicenseStore(store, clock).all() if one.revoked is None]
    except Unreadable as error:
        return msgspec.structs.replace(found, missing=(f"the accounts: {error}",))
    except OSError:
        return msgspec.structs.replace(found, missing=("the store is away: what is kept there is looked for",))
    licenses = len(settings.licenses) + len(book)
    return msgspec.structs.replace(
        found, accounts=_standing(rows), licenses=licenses, missing=tuple(_missing(found, rows, licenses))
    )


def say(found: StartupSummary, log: Log) -> None:
    """Tell of it as the log's settings want it: to a person, or to who reads logs."""
    told = msgspec.structs.asdict(found)
    if not logs.is_console(log):
        _log.info("serving", version=VERSION, **told)
        return
    for line in lines(found):
        click.echo(line, err=True)


def lines(found: StartupSummary) -> list[str]:
    """Return what a person reads."""
    accounts = "; ".join(f"{len(names)} {state} ({_named(names)})" for state, names in found.accounts.items())
    encrypted = "what is secret is encrypted" if found.encrypted else "not encrypted"
    licenses = "not known" if found.licenses is None else str(found.licenses)
    told = [
        ("upstream", ", ".join(found.transports)),
        ("accounts", accounts or "none of yours"),
        ("licenses", licenses),
        ("store", f"{found.store}, {encrypted}"),
        *(("missing", words) for words in found.missing),
    ]
    return [f"gemini-gateway {VERSION}", *(f"  {name:<10}{words}" for name, words in told)]


def _standing(rows: list[AccountView]) -> dict[str, list[str]]:
    found = {words: [row.id for row in rows if row.state is state] for state, words in _STATES.items()}
    return {words: names for words, names in found.items() if names}


def _missing(found: StartupSummary, rows: list[AccountView], licenses: int) -> list[str]:
    missing = [
        f"a working session of {row.id}: gemini-gateway accounts show {row.id}"
        for row in rows
        if row.state in {AccountStatus.PARKED, AccountStatus.UNUSABLE}
    ]
    if not rows and "web" in found.transports:
        missing.append("an account: gemini-gateway accounts add NAME")
    if not licenses:
        missing.append("a license, without which nobody can ask: gemini-gateway licenses add NAME")
    if not found.encrypted:
        missing.append("store.key_file, with which cookies and prompts are encrypted where they are kept")
    return missing


def _named(names: list[str]) -> str:
    more = f", and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


@asynccontextmanager
async def _nowhere(name: str, _account: str) -> AsyncGenerator[Transport]:
    """Open nothing: a look at what is kept is enough."""
    raise AccountError("unusable", name)
    yield
