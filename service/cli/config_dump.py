"""`gemini-gateway config`: print the effective settings without secrets, and check them."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import click
import msgspec
import tomli_w

from service.check import PATTERN_ADVICE, check, exposed_files, hops_without_accounts, unmatched_models
from service.cli.options import config_option, settings_at, store_path_of, with_store
from service.config.schema import Settings
from service.licenses.auth import check_against_store, fixed_licenses
from service.licenses.store import LicenseStore
from service.storage.factory import StoreUnreachable, location_of, shown_url
from service.telemetry import logs
from service.wiring import TRANSPORTS, transport_settings
from transports.accounts.registry import AccountRecord, AccountRegistry
from transports.clock import SystemClock
from transports.store import Store

_SECRETS = frozenset({"key", "token"})


@click.group("config")
def config() -> None:
    """Show and check the settings."""


@config.command("show")
@config_option
def show_config(config_path: Path | None) -> None:
    """Print the effective settings, secrets as ***."""
    _, settings, origin = settings_at(config_path)
    click.echo(shown(settings, transport_settings(settings, origin)), nl=False)


@config.command("check")
@config_option
def check_config(config_path: Path | None) -> None:
    """Check the settings; no upstream is contacted."""
    path, settings, origin = settings_at(config_path)
    store_path = store_path_of(settings, path)
    check(settings, origin, store_path)
    location = location_of(settings.store, origin, store_path)
    stored: list[AccountRecord] | None = []
    if (settings.licenses or settings.routes) and (location.path is None or location.path.exists()):
        fixed = fixed_licenses(settings.licenses, origin)
        logs.configure(msgspec.structs.replace(settings.log, level="error"))

        async def read(store: Store) -> list[AccountRecord]:
            await check_against_store(fixed, LicenseStore(store.records, SystemClock()), origin)
            return await AccountRegistry(store.records, SystemClock()).records()

        stored = None
        with suppress(StoreUnreachable):  # `serve` starts without it
            stored = with_store(settings, origin, store_path, read)
    for exposed in exposed_files(settings, origin):
        click.echo(f"warning: {exposed} can be read by every user of this machine; chmod 600 it", err=True)
    for unmatched in unmatched_models(settings, origin):
        click.echo(f"warning: {unmatched} matches no model; {PATTERN_ADVICE}", err=True)
    for hop in hops_without_accounts(settings, origin, stored) if stored is not None else ():
        click.echo(f"warning: {hop} has no account; add one: gemini-gateway accounts add ID", err=True)
    click.echo(f"{origin.name}: ok")


def shown(settings: Settings, transports: Mapping[str, msgspec.Struct]) -> str:
    """Return the settings with defaults as TOML, with secrets replaced by `***`."""
    tree = _masked(msgspec.to_builtins(msgspec.structs.replace(settings, transports={}), enc_hook=str), _SECRETS)
    tree["store"]["url"] = shown_url(settings.store.url)
    tree["transports"] = {
        name: _masked(msgspec.to_builtins(config, enc_hook=str), TRANSPORTS[name].secrets)
        for name, config in transports.items()
    }
    return tomli_w.dumps(tree)


def _masked(value: Any, secrets: frozenset[str]) -> Any:
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {
            key: "***" if key in secrets and below else _masked(below, secrets)
            for key, below in table.items()
            if below is not None
        }
    if isinstance(value, list | tuple):
        return [_masked(below, secrets) for below in cast("list[Any]", value)]
    return value
