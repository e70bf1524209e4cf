"""Read the session of an account from a file, standard input, options or a hidden prompt."""

import sys
from pathlib import Path

import click

from transports.secret_files import read_secret

VARIABLES = ("GEMINI_GATEWAY_PSID", "GEMINI_GATEWAY_PSIDTS")
_NONE = "no session given: use --file, pipe the cookies to --cookies-stdin, or run the command in a terminal"


def session_of(file: Path | None, stdin: bool, psid: str | None, psidts: str | None) -> str:
    """Return the session in a form that `Kind.admit` accepts.

    Raises:
        click.ClickException: no source, or more than one, was given.

    """
    if sum((file is not None, stdin, psid is not None)) > 1:
        raise click.UsageError("give only one of --file, --cookies-stdin and --psid")
    if file is not None:
        try:
            return read_secret(file)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
    if stdin:
        return sys.stdin.read()
    if psid is not None:
        _warn_of_arguments()
        return "\n".join(value for value in (psid, psidts) if value)
    if not sys.stdin.isatty():
        raise click.UsageError(_NONE)
    return _prompt()


def _warn_of_arguments() -> None:
    """Warn if the values were given as arguments, which other users can see."""
    source = click.get_current_context().get_parameter_source("psid")
    if source is click.core.ParameterSource.COMMANDLINE:
        message = f"other users of this machine can see arguments; use the variables {' and '.join(VARIABLES)} instead"
        click.echo(f"warning: {message}", err=True)


def _prompt() -> str:
    """Prompt for the two values, or for a Cookie header; longer exports need --file."""
    first: str = click.prompt("__Secure-1PSID, or a Cookie header (not shown)", hide_input=True, err=True)
    if "=" in first.rstrip("="):
        return first
    second: str = click.prompt(
        "__Secure-1PSIDTS (not shown; empty if there is none)",
        hide_input=True,
        default="",
        show_default=False,
        err=True,
    )
    return f"{first}\n{second}"
