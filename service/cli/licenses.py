"""`gemini-gateway licenses`: add, list and revoke license keys."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from protocol.model import Feature
from service.check import PATTERN_ADVICE, check_secrets
from service.cli.options import ResultT, config_option, settings_at, store_path_of, with_store
from service.licenses.auth import new_key
from service.licenses.store import License, LicenseError, LicenseStore
from service.telemetry import logs
from service.wiring import build_catalogue
from transports.clock import SystemClock


@click.group()
def licenses() -> None:
    """Add, list and revoke licenses."""


@licenses.command("add")
@click.argument("identity", metavar="ID")
@click.option(
    "--model", "models", multiple=True, metavar="PATTERN", help="Allowed models, such as gemini-3-*; repeatable."
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    type=click.Choice([feature.value for feature in Feature]),
    help="Allowed feature; repeatable; default: all.",
)
@click.option("--alias", "aliases", multiple=True, metavar="NAME=MODEL", help="Another name of a model; repeatable.")
@config_option
def add_license(
    identity: str,
    models: tuple[str, ...],
    features: tuple[str, ...],
    aliases: tuple[str, ...],
    config_path: Path | None,
) -> None:
    """Add a license and print its key once.

    The store keeps only a digest of the key.
    """
    _, settings, origin = settings_at(config_path)
    check_secrets(settings, origin)
    if any(one.id == identity for one in settings.licenses):
        raise click.ClickException(f"the settings have a license {identity!r} already; choose another id")
    catalogue = build_catalogue(settings, origin)
    named = {alias: model for alias, _, model in (text.partition("=") for text in aliases)}
    try:
        catalogue.check_aliases(named)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--alias") from None
    key = new_key()
    granted = License(
        id=identity,
        models=models or ("*",),
        features=tuple(Feature(name) for name in dict.fromkeys(features)) or tuple(Feature),
        aliases=named,
        created=SystemClock().wall(),
    )
    _with_licenses(config_path, lambda kept: kept.add(granted, key))
    for pattern in catalogue.unmatched(granted.models):
        click.echo(f"warning: {pattern!r} matches no model; {PATTERN_ADVICE}", err=True)
    click.echo(key)


@licenses.command("list")
@config_option
def list_licenses(config_path: Path | None) -> None:
    """List licenses (keys are never shown)."""
    for found in _with_licenses(config_path, lambda kept: kept.all()):
        since = datetime.fromtimestamp(found.created, UTC).isoformat(timespec="seconds")
        status = "active" if found.revoked is None else "revoked"
        names = " ".join(f"{alias}={model}" for alias, model in found.aliases.items())
        columns = (found.id, status, since, " ".join(found.models), " ".join(found.features), *filter(None, [names]))
        click.echo("\t".join(columns))


@licenses.command("revoke")
@click.argument("identity", metavar="ID")
@config_option
def revoke_license(identity: str, config_path: Path | None) -> None:
    """Revoke a license and end its requests.

    Running gateways refuse the key at once, and end the open requests within two seconds.
    """
    _with_licenses(config_path, lambda kept: kept.revoke(identity, SystemClock().wall()))
    click.echo(f"revoked {identity}")


def _with_licenses(config_path: Path | None, work: Callable[[LicenseStore], Awaitable[ResultT]]) -> ResultT:
    """Run `work` on the license store; report an error in one line."""
    path, settings, origin = settings_at(config_path)
    logs.configure(msgspec.structs.replace(settings.log, level="error"))
    try:
        return with_store(
            settings,
            origin,
            store_path_of(settings, path),
            lambda store: work(LicenseStore(store.records, SystemClock())),
        )
    except LicenseError as error:
        raise click.ClickException(str(error)) from None
