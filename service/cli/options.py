"""Where the command line finds its settings and its store."""

import os
from pathlib import Path

import click

from service.config.loader import Origin, origin_of
from service.config.schema import Settings, load

CONFIG_VARIABLE = "GEMINI_GATEWAY_CONFIG"
DEFAULT_CONFIG = Path("gateway.toml")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar=CONFIG_VARIABLE,
    help=f"The settings file; by default {DEFAULT_CONFIG} in this folder, where there is one.",
)


def settings_at(path: Path | None) -> tuple[Path | None, Settings, Origin]:
    """Return the path, default included, the settings that hold, and where they come from.

    Raises:
        SettingsError: something in them is wrong.

    """
    if path is None and DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    return path, load(path, os.environ), origin_of(path, os.environ)


def store_path_of(settings: Settings, path: Path | None) -> Path:
    """Return where the store is, given the path of the settings' file."""
    if path is not None:
        return path.absolute().parent / settings.store.path
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "gemini-gateway" / settings.store.path
