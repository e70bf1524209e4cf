"""`gemini-gateway store`: inspect the store, and migrate it to another place."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import click
import msgspec

from service.cli.options import config_option, settings_at, store_path_of
from service.config.loader import SettingsError
from service.config.schema import StoreSettings
from service.config.secrets import read_key
from service.storage.factory import StoreLocation, cipher_of, location_at, location_of, open_location, store_errors
from service.storage.migrate import MigrateError, StoreEndpoint, all_records, migrate
from service.telemetry import logs
from transports.clock import SystemClock
from transports.store import COLLECTIONS, Cipher, Collection, Unreadable
from transports.store.encryption import is_encrypted
from transports.store.port import SealedRecords

_CALL_SECONDS = 10.0
"""Longer than in a gateway, because no request waits for it."""
_LOCK, _OWNER = "store-check", "store-check"


class CollectionCounts(msgspec.Struct, kw_only=True):
    """Number of records of a collection."""

    records: int = 0
    plain: int = 0
    """Number of secret values that are not encrypted."""
    unreadable: int = 0

    def line(self, collection: Collection) -> str:
        """Format the counts as one line."""
        more: list[str] = []
        if collection.encrypted and self.plain:
            more.append(f"{self.plain} not encrypted")
        if self.unreadable:
            more.append(f"{self.unreadable} unreadable with the given keys")
        return f"{collection.name}\t{self.records}" + (f" ({', '.join(more)})" if more else "")


@click.group()
def store() -> None:
    """Inspect and migrate the store."""


@store.command("check")
@config_option
def check_store(config_path: Path | None) -> None:
    """Check the store and count its records."""
    path, settings, origin = settings_at(config_path)
    location = location_of(settings.store, origin, store_path_of(settings, path))
    cipher = cipher_of(settings.store, origin)
    if location.path is not None and not location.path.exists():
        click.echo(f"Store: {location} does not exist yet; `serve` creates it")
        click.echo(_encryption(cipher))
        return
    logs.configure(settings.log)
    with store_errors(location, origin):
        healthy = anyio.run(_check, location, settings.store, cipher)
    sys.exit(0 if healthy else 1)


@store.command("migrate")
@click.option("--from", "source", required=True, metavar="URL", help="sqlite:PATH, redis://… or rediss://…")
@click.option("--to", "target", required=True, metavar="URL", help="sqlite:PATH, redis://… or rediss://…")
@click.option(
    "--from-key-file",
    type=click.Path(path_type=Path),
    help="Key file of the source; default: that of the settings.",
)
@click.option(
    "--to-key-file",
    type=click.Path(path_type=Path),
    help="Key file of the target; default: that of the settings.",
)
@click.option("--force", is_flag=True, help="Migrate even if gateways run or the target is not empty.")
@config_option
def migrate_store(config_path: Path | None, source: str, target: str, *, force: bool, **keys: Path | None) -> None:
    """Copy all records to another store.

    The source store stays unchanged.
    """
    _, settings, origin = settings_at(config_path)
    logs.configure(settings.log)
    ends = _location(source, "--from"), _location(target, "--to")
    if ends[0] == ends[1]:
        raise click.BadParameter("is the same store as --from", param_hint="--to")
    if ends[0].path is not None and not ends[0].path.exists():
        raise SettingsError(f"--from: {ends[0].path}: no such file")
    plain = cipher_of(settings.store, origin)
    ciphers = [
        plain if path is None else Cipher(read_key(path, f"--{name.replace('_', '-')}"), ())
        for name, path in keys.items()
    ]
    patient = msgspec.structs.replace(settings.store, timeout_seconds=_CALL_SECONDS)

    async def copy_records() -> None:
        async with (
            _endpoint(ends[0], ciphers[0], patient) as old,
            _endpoint(ends[1], ciphers[1], patient) as new,
        ):
            total = 0
            async for moved in migrate(old, new, force=force):
                total += moved.records
                unreadable = f" ({len(moved.unreadable)} unreadable, moved as they are)" if moved.unreadable else ""
                click.echo(f"{moved.collection.name}\t{moved.records}{unreadable}")
            click.echo(f"Moved {total} records from {old.name} to {new.name} and verified the copy.")

    try:
        anyio.run(copy_records)
    except SealedRecords as error:
        raise SettingsError(f"{ends[0]}: {error} (--force copies them unchanged)") from None
    except MigrateError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error}; {ends[0]} is unchanged; fix the problem and run it again") from None


def _location(text: str, option: str) -> StoreLocation:
    try:
        return location_at(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _encryption(cipher: Cipher) -> str:
    if cipher.can_encrypt:
        return "Encryption: with the key of store.key_file"
    return "Encryption: none; set store.key_file to encrypt secrets"


async def _check(location: StoreLocation, settings: StoreSettings, cipher: Cipher) -> bool:
    """Print the store's location, state and contents; return whether it is writable and readable.

    Raises:
        SealedRecords: records need a key that is not configured.

    """
    async with open_location(location, settings, SystemClock()) as store:
        click.echo(f"Store: {location}")
        try:
            await store.locks.acquire(_LOCK, _OWNER, 1.0)
            await store.locks.release(_LOCK, _OWNER)
            writable = "yes"
        except OSError as error:
            writable = f"no: {error}"
        click.echo(f"Writable: {writable}")
        click.echo(_encryption(cipher))
        sealed = 0
        counts = {collection: CollectionCounts() for collection in COLLECTIONS}
        for collection, found in counts.items():
            async for record in all_records(store.records, collection):
                found.records += 1
                found.plain += not is_encrypted(record.value)
                sealed += collection.encrypted and not cipher.knows(record.value)
                try:
                    cipher.decrypt(collection, record.key, record.value)
                except Unreadable:
                    found.unreadable += 1
    click.echo("Records:")
    for collection, found in counts.items():
        click.echo(f"  {found.line(collection)}")
    if sealed:
        raise SealedRecords(sealed)
    return writable == "yes" and not any(found.unreadable for found in counts.values())


@asynccontextmanager
async def _endpoint(location: StoreLocation, cipher: Cipher, settings: StoreSettings) -> AsyncGenerator[StoreEndpoint]:
    async with open_location(location, settings, SystemClock()) as store:
        yield StoreEndpoint(store.records, cipher, str(location))
