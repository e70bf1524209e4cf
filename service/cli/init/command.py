"""The command `gemini-gateway init`: asks what there is, sets it up, tests it and says what comes next."""

import sys
from pathlib import Path

import click
from rich.markup import escape

from service.accounts.service import AccountError
from service.cli.account_table import console, finding_line
from service.cli.accounts import current_user
from service.cli.init.apply import SetupResult, apply, check_account
from service.cli.init.next_steps import base_url, command_line, curl_line
from service.cli.init.plan import SetupPlan
from service.cli.init.prompts import Answers
from service.cli.options import CONFIG_VARIABLE, DEFAULT_CONFIG
from service.config.schema import Log
from service.licenses.store import LicenseError
from service.telemetry import logs


@click.command("init")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar=CONFIG_VARIABLE,
    help=f"Write the settings here; by default {DEFAULT_CONFIG} in this folder.",
)
@click.option("--simulator", is_flag=True, help="There is no account yet: have a simulator make the answers up.")
@click.option(
    "--cookies-file",
    type=click.Path(path_type=Path),
    help="An account's Cookie header, or a browser's JSON or Netscape export.",
)
@click.option("--account", help="The account's name; by default first.")
@click.option("--license", "license_id", help="Whom the first license is for; by default me.")
@click.option("--replace", is_flag=True, help="Replace the settings, and the account of this name, that are there.")
@click.option("--yes", is_flag=True, help="Ask nothing: take what the options say, and the defaults.")
def init(
    config_path: Path | None, cookies_file: Path | None, *, simulator: bool, yes: bool, **given: str | None
) -> None:
    """Set up a gateway: ask what you have, write the settings, test them, and say what comes next.

    The session may come from the variables GEMINI_GATEWAY_PSID and GEMINI_GATEWAY_PSIDTS too.
    """
    if simulator and cookies_file is not None:
        raise click.UsageError("give one of --simulator and --cookies-file")
    logs.configure(Log(level="error"))
    answers = Answers(asks=not yes, replaces=bool(given["replace"]))
    path = answers.path(config_path)
    account = None if simulator else answers.account(given["account"], cookies_file)
    name, session = account or ("", None)
    plan = SetupPlan(path=path, license=answers.license(given["license_id"]), account=name, session=session)
    try:
        made = apply(plan, current_user(), answers.may_change)
        _print_result(made)
        well = session is None or _print_check(made, name)
    except (AccountError, LicenseError) as error:
        raise click.ClickException(str(error)) from None
    _print_next_steps(made, simulated=session is None)
    sys.exit(0 if well else 1)


def _print_result(made: SetupResult) -> None:
    """Say what was done; the key before anything can go wrong, since nobody can ask for it again."""
    kept = f" What was there before is in {made.previous}." if made.previous else ""
    click.echo(f"\nWrote {made.target.path}, and checked it.{kept}")
    click.echo(f"License {made.license}: {made.key}")
    click.echo("Keep the key: it is not shown again.")


def _print_check(made: SetupResult, account: str) -> bool:
    """Show an examination; say whether nothing failed."""
    out = console()
    out.print(f"\n[bold]{escape(account)}[/]")
    well = check_account(made.target, account, lambda finding: out.print(finding_line(finding)))
    if not well:
        path = made.target.path
        click.echo("\nAll is set up, but the account does not work yet. Check it again when that is mended; the second")
        click.echo("line gives it other cookies:\n")
        click.echo(f"  {command_line(path, 'accounts', 'check', account)}")
        click.echo(f"  {command_line(path, 'accounts', 'add', account, '--replace')}")
    return well


def _print_next_steps(made: SetupResult, *, simulated: bool) -> None:
    path = made.target.path
    click.echo(f"\nNext:\n\n  {command_line(path, 'serve')}\n\nand in another terminal:\n")
    click.echo(f"  {curl_line(base_url(made.target.settings.server), made.key)}")
    if simulated:
        click.echo("\nA simulator makes the answers up. When you have an account:\n")
        click.echo(f"  {command_line(path, 'init', '--replace')}")
