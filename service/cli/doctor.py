"""`gemini-gateway doctor`: diagnose the settings, the listener, the store, the licenses and each account."""

import http.client
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import anyio.to_thread
import click
import msgspec

from service import wiring
from service.accounts.offline import transport_opener
from service.accounts.route_view import unserved_hops
from service.accounts.service import AccountError, AccountService
from service.accounts.views import AccountStatus, AccountView
from service.check import check
from service.cli.account_table import console, finding_line
from service.cli.options import config_option, settings_at, store_path_of
from service.config.loader import Origin, SettingsError
from service.config.schema import Settings
from service.licenses.auth import check_against_store, fixed_licenses
from service.licenses.store import LicenseStore
from service.server.hypercorn import run_loop
from service.server.listeners import reachable_host
from service.server.workers import BAD_SETTINGS
from service.storage.factory import StoreUnreachable, cipher_of, location_of, open_local_replica, open_store
from service.telemetry import logs
from transports.account import Finding, Level, failed, ok, warning
from transports.accounts.records import read_processes
from transports.clock import SystemClock
from transports.store import Store

_LEASE, _OWNER = "doctor", "doctor"
_SKEW_SECONDS = 5.0
_ANSWER_SECONDS = 3.0


class DoctorFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A finding with its subject."""

    about: str
    finding: Finding


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Print problems only.")
@config_option
def doctor(config_path: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Diagnose settings, store and accounts.

    Also checks the listener and the licenses, and gives advice on problems.
    """
    path, settings, origin = settings_at(config_path)
    logs.configure(msgspec.structs.replace(settings.log, level="error"))
    diagnosis = Diagnosis(settings, origin, store_path_of(settings, path))
    out, found = console(), list[DoctorFinding]()

    async def main() -> None:
        async for one in diagnosis.run():
            found.append(one)
            if not as_json and not (quiet and one.finding.level is Level.OK):
                out.print(f"[bold]{one.about}[/] {finding_line(one.finding)}")

    run_loop(main, "asyncio")
    broken = sum(one.finding.level is Level.FAILED for one in found)
    warned = sum(one.finding.level is Level.WARNING for one in found)
    if as_json:
        shown = [one for one in found if not (quiet and one.finding.level is Level.OK)]
        click.echo(msgspec.json.format(msgspec.json.encode(shown)))
    elif not quiet or broken or warned:
        out.print(f"{len(found)} steps: {broken} failed, {warned} warnings, {len(found) - broken - warned} ok.")
    sys.exit(diagnosis.status or (1 if broken else 0))


class Diagnosis:
    """The diagnostic steps, from the settings to the accounts."""

    def __init__(self, settings: Settings, origin: Origin, store_path: Path) -> None:
        """Diagnose the gateway with these settings."""
        self._settings, self._origin, self._path = settings, origin, store_path
        self._clock = SystemClock()
        self.status = 0
        """Exit status of a store that cannot be used with these settings."""

    async def run(self) -> AsyncGenerator[DoctorFinding]:
        """Run all steps and yield each finding."""
        async for finding in self._check_settings():
            yield finding
        location = location_of(self._settings.store, self._origin, self._path)
        try:
            async with open_store(self._settings.store, self._origin, self._path, self._clock) as store:
                async for finding in self._check_store(store, str(location)):
                    yield finding
                try:
                    async for finding in self._check_accounts(store):
                        yield finding
                except OSError as error:
                    advice = "The other accounts were not checked: run `gemini-gateway doctor` again."
                    yield _finding("accounts", failed("accounts", str(error), advice))
        except SettingsError as error:
            self.status = 1 if isinstance(error, StoreUnreachable) else BAD_SETTINGS
            yield _finding("store", failed("store", str(error), "Check [store], and that the store is running."))
        except OSError as error:
            message = f"{location}: {error.strerror or error}"
            yield _finding("store", failed("store", message, "Check that it is running."))

    async def _check_settings(self) -> AsyncGenerator[DoctorFinding]:
        """Check the settings, the listener and the folders that they name."""
        try:
            check(self._settings, self._origin, self._path)
        except SettingsError as error:
            advice = "Fix it first: `serve` does not start with these settings."
            yield _finding("settings", failed("config check", str(error), advice))
        else:
            yield _finding("settings", ok("config check", f"{self._origin.name}: ok"))
        yield _finding("listener", await anyio.to_thread.run_sync(_check_listener, self._settings))
        for name, folder in {
            "media.cache_dir": self._settings.media.cache_dir,
            "limits.spool_dir": self._settings.limits.spool_dir,
        }.items():
            if folder is not None:
                yield _finding(name, await anyio.to_thread.run_sync(_check_folder, folder))

    async def _check_store(self, store: Store, where: str) -> AsyncGenerator[DoctorFinding]:
        """Check the store and its encryption, clock, gateway processes and licenses."""
        skew = abs(await store.records.now() - self._clock.wall())
        yield _finding("store", ok("reachable", f"{where} answers."))
        await store.locks.acquire(_LEASE, _OWNER, 1.0)
        await store.locks.release(_LEASE, _OWNER)
        yield _finding("store", ok("writable", "It is writable."))
        encrypted = ok("encrypted", "Secrets are encrypted.")
        if not cipher_of(self._settings.store, self._origin).can_encrypt:
            message = "Cookies, keys and prompts are stored as plain text."
            encrypted = warning("encrypted", message, "Set store.key_file.")
        yield _finding("store", encrypted)
        clock = ok("clock", "Its clock and this machine's agree.")
        if skew > _SKEW_SECONDS:
            message = f"Its clock and this machine's differ by {skew:.0f} s."
            clock = warning("clock", message, "Synchronize both with NTP.")
        yield _finding("store", clock)
        processes = await read_processes(store.records)
        yield _finding("store", ok("processes", f"Running gateway processes: {len(processes)}."))
        stored = LicenseStore(store.records, self._clock)
        valid, _ = await stored.valid()
        count = len(valid) + len(self._settings.licenses)
        advice = "Add one: gemini-gateway licenses add NAME"
        none = warning("licenses", "No client can use the gateway.", advice)
        found = ok("licenses", f"Valid licenses: {count}.") if count else none
        try:
            await check_against_store(fixed_licenses(self._settings.licenses, self._origin), stored, self._origin)
        except SettingsError as error:
            found = failed("licenses", str(error), "Until then the license of the settings counts.")
        yield _finding("licenses", found)

    def _count(self, names: Iterable[str], rows: Sequence[AccountView]) -> Iterator[DoctorFinding]:
        """Count the accounts of each transport, and find the hops of routes that have none."""
        for name in names:
            yield _finding(name, _count_accounts([row for row in rows if row.transport == name], name))
        serving = {(row.transport, row.tier) for row in rows if row.state is not AccountStatus.UNUSABLE}
        for place, hop in unserved_hops(self._settings.routes, serving):
            if wiring.TRANSPORTS[hop.transport].accounts is not None:
                tier = f" --tier {hop.tier}" if hop.tier else ""
                advice = f"Add one: gemini-gateway accounts add ID --transport {hop.transport}{tier}"
                yield _finding(place, warning("hop", f"No account serves the hop {str(hop)!r}.", advice))

    async def _check_accounts(self, store: Store) -> AsyncGenerator[DoctorFinding]:
        """Count each transport's accounts and check every account."""
        try:
            configs = wiring.transport_settings(self._settings, self._origin)
        except SettingsError:
            return  # reported by the settings step
        async with open_local_replica(self._settings.store, self._origin, self._path, self._clock) as copy:
            opener = transport_opener(configs, store, self._clock, copy)
            accounts = AccountService(
                configs, store.records, self._clock, opener, wiring.build_catalogue(self._settings, self._origin)
            )
            rows = await accounts.list_accounts()
            for finding in self._count(configs, rows):
                yield finding
            for row in rows:
                try:
                    async for finding in accounts.check(row.id):
                        yield _finding(row.id, finding)
                except AccountError as error:
                    yield _finding(row.id, failed("account", str(error), "Add the account again, or remove it."))


def _count_accounts(rows: Sequence[AccountView], transport: str) -> Finding:
    """Count a transport's accounts, by tier if it has tiers, and name their projects and proxies."""
    if not rows:
        advice = f"Add one: gemini-gateway accounts add ID --transport {transport}"
        return warning("accounts", "It has no account.", advice)
    tiers = Counter(row.tier for row in rows if row.tier)
    parts = [f"{count} {tier}" for tier, count in sorted(tiers.items())]
    parts += [f"project {project}" for project in sorted({row.project for row in rows} - {""})]
    parts += [f"by {proxy}" for proxy in sorted({row.proxy for row in rows} - {""})]
    details = f" ({', '.join(parts)})" if parts else ""
    return ok("accounts", f"Number of accounts: {len(rows)}{details}.")


def _check_folder(folder: Path) -> Finding:
    """Write a file of a megabyte into a folder, and remove it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1024 * 1024))
    except OSError as error:
        advice = "Free space on its disk, or make it writable for the gateway's user."
        return failed("folder", f"{folder} cannot be written: {error.strerror}", advice)
    return ok("folder", f"{folder} is writable.")


def _check_listener(settings: Settings) -> Finding:
    """Request /readyz from the listener that serves it: the one for operations if it has a port."""
    listener = settings.operations if settings.operations.port else settings.server
    where, host = f"{listener.host}:{listener.port}", reachable_host(listener.host)
    try:
        with closing(http.client.HTTPConnection(host, listener.port, timeout=_ANSWER_SECONDS)) as connection:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return warning("gateway", f"No gateway answers at {where}.", "Start one: gemini-gateway serve")
    if status == 200:
        return ok("gateway", f"A gateway answers at {where} and is ready.")
    advice = "It may be shutting down, or another program uses this address."
    return warning("gateway", f"{where} answers /readyz with status {status}.", advice)


def _finding(about: str, finding: Finding) -> DoctorFinding:
    return DoctorFinding(about=about, finding=finding)
