"""Read an account's credential from a file, standard input, options, environment variables or a hidden prompt."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from transports.accounts.configured import AccountType
from transports.secret_files import decode_text, read_secret


def read_credential(
    account_type: AccountType[Any],
    file: Path | None,
    values: Mapping[str, str | None],
    *,
    stdin: bool = False,
    first: str | None = None,
) -> str:
    """Return an account's credential; `values` are those of the transport's own options, by their names.

    `first` is what the operator has entered already.

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
        return first if first is not None else read_stdin()
    if given:
        source = click.get_current_context().get_parameter_source(given[0].option)
        if source is click.core.ParameterSource.COMMANDLINE:
            variables = " and ".join(part.variable for part in account_type.parts)
            click.echo(f"warning: other users of this machine can see arguments; use {variables} instead", err=True)
        return "\n".join(str(values[part.option]) for part in given)
    if not sys.stdin.isatty():
        message = f"no {account_type.noun} given: use --secret-file, pipe it to --secret-stdin, or run in a terminal"
        raise click.UsageError(message)
    return _prompt(account_type, first)


def read_file(file: Path) -> str:
    """Return the text of a file.

    Raises:
        click.ClickException: the file cannot be read.

    """
    try:
        return read_secret(file)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def read_to_recognize(file: Path | None, *, stdin: bool) -> str | None:
    """Return a credential of an unknown kind, or its first part if the operator enters it; None: there is none.

    Raises:
        click.ClickException: it cannot be read.

    """
    if file is not None:
        return read_file(file)
    if stdin:
        return read_stdin()
    if not sys.stdin.isatty():
        return None
    return click.prompt("API key, __Secure-1PSID or Cookie header (not shown)", hide_input=True, err=True)


def _prompt(account_type: AccountType[Any], first: str | None) -> str:
    """Prompt for the parts of the credential, but the first one if it is given, without showing them."""
    if not account_type.parts and first is None:
        return click.prompt(f"{account_type.noun.capitalize()} (not shown)", hide_input=True, err=True)
    lines: list[str] = []
    for part in account_type.parts:
        empty = "" if part.optional else None
        if first is not None and not lines:
            lines.append(first)
        else:
            lines.append(click.prompt(part.prompt, hide_input=True, default=empty, show_default=False, err=True))
        if account_type.complete(lines[0]):
            break
    return "\n".join(lines)


def read_stdin() -> str:
    """Return the text of standard input.

    Raises:
        click.ClickException: it is not text.

    """
    try:
        return decode_text(sys.stdin.buffer.read())
    except ValueError as error:
        raise click.ClickException(f"standard input {error}") from None
