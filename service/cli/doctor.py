"""`gemini-gateway doctor`: walks the whole path, from the settings to each account, and says what it found."""

import http.client
import sys
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

import anyio.to_thread
import click
import msgspec

from service import wiring
from service.accounts.offline import transport_opener
from service.accounts.service import AccountError, AccountService
from service.cli.account_table import console, finding_line
from service.cli.check import check
from service.cli.options import config_option, settings_at, store_path_of
from service.config.loader import Origin, SettingsError
from service.config.schema import Server, Settings
from service.licenses.store import LicenseStore
from service.server.hypercorn import run_loop
from service.storage.factory import cipher_of, location_of, open_copy, open_store
from service.telemetry import logs
from transports.account import Finding, Level, failed, ok, warning
from transports.accounts.records import read_replicas
from transports.clock import SystemClock
from transports.store import Store

_LEASE, _OWNER = "doctor", "doctor"
_SKEW_SECONDS = 5.0
_ANSWER_SECONDS = 3.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- where it can be reached


class DoctorFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A finding, and what it is about."""

    about: str
    finding: Finding


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def doctor(config_path: Path | None, *, as_json: bool) -> None:
    """Look at the settings, the store, the listener, the licenses and each account; say what to do about them."""
    path, settings, origin = settings_at(config_path)
    logs.configure(msgspec.structs.replace(settings.log, level="error"))
    examination = Diagnosis(settings, origin, store_path_of(settings, path))
    out, found = console(), list[DoctorFinding]()

    async def main() -> None:
        async for one in examination.run():
            found.append(one)
            if not as_json:
                out.print(f"[bold]{one.about}[/] {finding_line(one.finding)}")

    run_loop(main, "asyncio")
    broken = sum(one.finding.level is Level.FAILED for one in found)
    warned = sum(one.finding.level is Level.WARNING for one in found)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
    else:
        out.print(f"{len(found)} steps: {broken} failed, {warned} to look at, {len(found) - broken - warned} well.")
    sys.exit(1 if broken else 0)


class Diagnosis:
    """The steps, in the order of the path."""

    def __init__(self, settings: Settings, origin: Origin, store_path: Path) -> None:
        """Look at what these settings set up."""
        self._settings, self._origin, self._path = settings, origin, store_path
        self._clock = SystemClock()

    async def run(self) -> AsyncGenerator[DoctorFinding]:
        """Tell of each step when it is done."""
        yield _finding("settings", self._checked())
        async for finding in self._listening():
            yield _finding("listener", finding)
        where = str(location_of(self._settings.store, self._origin, self._path))
        try:
            async with open_store(self._settings.store, self._origin, self._path, self._clock) as store:
                async for found in self._in(store, where):
                    yield found
        except SettingsError as error:
            yield _finding("store", failed("store", str(error), "See whether it runs, and what [store] says."))

    def _checked(self) -> Finding:
        try:
            check(self._settings, self._origin, self._path)
        except SettingsError as error:
            return failed("config check", str(error), "`serve` will not start before this is mended.")
        return ok("config check", f"{self._origin.name}: ok")

    async def _listening(self) -> AsyncGenerator[Finding]:
        server = self._settings.server
        where = f"{server.host}:{server.port}"
        try:
            status = await anyio.to_thread.run_sync(_readyz_status, server)
        except (OSError, http.client.HTTPException):
            yield warning("gateway", f"No gateway answers at {where}.", "Start one: gemini-gateway serve")
            return
        if status == 200:
            yield ok("gateway", f"A gateway answers at {where}, and is ready.")
        else:
            advice = "It may be ending, or it is no gateway."
            yield warning("gateway", f"What answers at {where} says {status} to /readyz.", advice)

    async def _in(self, store: Store, where: str) -> AsyncGenerator[DoctorFinding]:
        try:
            async for finding in self._store(store, where):
                yield _finding("store", finding)
            yield _finding("licenses", await self._licenses(store))
            async for found in self._accounts(store):
                yield found
        except OSError as error:
            yield _finding("store", failed("store", f"{where}: {error.strerror or error}", "See whether it runs."))

    async def _store(self, store: Store, where: str) -> AsyncGenerator[Finding]:
        skew = abs(await store.now() - self._clock.wall())
        yield ok("reachable", f"{where} answers.")
        await store.acquire(_LEASE, _OWNER, 1.0)
        await store.release(_LEASE, _OWNER)
        yield ok("writable", "It can be written.")
        if cipher_of(self._settings.store, self._origin).can_encrypt:
            yield ok("encrypted", "What is secret is encrypted.")
        else:
            yield warning("encrypted", "Cookies, keys and prompts are kept as plain text.", "Set store.key_file.")
        if skew > _SKEW_SECONDS:
            yield warning("clock", f"Its clock and this machine's are {skew:.0f} s apart.", "Set them by NTP.")
        else:
            yield ok("clock", "Its clock and this machine's agree.")
        replicas = await read_replicas(store)
        yield ok("processes", f"{len(replicas)} gateway processes are there.")

    async def _licenses(self, store: Store) -> Finding:
        kept = [one for one in await LicenseStore(store, self._clock).all() if one.revoked is None]
        count = len(kept) + len(self._settings.licenses)
        if count:
            return ok("licenses", f"{count} can be used.")
        return warning("licenses", "Nobody can use the gateway.", "Add one: gemini-gateway licenses add NAME")

    async def _accounts(self, store: Store) -> AsyncGenerator[DoctorFinding]:
        try:
            configs = wiring.transport_settings(self._settings, self._origin)
        except SettingsError:
            return  # the settings' check has told
        async with open_copy(self._settings.store, self._origin, self._path, self._clock) as copy:
            office = AccountService(configs, store, self._clock, transport_opener(configs, store, self._clock, copy))
            async for found in _check_accounts(office, configs):
                yield found


async def _check_accounts(office: AccountService, names: Iterable[str]) -> AsyncGenerator[DoctorFinding]:
    """Tell of each transport's accounts, and of each account."""
    rows = await office.list_accounts()
    for name in names:
        count = sum(row.transport == name for row in rows)
        advice = "Add one: gemini-gateway accounts add ID"
        none = warning("accounts", "It has no account of yours.", advice)
        yield _finding(name, ok("accounts", f"It has {count}.") if count else none)
    for row in rows:
        if row.words:
            yield _finding(row.id, warning("state", f"It is {row.state}: {row.words}", ""))
        try:
            async for finding in office.check(row.id):
                yield _finding(row.id, finding)
        except AccountError as error:
            yield _finding(row.id, failed("account", str(error), "Add it again, or remove it."))


def _readyz_status(server: Server) -> int:
    """Return the status of the gateway that the settings would have listen."""
    host = _WILDCARDS.get(server.host, server.host)
    connection = http.client.HTTPConnection(host, server.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()


def _finding(about: str, finding: Finding) -> DoctorFinding:
    return DoctorFinding(about=about, finding=finding)
