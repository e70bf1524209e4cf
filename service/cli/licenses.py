"""`gemini-gateway licenses`: add, list and revoke license keys."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from protocol.model import Catalogue, Feature
from service.check import PATTERN_ADVICE, check_secrets
from service.cli.options import ResultT, config_option, settings_at, store_path_of, with_store
from service.licenses.auth import new_key
from service.licenses.store import License, LicenseError, LicenseStore
from service.telemetry import logs
from service.wiring import build_catalogue
from transports.clock import SystemClock

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


@click.group()
def licenses() -> None:
    """Add, list and revoke licenses."""


_GRANTS = (
    click.option(
        "--model", "models", multiple=True, metavar="PATTERN", help="Allowed models, such as gemini-3-*; repeatable."
    ),
    click.option(
        "--feature",
        "features",
        multiple=True,
        type=click.Choice([feature.value for feature in Feature]),
        help="Allowed feature; repeatable; default: all.",
    ),
    click.option(
        "--alias", "aliases", multiple=True, metavar="NAME=MODEL", help="Another name of a model; repeatable."
    ),
    click.option(
        "--fallback",
        "fallbacks",
        multiple=True,
        metavar="MODEL=OTHERS",
        help="Models in place of one, by comma; repeatable.",
    ),
)


def grant_options(command: CommandT) -> CommandT:
    """Add the options that say what a license opens; each is a tuple of strings."""
    for option in reversed(_GRANTS):
        command = option(command)
    return command


@licenses.command("add")
@click.argument("identity", metavar="ID")
@grant_options
@config_option
def add_license(identity: str, config_path: Path | None, **given: tuple[str, ...]) -> None:
    """Add a license and print its key once.

    The store keeps only a digest of the key.
    """
    _, settings, origin = settings_at(config_path)
    check_secrets(settings, origin)
    if any(one.id == identity for one in settings.licenses):
        raise click.ClickException(f"the settings have a license {identity!r} already; choose another id")
    catalogue = build_catalogue(settings, origin)
    key = new_key()
    granted = License(
        id=identity,
        models=given["models"] or ("*",),
        features=tuple(Feature(name) for name in dict.fromkeys(given["features"])) or tuple(Feature),
        aliases=read_aliases(catalogue, given["aliases"]),
        fallbacks=read_fallbacks(catalogue, given["fallbacks"]),
        created=SystemClock().wall(),
    )
    _with_licenses(config_path, lambda kept: kept.add(granted, key))
    for pattern in catalogue.unmatched(granted.models):
        click.echo(f"warning: {pattern!r} matches no model; {PATTERN_ADVICE}", err=True)
    click.echo(key)


def read_aliases(catalogue: Catalogue, texts: Sequence[str]) -> dict[str, str]:
    """Return the aliases that are written `NAME=MODEL`.

    Raises:
        click.BadParameter: one is not, or the model is not in the catalogue.

    """
    aliases = {alias: model for alias, _, model in (text.partition("=") for text in texts)}
    try:
        catalogue.check_aliases(aliases)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--alias") from None
    return aliases


def read_fallbacks(catalogue: Catalogue, texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the fallbacks that are written `MODEL=MODEL,MODEL`; `MODEL=` says that no other model answers.

    Raises:
        click.BadParameter: one is not, or a model is not in the catalogue.

    """
    fallbacks: dict[str, tuple[str, ...]] = {}
    for text in texts:
        model, equals, others = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} has no '=': write MODEL=OTHER,OTHER", param_hint="--fallback")
        fallbacks[model] = tuple(filter(None, (other.strip() for other in others.split(","))))
    try:
        catalogue.check_fallbacks(fallbacks)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fallback") from None
    return fallbacks


@licenses.command("list")
@config_option
def list_licenses(config_path: Path | None) -> None:
    """List licenses (keys are never shown)."""
    for found in _with_licenses(config_path, lambda kept: kept.all()):
        since = datetime.fromtimestamp(found.created, UTC).isoformat(timespec="seconds")
        status = "active" if found.revoked is None else "revoked"
        names = " ".join(f"{alias}={model}" for alias, model in found.aliases.items())
        others = " ".join(f"{model}={','.join(others)}" for model, others in found.fallbacks.items())
        rest = filter(None, [names, others and f"fallbacks: {others}"])
        columns = (found.id, status, since, " ".join(found.models), " ".join(found.features), *rest)
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
