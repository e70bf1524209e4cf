"""What commands share: the option for the settings file, and the settings and the store that it leads to."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from service.config.loader import Origin, origin_of
from service.config.schema import Settings, load
from transports.clock import SystemClock
from transports.store import Store

ResultT = TypeVar("ResultT")
CONFIG_VARIABLE = "GEMINI_GATEWAY_CONFIG"
DEFAULT_CONFIG = Path("gateway.toml")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar=CONFIG_VARIABLE,
    help=f"Settings file; default: {DEFAULT_CONFIG} in this folder, if it exists.",
)


def settings_at(path: Path | None) -> tuple[Path | None, Settings, Origin]:
    """Load the settings; return the path of the file, the effective settings and their origin.

    Raises:
        SettingsError: a setting is invalid.

    """
    if path is not None:
        path = Path(str(path).strip())  # variables may end in a blank or a newline
    elif DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    return path, load(path, os.environ), origin_of(path, os.environ)


def store_path_of(settings: Settings, path: Path | None) -> Path:
    """Return the path of the SQLite store: next to the settings file, or in the user's state folder."""
    if path is not None:
        return path.absolute().parent / settings.store.path
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "gemini-gateway" / settings.store.path


def with_store(settings: Settings, origin: Origin, path: Path, work: Callable[[Store], Awaitable[ResultT]]) -> ResultT:
    """Open the store, run `work` on it, and return its result.

    Raises:
        SettingsError: the store cannot be used; the message names the setting.

    """
    from service.server.hypercorn import run_loop
    from service.storage.factory import location_of, open_store, store_errors

    done = list[ResultT]()

    async def main() -> None:
        async with open_store(settings.store, origin, path, SystemClock()) as store:
            with store_errors(location_of(settings.store, origin, path), origin):
                done.append(await work(store))

    run_loop(main, "asyncio")
    return done[0]
