"""Read an account's credential from a file, standard input, options, environment variables or a hidden prompt."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from transports.accounts.configured import AccountType
from transports.secret_files import decode_text, read_secret


def read_credential(
    account_type: AccountType[Any], file: Path | None, values: Mapping[str, str | None], *, stdin: bool = False
) -> str:
    """Return an account's credential; `values` are those of the transport's own options, by their names.

    Raises:
        click.ClickException: no source, or more than one, was given.

    """
    given = [part for part in account_type.parts if values.get(part.option)]
    names = ["--secret-file", "--secret-stdin", *(f"--{part.option}" for part in account_type.parts)]
    if sum((file is not None, stdin, bool(given))) > 1:
        raise click.UsageError(f"give only one of {', '.join(names)}")
    if file is not None:
        return read_file(file)
    if stdin:
        return _read_stdin()
    if given:
        source = click.get_current_context().get_parameter_source(given[0].option)
        if source is click.core.ParameterSource.COMMANDLINE:
            variables = " and ".join(part.variable for part in account_type.parts)
            click.echo(f"warning: other users of this machine can see arguments; use {variables} instead", err=True)
        return "\n".join(str(values[part.option]) for part in given)
    if not sys.stdin.isatty():
        message = f"no {account_type.noun} given: use --secret-file, pipe it to --secret-stdin, or run in a terminal"
        raise click.UsageError(message)
    return _prompt(account_type)


def read_file(file: Path) -> str:
    """Return the text of a file.

    Raises:
        click.ClickException: the file cannot be read.

    """
    try:
        return read_secret(file)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _prompt(account_type: AccountType[Any]) -> str:
    """Prompt for the parts of the credential without showing them."""
    if not account_type.parts:
        return click.prompt(f"{account_type.noun.capitalize()} (not shown)", hide_input=True, err=True)
    lines: list[str] = []
    for part in account_type.parts:
        empty = "" if part.optional else None
        lines.append(click.prompt(part.prompt, hide_input=True, default=empty, show_default=False, err=True))
        if account_type.complete(lines[0]):
            break
    return "\n".join(lines)


def _read_stdin() -> str:
    try:
        return decode_text(sys.stdin.buffer.read())
    except ValueError as error:
        raise click.ClickException(f"standard input {error}") from None
