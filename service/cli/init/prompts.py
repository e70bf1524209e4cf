"""The questions of `gemini-gateway init`; what an option answers, and with --yes everything, is not asked."""

import os
from collections.abc import Callable
from pathlib import Path

import click

from service.cli.credentials import VARIABLES, session_of
from service.cli.init.plan import account_problem, valid_account_name
from service.cli.options import DEFAULT_CONFIG
from service.cli.paste import paste
from service.licenses.auth import new_key
from service.licenses.store import check

_ACCOUNT, _NOTHING = "account", "nothing"
_HAVE = f"""
What do you have?
  {_ACCOUNT}  a Google account that uses gemini.google.com
  {_NOTHING}  nothing yet: a simulator makes the answers up"""
_HOW = """
Sign in at https://gemini.google.com with that account, in a private window. Open the developer tools (F12),
Application (Firefox: Storage), Cookies: needed are __Secure-1PSID and __Secure-1PSIDTS. Then close the window
without signing out.
"""
_PASTE = """\
Paste both values, one a line; or a Cookie header; or an extension's export. End with an empty line.
What you paste is not shown."""


class Answers:
    """What the options say, and what is asked for where they say nothing."""

    def __init__(self, *, asks: bool, replaces: bool) -> None:
        """Ask, or take defaults; write over what is there, or not."""
        self._asks, self._replaces = asks, replaces

    def path(self, given: Path | None) -> Path:
        """Return where to write the settings: over what is there only where that was said."""
        path = given or Path(self._text("Where shall the settings be?", str(DEFAULT_CONFIG))).expanduser()
        if path.is_dir():
            path /= DEFAULT_CONFIG
        if path.exists() and not self._replaces:
            if not self._asks:
                message = f"{path} is there already; --replace writes another, and keeps that one beside it"
                raise click.ClickException(message)
            click.confirm(f"{path} is there already. Write another, and keep that one beside it?", abort=True)
        return path

    def account(self, given: str | None, file: Path | None) -> tuple[str, str] | None:
        """Return an account's name and what signs its requests, None where there is no account."""
        variables = [value for value in map(os.environ.get, VARIABLES) if value]
        if file is None and not variables and not self._has_account():
            return None
        name = given or self._text("The account's name", "first", valid_account_name)
        if file is not None or variables:
            session = (
                session_of(file, stdin=False, psid=None, psidts=None) if file is not None else "\n".join(variables)
            )
            if wrong := account_problem(name, session):
                raise click.ClickException(wrong)
            return name, session
        return name, _ask_session(name)

    def license(self, given: str | None) -> str:
        """Return the name of the first license."""
        return given or self._text("Whom is the first license for?", "me", _valid_license_name)

    def may_change(self, account: str) -> bool:
        """Say whether an account that is there may be given another session."""
        return self._replaces or (
            self._asks and click.confirm(f"There is an account {account} already. Give it this session?", default=True)
        )

    def _has_account(self) -> bool:
        if not self._asks:
            raise click.UsageError(f"with --yes, say --simulator or --cookies-file, or set {' and '.join(VARIABLES)}")
        click.echo(_HAVE)
        return click.prompt("You have", type=click.Choice([_ACCOUNT, _NOTHING]), default=_ACCOUNT) == _ACCOUNT

    def _text(self, question: str, default: str, fit: Callable[[str], str] = str) -> str:
        """Return what is answered: asked for again while `fit` raises ValueError."""

        def checked(text: str) -> str:
            try:
                return fit(text)
            except ValueError as error:
                raise click.UsageError(str(error)) from None

        return click.prompt(question, default=default, value_proc=checked) if self._asks else default


def _valid_license_name(name: str) -> str:
    """Return the name of a license as it is, LicenseError where it is none."""
    check(name, new_key())
    return name


def _ask_session(name: str) -> str:
    """Ask until there is a session."""
    click.echo(_HOW)
    while True:
        file: str = click.prompt("A file with the cookies (empty: paste them)", default="", show_default=False)
        try:
            session = (
                session_of(Path(file).expanduser(), stdin=False, psid=None, psidts=None) if file else paste(_PASTE)
            )
            wrong = account_problem(name, session)
        except click.ClickException as error:
            wrong = error.message
        else:
            if wrong is None:
                return session
        click.echo(f"{wrong}. Once more:", err=True)
