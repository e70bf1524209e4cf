"""`gemini-gateway licenses`: add, list and revoke."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from protocol.model import Feature
from service.book import License, LicenseBook, LicenseError
from service.licenses import new_key
from service.place import config_option, settings_at, store_path_of
from service.source import SettingsError
from transports.clock import SystemClock


@click.group()
def licenses() -> None:
    """Add, list and revoke licenses."""


@licenses.command("add")
@click.argument("identity", metavar="ID")
@click.option(
    "--model", "models", multiple=True, metavar="PATTERN", help="A model it may use, as gemini-3-*; repeatable."
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    type=click.Choice([feature.value for feature in Feature]),
    help="What it is for; repeatable; by default everything.",
)
@config_option
def add_license(identity: str, models: tuple[str, ...], features: tuple[str, ...], config_path: Path | None) -> None:
    """Add a license; its key is printed once and stored as a digest only."""
    key = new_key()
    granted = License(
        id=identity,
        models=models or ("*",),
        features=tuple(Feature(name) for name in dict.fromkeys(features)) or tuple(Feature),
        created=SystemClock().wall(),
    )
    with _book(config_path) as book:
        book.add(granted, key)
    click.echo(key)


@licenses.command("list")
@config_option
def list_licenses(config_path: Path | None) -> None:
    """List licenses, without their keys, which nobody knows."""
    with _book(config_path) as book:
        listed = book.all()
    for found in listed:
        since = datetime.fromtimestamp(found.created, UTC).isoformat(timespec="seconds")
        status = "active" if found.revoked is None else "revoked"
        click.echo(f"{found.id}\t{status}\t{since}\t{' '.join(found.models)}\t{' '.join(found.features)}")


@licenses.command("revoke")
@click.argument("identity", metavar="ID")
@config_option
def revoke_license(identity: str, config_path: Path | None) -> None:
    """Revoke a license: running gateways refuse it from now on."""
    with _book(config_path) as book:
        book.revoke(identity, SystemClock().wall())
    click.echo(f"revoked {identity}")


@contextmanager
def _book(config_path: Path | None) -> Generator[LicenseBook]:
    """Open the book of licenses; what goes wrong with it is told in one line."""
    path, settings, _ = settings_at(config_path)
    store_path = store_path_of(settings, path)
    try:
        book = LicenseBook(store_path)
        try:
            yield book
        finally:
            book.close()
    except LicenseError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise SettingsError(f"store.path: {store_path}: {error.strerror or error}") from None
