"""The command `gemini-gateway`. It imports a subcommand only to run it, so `--help` and `--version` stay fast."""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple, cast

import click

from service.cli.probe import probe
from service.imports import spare


class _Subcommand(NamedTuple):
    """Module, function and summary of a subcommand."""

    module: str
    name: str
    summary: str
    """Line in the group's help, at most 45 characters."""


_SUBCOMMANDS = {
    "accounts": _Subcommand("service.cli.accounts", "accounts", "Add, list, check, pause and remove accounts."),
    "completion": _Subcommand("service.cli.completion", "completion", "Print the shell completion script."),
    "config": _Subcommand("service.cli.config_dump", "config", "Show and check the settings."),
    "demo": _Subcommand("service.cli.demo", "demo", "Run with simulated answers, without setup."),
    "doctor": _Subcommand("service.cli.doctor", "doctor", "Diagnose settings, store and accounts."),
    "init": _Subcommand("service.cli.init.command", "init", "Set up a gateway step by step."),
    "licenses": _Subcommand("service.cli.licenses", "licenses", "Add, list and revoke licenses."),
    "probe": _Subcommand("service.cli.main", "probe_url", "Exit with 0 if a health URL answers 200."),
    "serve": _Subcommand("service.cli.serve", "serve", "Run the gateway."),
    "simulate": _Subcommand("service.cli.demo", "simulate", "Run the simulated Gemini site alone."),
    "store": _Subcommand("service.cli.store", "store", "Inspect and migrate the store."),
}


class _Commands(Mapping[str, click.Command]):
    """Subcommands by name, imported on lookup."""

    def __getitem__(self, name: str) -> click.Command:
        place = _SUBCOMMANDS[name]
        spare()
        return getattr(import_module(place.module), place.name)

    def __iter__(self) -> Iterator[str]:
        return iter(_SUBCOMMANDS)

    def __len__(self) -> int:
        return len(_SUBCOMMANDS)


class _Group(click.Group):
    """Command group whose help does not import the subcommands."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _SUBCOMMANDS[name].summary) for name in self.list_commands(ctx)])


@click.group(cls=_Group, commands=cast("Any", _Commands()), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gemini-gateway")
def cli() -> None:
    """An OpenAI-compatible gateway to Google Gemini."""


@click.command("probe")
@click.argument("url")
def probe_url(url: str) -> None:
    """Exit with 0 if a health URL answers 200.

    URL is, for example, http://127.0.0.1:9090/livez; the timeout is two seconds.
    """
    sys.exit(probe(url))


def main() -> None:
    """Run the command; invalid settings exit with status 78, an unavailable store with 1, and one line each."""
    try:
        cli()
    except Exception as error:
        from service.config.loader import SettingsError
        from service.server.workers import BAD_SETTINGS
        from service.storage.factory import StoreUnreachable

        if isinstance(error, SettingsError):
            message = str(error)
        elif isinstance(error, OSError):
            message = f"{error.filename}: " if error.filename else ""
            message += error.strerror or str(error)
        else:
            raise
        click.echo(f"gemini-gateway: {message}", err=True)
        is_wrong = isinstance(error, SettingsError) and not isinstance(error, StoreUnreachable)
        sys.exit(BAD_SETTINGS if is_wrong else 1)
