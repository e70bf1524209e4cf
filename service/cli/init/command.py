"""`gemini-gateway init`: ask for an account, set up a gateway, test it and print the next steps."""

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
from service.config.schema import LogSettings
from service.licenses.store import LicenseError
from service.telemetry import logs


@click.command("init")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar=CONFIG_VARIABLE,
    help=f"Settings file to write; default: {DEFAULT_CONFIG} in this folder.",
)
@click.option("--simulator", is_flag=True, help="Use simulated answers instead of an account.")
@click.option(
    "--cookies-file",
    type=click.Path(path_type=Path),
    help="File with the cookies, in any form that a browser's tools and extensions copy.",
)
@click.option("--key-file", type=click.Path(path_type=Path), help="File with a key of the Gemini API.")
@click.option("--account", help="Name of the account; default: first. With both, the key's ends in -key.")
@click.option("--license", "license_id", help="Name of the first license; default: me.")
@click.option("--replace", is_flag=True, help="Replace existing settings and an existing account.")
@click.option("--yes", is_flag=True, help="Do not prompt; use the options and defaults.")
def init(
    config_path: Path | None,
    cookies_file: Path | None,
    key_file: Path | None,
    *,
    simulator: bool,
    yes: bool,
    **given: str | None,
) -> None:
    """Set up a gateway step by step.

    Asks for an account, a key or both, writes and tests the settings, and prints the next steps. The session can also
    come from the environment variables GEMINI_GATEWAY_PSID and GEMINI_GATEWAY_PSIDTS, a key from
    GEMINI_GATEWAY_API_KEY.
    """
    files = [file for file in (cookies_file, key_file) if file is not None]
    if simulator and files:
        raise click.UsageError("give --simulator alone, or --cookies-file, --key-file or both")
    logs.configure(LogSettings(level="error"))
    answers = Answers(asks=not yes, replaces=bool(given["replace"]))
    path = answers.path(config_path)
    accounts = () if simulator else answers.accounts(given["account"], files)
    plan = SetupPlan(path=path, license=answers.license(given["license_id"]), accounts=accounts)
    try:
        result = apply(plan, current_user(), answers.may_change)
        # the key comes before the account check, because it cannot be shown again
        previous = f" The previous settings are in {result.previous}." if result.previous else ""
        click.echo(f"\nWrote and checked {path}.{previous}")
        click.echo(f"License {result.license}: {result.key}")
        click.echo("Save the key: it is not shown again.")
        checked = [_print_check(result, account.id) for account in accounts]
    except (AccountError, LicenseError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"\nNext:\n\n  {command_line(path, 'serve')}\n\nand in another terminal:\n")
    click.echo(f"  {curl_line(base_url(result.target.settings.server), result.key)}")
    if not accounts:
        click.echo("\nThe answers are simulated. When you have an account:\n")
        click.echo(f"  {command_line(path, 'init', '--replace')}")
    sys.exit(0 if all(checked) else 1)


def _print_check(result: SetupResult, account: str) -> bool:
    """Check the account and print the findings; return whether no step failed."""
    out = console()
    out.print(f"\n[bold]{escape(account)}[/]")
    passed = check_account(result.target, account, lambda finding: out.print(finding_line(finding)))
    if not passed:
        path = result.target.path
        click.echo("\nThe gateway is set up, but the account does not work yet. Fix the problem and check it again;")
        click.echo("the second command replaces its credential:\n")
        click.echo(f"  {command_line(path, 'accounts', 'check', account)}")
        click.echo(f"  {command_line(path, 'accounts', 'add', account, '--replace')}")
    return passed
