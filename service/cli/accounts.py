"""`gemini-gateway accounts`: manage accounts, whether a gateway is running or not."""

import getpass
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from protocol.model import Capability
from service import wiring
from service.accounts.offline import transport_opener, trial_opener
from service.accounts.service import AccountError, AccountService, NewAccountRequest, account_type_of, transport_for
from service.accounts.trial import OpenTrial, Trial
from service.accounts.views import AccountStatus, AccountView
from service.cli.account_table import account_details, account_notes, accounts_table, console, finding_line
from service.cli.credentials import read_credential, read_to_recognize
from service.cli.many_accounts import entries_of
from service.cli.options import ResultT, config_option, settings_at, store_path_of
from service.server.hypercorn import run_loop
from service.storage.factory import location_of, open_local_replica, open_store
from service.telemetry import logs
from transports.account import Finding, Level
from transports.accounts.registry import AddResult
from transports.clock import SystemClock
from transports.store import StoreDown

CHECK = "gemini-gateway accounts check"
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_account = click.argument("account", metavar="ID")


@click.group("accounts")
def accounts() -> None:
    """Add, list, check, pause and remove accounts.

    Running gateways apply changes within two seconds.
    """


def _transport_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that the transports declare for their accounts."""
    kinds = [kind.accounts for kind in wiring.TRANSPORTS.values() if kind.accounts is not None]
    helps = {option.name: option.help for kind in kinds for option in kind.options}
    for name, text in helps.items():
        command = click.option(f"--{name.replace('_', '-')}", name, help=text)(command)
    for part in (part for kind in kinds for part in kind.parts):
        command = click.option(f"--{part.option}", envvar=part.variable, show_envvar=True, help=part.help)(command)
    return command


@accounts.command("add")
@click.argument("account", metavar="ID", required=False)
@click.option("--from", "source", type=click.Path(path_type=Path, exists=True), help="File or folder of many accounts.")
@click.option("--no-check", is_flag=True, help="Keep it without a check.")
@click.option("--transport", help="Name of the transport in the settings; default: by the credential's form.")
@click.option("--secret-file", type=click.Path(path_type=Path), help="File with the credential, such as cookies.")
@click.option("--secret-stdin", is_flag=True, help="Read the credential from standard input.")
@click.option("--concurrency", type=click.IntRange(1), help="Concurrency limit over all processes.")
@click.option("--weight", type=click.FloatRange(0, min_open=True), help="Share of the load, relative to others.")
@click.option("--per-minute", type=click.IntRange(0), help="Rate limit over all processes; 0: no limit.")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    type=click.Choice([capability.value for capability in Capability]),
    help="Allowed capability; repeatable; default: all.",
)
@click.option("--tag", "tags", multiple=True, help="Word to find the account by; repeatable.")
@click.option("--note", help="Note for operators.")
@_transport_options
@click.option("--replace", is_flag=True, help="Replace the account if it exists.")
@config_option
def add_account(
    account: str | None, source: Path | None, config_path: Path | None, *, no_check: bool, **given: Any
) -> None:
    """Add an account, after a check, or many.

    Prompts for its credential unless --secret-file, --secret-stdin or an option with the credential is given.
    """
    if (account is None) is (source is None):
        raise click.UsageError("give either an account id or --from")
    requests = [request_of(account, config_path, **given)] if account else requests_from(source, config_path, **given)
    _, settings, origin = settings_at(config_path)
    opener = None if no_check else trial_opener(wiring.transport_settings(settings, origin), SystemClock())
    refused = with_accounts(config_path, lambda service: add_each(service, requests, opener), writes=True)
    if len(requests) == 1 and refused:
        raise click.ClickException(refused[0])
    if source is not None:
        click.echo(f"Added {len(requests) - len(refused)} of {len(requests)} accounts.")
    sys.exit(1 if refused else 0)


async def add_each(
    service: AccountService, requests: Sequence[NewAccountRequest], opener: OpenTrial | None
) -> list[str]:
    """Add accounts, print the problems that their checks find, and return why some were refused."""
    refused: list[str] = []
    errors = Console(stderr=True, highlight=False)

    def report(finding: Finding) -> None:
        if finding.level is not Level.OK:
            errors.print(finding_line(finding))

    trial = None if opener is None else Trial(open=opener, report=report)
    for request in requests:
        try:
            added = await service.add(request, by=current_user(), trial=trial)
        except AccountError as error:
            refused.append(str(error))
            if len(requests) > 1:
                errors.print(f"[red]✗[/] {escape(request.id)}: {escape(str(error))}")
            continue
        changed = "Changed" if added is AddResult.CHANGED else "Added"
        click.echo(f"{changed} {request.id}; running gateways will use it now.")
        if len(requests) == 1:
            click.echo(f"Next: {CHECK} {request.id}")
    return refused


def requests_from(source: Path | None, config_path: Path | None, **given: Any) -> list[NewAccountRequest]:
    """Return the accounts of a file or folder, with the options that are given for all of them."""
    _, settings, origin = settings_at(config_path)
    configs = wiring.transport_settings(settings, origin)
    if given["secret_file"] or given["secret_stdin"]:
        raise click.UsageError("give only one of --from, --secret-file and --secret-stdin")
    replace, options = given["replace"], _options_of(given)
    types = [wiring.TRANSPORTS[name].accounts for name in configs]

    def recognizes(text: str) -> bool:
        return any(one is not None and one.recognizes(text) for one in types)

    return [
        NewAccountRequest(
            id=entry.id,
            secret=entry.secret,
            transport=given["transport"] or entry.transport,
            options={**options, **entry.options},
            replace=replace,
        )
        for entry in entries_of(source or Path(), recognizes)
    ]


def _options_of(given: Mapping[str, Any]) -> dict[str, Any]:
    parts = {part.option for kind in wiring.TRANSPORTS.values() if kind.accounts for part in kind.accounts.parts}
    others = {"secret_file", "secret_stdin", "transport", "replace", *parts}
    return {name: value for name, value in given.items() if name not in others and value not in (None, ())}


def request_of(account: str, config_path: Path | None, **given: Any) -> NewAccountRequest:
    """Return the account whose credential is in a file, an option or the input; ask for it otherwise."""
    file, stdin, transport = given["secret_file"], given["secret_stdin"], given["transport"]
    parts = {part.option for kind in wiring.TRANSPORTS.values() if kind.accounts for part in kind.accounts.parts}
    values = {name: given[name] for name in parts}
    _, settings, origin = settings_at(config_path)
    configs = wiring.transport_settings(settings, origin)
    first: str | None = None
    if transport is None and sum(wiring.TRANSPORTS[name].accounts is not None for name in configs) > 1:
        transport = _transport_of_option(configs, values)
        if not transport:
            first = read_to_recognize(file, stdin=stdin)
            transport = transport_for(configs, first or "")
    try:
        transport, account_type, _ = account_type_of(configs, transport or "")
    except AccountError as error:
        raise click.ClickException(str(error)) from None
    secret = read_credential(account_type, file, values, stdin=stdin, first=first)
    options = _options_of(given)
    return NewAccountRequest(id=account, secret=secret, transport=transport, options=options, replace=given["replace"])


def _transport_of_option(configs: Mapping[str, Any], values: Mapping[str, str | None]) -> str:
    """Return the transport whose credential was given by an option of its own; empty: none was."""
    types = ((name, wiring.TRANSPORTS[name].accounts) for name in configs)
    given = [name for name, one in types if one and any(values.get(part.option) for part in one.parts)]
    return given[0] if len(given) == 1 else ""


@accounts.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in AccountStatus]),
    help="Only accounts in this state; repeatable.",
)
@click.option("--tag", "tags", multiple=True, help="Only accounts with this tag; repeatable: all of them.")
@click.option("--search", default="", help="Only accounts whose id, tags or note contain this text.")
@_json_option
@config_option
def list_accounts(config_path: Path | None, *, as_json: bool, **wanted: Any) -> None:
    """List accounts with state, load and quota."""
    every = with_accounts(config_path, lambda service: service.list_accounts())
    rows = [row for row in every if row.matches(**wanted)]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)))
        return
    out = console()
    if not rows:
        none = "There are no accounts. Add one: gemini-gateway accounts add ID"
        out.print(f"None of {len(every)} accounts match." if every else none)
        return
    out.print(accounts_table(rows, SystemClock().wall(), out.width))
    for note in account_notes(rows):
        out.print(f"\n{note}")


@accounts.command("show")
@_account
@_json_option
@config_option
def show_account(account: str, config_path: Path | None, *, as_json: bool) -> None:
    """Show an account's details (no secrets)."""
    row = with_accounts(config_path, lambda service: service.get_account(account))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(row)))
        return
    for name, value in account_details(row, SystemClock().wall()):
        click.echo(f"{name + ':':<15}{value}")


@accounts.command("check")
@click.argument("account", metavar="ID", required=False)
@click.option("--all", "every", is_flag=True, help="Check all accounts.")
@config_option
def check_account(account: str | None, config_path: Path | None, *, every: bool) -> None:
    """Check that an account works.

    Tests each step without sending a prompt and gives advice on problems.
    """
    if (account is None) is not every:
        raise click.UsageError("give either an account id or --all")

    async def work(service: AccountService) -> bool:
        names = [account] if account is not None else [row.id for row in await service.list_accounts()]
        out, passed = console(), True
        for name in names:
            out.print(f"[bold]{name}[/]")
            async for finding in service.check(name):
                out.print(finding_line(finding))
                passed = passed and finding.level is not Level.FAILED
        return passed

    sys.exit(0 if with_accounts(config_path, work) else 1)


@accounts.command("pause")
@_account
@click.option("--reason", default="", help="Reason shown in the list.")
@config_option
def pause_account(account: str, reason: str, config_path: Path | None) -> None:
    """Stop sending requests to an account.

    Open requests continue. `accounts resume` ends the pause.
    """
    with_accounts(config_path, lambda service: service.pause(account, by=current_user(), reason=reason), writes=True)
    click.echo(f"Paused {account}.")


@accounts.command("resume")
@_account
@config_option
def resume_account(account: str, config_path: Path | None) -> None:
    """Resume an account: end pause and cooldowns.

    Also clears the state "needs attention".
    """

    async def work(service: AccountService) -> tuple[AccountView, bool]:
        before = await service.get_account(account)
        return before, await service.resume(account, by=current_user())

    before, resumed = with_accounts(config_path, work, writes=True)
    if not resumed:
        click.echo(f"{account} was neither paused, cooling down nor in need of attention.")
        return
    cooldowns = ", ".join(one.subject for one in before.cooldowns)
    click.echo(f"Resumed {account}" + (f"; its cooldowns have ended: {cooldowns}." if cooldowns else "."))
    if before.state is AccountStatus.NEEDS_ATTENTION:
        click.echo(f"It needed attention: {before.reason}. See whether it works now: {CHECK} {account}")


@accounts.command("remove")
@_account
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def remove_account(account: str, config_path: Path | None, *, yes: bool) -> None:
    """Remove an account and its session."""
    if not yes:
        click.confirm(f"Remove {account} and its session?", abort=True, err=True)
    with_accounts(config_path, lambda service: service.remove(account, by=current_user()), writes=True)
    click.echo(f"Removed {account}.")


@accounts.command("export")
@_account
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, readable only by you.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def export_account(account: str, output: Path | None, config_path: Path | None, *, yes: bool) -> None:
    """Print an account's current session.

    The session is secret: it gives full access to the account.
    """
    click.echo("warning: the session is secret: it gives full access to the account", err=True)
    if output is None and not yes and sys.stdout.isatty():
        click.confirm("Print the session to this terminal?", abort=True, err=True)
    secret = with_accounts(config_path, lambda service: service.export(account, by=current_user()), writes=True)
    if output is None:
        click.echo(secret)
        return
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)  # it may have existed with other permissions
        file.write(secret + "\n")
    click.echo(f"Wrote {output}.", err=True)


def current_user() -> str:
    """Return the user and host that run the command, for logs and the feed."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"cli:{user}@{socket.gethostname()}"


def with_accounts(
    config_path: Path | None,
    work: Callable[[AccountService], Awaitable[ResultT]],
    *,
    writes: bool = False,
) -> ResultT:
    """Run `work` on the accounts and return its result; report an error in one line."""
    path, settings, origin = settings_at(config_path)
    log = settings.log if writes else msgspec.structs.replace(settings.log, level="error")
    logs.configure(log)
    configs, clock, done = wiring.transport_settings(settings, origin), SystemClock(), list[ResultT]()
    store_path = store_path_of(settings, path)

    async def main() -> None:
        async with (
            open_store(settings.store, origin, store_path, clock) as store,
            open_local_replica(settings.store, origin, store_path, clock) as copy,
        ):
            opener = transport_opener(configs, store, clock, copy)
            catalogue = wiring.build_catalogue(settings, origin)
            done.append(await work(AccountService(configs, store.records, clock, opener, catalogue)))

    try:
        run_loop(main, "asyncio")
    except AccountError as error:
        raise click.ClickException(str(error)) from None
    except StoreDown as error:
        raise click.ClickException(f"{error}; check that the store is running") from None
    except OSError as error:
        where = location_of(settings.store, origin, store_path)
        raise click.ClickException(f"{where} is unavailable: {error.strerror or error}") from None
    return done[0]
