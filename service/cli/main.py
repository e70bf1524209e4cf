"""The command `gemini-gateway`. It imports a subcommand only to run it, so `--help` and `--version` stay fast."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, cast

import click
from click.shell_completion import get_completion_class

from service.cli.probe import probe
from service.imports import spare

_COMMAND = "gemini-gateway"
_COMPLETION_VARIABLE = "_GEMINI_GATEWAY_COMPLETE"
"""Environment variable by which the completion script asks click for completions."""
_INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells report it."""


class _Subcommand(NamedTuple):
    """Module, function and summary of a subcommand."""

    module: str
    name: str
    summary: str
    """Line in the group's help, at most 45 characters."""


_SUBCOMMANDS = {
    "accounts": _Subcommand("service.cli.accounts", "accounts", "Add, list, check, pause and remove accounts."),
    "completion": _Subcommand("service.cli.main", "completion", "Print the shell completion script."),
    "config": _Subcommand("service.cli.config_dump", "config", "Show and check the settings."),
    "demo": _Subcommand("service.cli.demo", "demo", "Run with simulated answers, without setup."),
    "doctor": _Subcommand("service.cli.doctor", "doctor", "Diagnose settings, store and accounts."),
    "init": _Subcommand("service.cli.init.command", "init", "Set up a gateway step by step."),
    "licenses": _Subcommand("service.cli.licenses", "licenses", "Add, list and revoke licenses."),
    "probe": _Subcommand("service.cli.main", "probe_url", "Exit with 0 if a health URL answers 200."),
    "route": _Subcommand("service.cli.route", "route", "Explain which way a request takes."),
    "serve": _Subcommand("service.cli.serve", "serve", "Run the gateway."),
    "simulate": _Subcommand("service.cli.demo", "simulate", "Run the simulated Gemini site alone."),
    "store": _Subcommand("service.cli.store", "store", "Inspect and migrate the store."),
}


class _Commands(Mapping[str, click.Command]):
    """Subcommands by name, imported on lookup."""

    def __getitem__(self, name: str) -> click.Command:
        subcommand = _SUBCOMMANDS[name]
        spare()
        return getattr(import_module(subcommand.module), subcommand.name)

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


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the shell completion script; source it in the shell's startup file."""
    made = get_completion_class(shell)
    if made is None:  # this version of click does not support the shell
        raise click.ClickException(f"this version of click has no completion for {shell}; update click")
    click.echo(made(context.find_root().command, {}, _COMMAND, _COMPLETION_VARIABLE).source())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, and exit with its status.

    0: done. 1: it failed, or the store or a port is not available now. 2: wrong usage. 78: wrong settings. 130: Ctrl-C.
    """
    try:
        status = cli(arguments, prog_name=_COMMAND, standalone_mode=False)
    except click.Abort as error:
        click.echo("Aborted!", err=True)
        sys.exit(_INTERRUPTED if isinstance(error.__context__, KeyboardInterrupt) else 1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
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
    if isinstance(status, int) and status:
        sys.exit(status)
