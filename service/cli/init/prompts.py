"""The questions of `gemini-gateway init`. An option skips its question, and --yes skips all of them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from service.cli.credentials import read_file
from service.cli.init.plan import SetupAccount, account_problem, transport_of, valid_account_name
from service.cli.options import DEFAULT_CONFIG
from service.cli.paste import paste
from service.licenses.store import valid_license_id
from transports.web import ACCOUNTS

VARIABLES = [part.variable for part in ACCOUNTS.parts]
KEY_VARIABLE = "GEMINI_GATEWAY_API_KEY"
_ACCOUNT, _KEY, _BOTH, _NOTHING = "account", "key", "both", "nothing"
_HAVE = f"""
What do you have?
  {_ACCOUNT}  a Google account that uses gemini.google.com
  {_KEY}      a key of the Gemini API, from Google AI Studio
  {_BOTH}     an account and a key
  {_NOTHING}  nothing yet: use a simulator"""
_HOW = """
Sign in at https://gemini.google.com with that account in a private window. Open the developer tools (F12),
Application (Firefox: Storage), Cookies, and copy __Secure-1PSID and __Secure-1PSIDTS. Then close the window
without signing out.
"""
_PASTE = """\
Paste both values on two lines, a Cookie header, or a cookie export. End with an empty line.
The text is not shown."""


class Answers:
    """Answers from options, prompts or defaults."""

    def __init__(self, *, asks: bool, replaces: bool) -> None:
        """Prompt if `asks`, otherwise use defaults; replace existing settings if `replaces`."""
        self._asks, self._replaces = asks, replaces

    def path(self, given: Path | None) -> Path:
        """Return where to write the settings; replace existing ones only with consent."""
        path = given or Path(self._text("Path of the settings file", str(DEFAULT_CONFIG))).expanduser()
        if path.is_dir():
            path /= DEFAULT_CONFIG
        if path.exists() and not self._replaces:
            if not self._asks:
                message = f"{path} exists already; use --replace to write a new one and keep the old one as a backup"
                raise click.ClickException(message)
            click.confirm(f"{path} exists already. Write a new one and keep the old one as a backup?", abort=True)
        return path

    def accounts(self, given: str | None, files: Sequence[Path]) -> tuple[SetupAccount, ...]:
        """Return the accounts to set up, at most one for each transport; none: use the simulator."""
        secrets = [read_file(file) for file in files] or _from_environment()
        if secrets:
            name = given or self._text("Name of the account", "first", valid_account_name)
            return _named(name, secrets)
        if not self._asks:
            names = f"{' and '.join(VARIABLES)}, or {KEY_VARIABLE}"
            missing = f"give --simulator or --cookies-file or --key-file, or set {names}"
            raise click.UsageError(f"with --yes, {missing}")
        click.echo(_HAVE)
        kind = click.prompt("You have", type=click.Choice([_ACCOUNT, _KEY, _BOTH, _NOTHING]), default=_ACCOUNT)
        if kind == _NOTHING:
            return ()
        name = given or self._text("Name of the account", "first", valid_account_name)
        asked = [_ask_session(name)] if kind in {_ACCOUNT, _BOTH} else []
        asked += [_ask_key(name)] if kind in {_KEY, _BOTH} else []
        return _named(name, asked)

    def license(self, given: str | None) -> str:
        """Return the name of the first license."""
        return given or self._text("Name of the first license", "me", valid_license_id)

    def may_change(self, account: str) -> bool:
        """Return whether the session of an existing account may be replaced."""
        return self._replaces or (
            self._asks and click.confirm(f"Account {account} exists already. Replace its session?", default=True)
        )

    def _text(self, question: str, default: str, parse: Callable[[str], str] = str) -> str:
        """Return the answer; prompt again while `parse` raises ValueError."""

        def checked(text: str) -> str:
            try:
                return parse(text)
            except ValueError as error:
                raise click.UsageError(str(error)) from None

        return click.prompt(question, default=default, value_proc=checked) if self._asks else default


def _from_environment() -> list[str]:
    """Return the session and the key of the environment, if they are there."""
    session = "\n".join(value for value in map(os.environ.get, VARIABLES) if value)
    return [secret for secret in (session, os.environ.get(KEY_VARIABLE, "")) if secret]


def _named(name: str, secrets: Sequence[str]) -> tuple[SetupAccount, ...]:
    """Return accounts with names of their own.

    Raises:
        click.ClickException: one is invalid, or two are of the same kind.

    """
    accounts = tuple(
        SetupAccount(id=f"{name}-key" if number else name, secret=secret) for number, secret in enumerate(secrets)
    )
    for account in accounts:
        if wrong := account_problem(account.id, account.secret):
            raise click.ClickException(wrong)
    if len({account.transport for account in accounts}) < len(accounts):
        message = "both are of the same kind: give cookies and a key, and add others with `gemini-gateway accounts add`"
        raise click.ClickException(message)
    return accounts


def _ask_key(name: str) -> str:
    """Prompt until the key has the form of one."""
    while True:
        key: str = click.prompt("Key, which begins with AIza or AQ. (not shown)", hide_input=True)
        if transport_of(key) == transport_of("AIza-of-this-form") and not account_problem(name, key):
            return key
        click.echo("This does not have the form of a key. Try again:", err=True)


def _ask_session(name: str) -> str:
    """Prompt until the session is valid."""
    click.echo(_HOW)
    while True:
        file: str = click.prompt("File with the cookies (empty: paste them)", default="", show_default=False)
        try:
            session = read_file(Path(file).expanduser()) if file else paste(_PASTE)
            wrong = account_problem(name, session)
        except click.ClickException as error:
            wrong = error.message
        else:
            if wrong is None:
                return session
        click.echo(f"{wrong}. Try again:", err=True)
