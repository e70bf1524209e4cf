"""The command `gemini-gateway`: arguments and settings in, a running server or an exit status out."""

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from protocol.model import Feature
from service import logs, wiring
from service.app import open_stores
from service.book import License, LicenseBook, LicenseError
from service.book import check as check_license
from service.check import check
from service.licenses import new_key
from service.server import Overseer, Tls, listen, run, run_app, url_of
from service.settings import Drain, Fetch, LicenseSetting, Log, Server, Settings, load
from service.show import shown
from service.source import Origin, SettingsError, origin_of
from service.workers import BAD_SETTINGS, Workers
from transports.clock import SystemClock
from transports.simulator import SimulatedAccount, SimulatorConfig, create_site, export_of, with_accounts
from transports.simulator.config import Pace

_CONFIG_VARIABLE = "GEMINI_GATEWAY_CONFIG"
_DEFAULT_CONFIG = Path("gateway.toml")
_DEMO_LICENSE = "demo"
_PLANS = ("free", "plus", "pro", "advanced")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar=_CONFIG_VARIABLE,
    help=f"The settings file; by default {_DEFAULT_CONFIG} in this folder, where there is one.",
)


def main() -> None:
    """Run the command; settings that are wrong end it with status 78 and one line."""
    try:
        cli()
    except SettingsError as error:
        click.echo(f"gemini-gateway: {error}", err=True)
        sys.exit(BAD_SETTINGS)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"gemini-gateway: {where}{error.strerror or error}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gemini-gateway")
def cli() -> None:
    """An OpenAI-compatible gateway to Google Gemini."""


@cli.command()
@config_option
@click.option("--host", help="Listen here instead of where the settings say.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port instead of the settings'.")
@click.option("--fd", type=int, hidden=True)
@click.option("--parent", type=int, hidden=True)
def serve(config_path: Path | None, host: str | None, port: int | None, **inherited: int | None) -> None:
    """Run the gateway."""
    path, settings, origin = _settings(config_path)
    logs.configure(settings.log)
    store_path = _store_path(settings, path)
    check(settings, origin, store_path)
    server = settings.server
    fd, parent = inherited["fd"], inherited["parent"]
    if fd is not None and parent is not None:
        overseer = Overseer(lambda: None, socket.socket(fileno=parent))
        run(settings, origin=origin, store_path=store_path, listening=socket.socket(fileno=fd), overseer=overseer)
        return
    listening = _listen(host or server.host, server.port if port is None else port, server.backlog)
    started = _announcing(url_of(listening))
    if server.workers == 1:
        run(settings, origin=origin, store_path=store_path, listening=listening, overseer=Overseer(started))
        return
    with open_stores(store_path, SystemClock()):
        pass  # made, or found broken, before the workers want it
    command = [sys.executable, "-m", "service", "serve", *(["--config", str(path)] if path is not None else [])]
    sys.exit(Workers(command, listening, server.workers, started).run())


def _announcing(url: str) -> Callable[[], None]:
    return lambda: click.echo(f"Listening on {url}", err=True)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Listen on this port.")
@click.option("--license-key", help="The license key to accept; by default a new one.")
def demo(host: str, port: int, license_key: str | None) -> None:
    """Run the gateway with the embedded simulator as its upstream: nothing to set up, nothing is kept."""
    key = license_key or new_key()
    try:
        check_license(_DEMO_LICENSE, key)
    except LicenseError as error:
        raise click.BadParameter(str(error), param_hint="--license-key") from None
    settings = Settings(
        server=Server(host=host, port=port),
        fetch=Fetch(enabled=True),
        drain=Drain(grace_seconds=5.0),
        log=Log(),
        licenses=(LicenseSetting(id=_DEMO_LICENSE, key=key),),
        transports={"simulator": {}},
    )
    logs.configure(settings.log)
    listening = _listen(host, port, settings.server.backlog)
    base = f"{url_of(listening)}{settings.server.prefix}/v1"

    def started() -> None:
        body = '{"model": "gemini-3-pro", "messages": [{"role": "user", "content": "Hello!"}]}'
        click.echo(f"Base URL:    {base}")
        click.echo(f"License key: {key}")
        click.echo("The answers are simulated; Ctrl-C ends it. Try:\n")
        headers = f"-H 'Authorization: Bearer {_quoted(key)}' -H 'Content-Type: application/json'"
        click.echo(f"curl {base}/chat/completions {headers} -d '{body}'\n")

    with tempfile.TemporaryDirectory(prefix="gemini-gateway-demo-") as folder:
        store_path = Path(folder) / "gateway.sqlite3"
        overseer = Overseer(started)
        run(settings, origin=origin_of(None), store_path=store_path, listening=listening, overseer=overseer)


def _quoted(text: str) -> str:
    """Return a text for use inside a shell's single quotes."""
    return text.replace("'", "'\\''")


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Listen on this port.")
@click.option("--tls", is_flag=True, help="Speak TLS, with a certificate signed by itself.")
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="PSID:PSIDTS:PLAN[:QUOTA]",
    help=f"An account that the site knows; plans are {', '.join(_PLANS)}, the quota is in answers. Repeatable.",
)
@click.option("--first-token-seconds", default=0.2, show_default=True, help="The wait before an answer.")
@click.option("--tokens-per-second", default=60.0, show_default=True, help="How fast answers come; 0: at once.")
@click.option("--chunk-bytes", default=0, show_default=True, help="Cut bodies into chunks of so many bytes.")
def simulate(host: str, port: int, *, tls: bool, accounts: tuple[str, ...], **pace: float) -> None:
    """Run the simulated Gemini site alone, for a gateway or a test to talk to."""
    logs.configure(Log())
    known = tuple(_account(text) for text in accounts)
    config = with_accounts(SimulatorConfig(accounts=known, pace=msgspec.convert(pace, Pace)))
    listening = _listen(host, port, 2048)
    url = url_of(listening, "https" if tls else "http")
    with tempfile.TemporaryDirectory(prefix="gemini-gateway-simulator-") as folder:
        clock = SystemClock()
        files = None
        if tls:
            from service.certificate import write_certificate

            files = Tls(*write_certificate(Path(folder), clock.wall()))

        def started() -> None:
            click.echo(f"Base URL: {url}")
            if files is not None:
                click.echo(f"Certificate: {files.certificate}")
            for account in config.accounts:
                click.echo(f"Account ({account.plan}): {export_of(account)}")

        run_app(create_site(config, clock), listening, tls=files, started=started)


def _account(text: str) -> SimulatedAccount:
    psid, psidts, plan, quota, *more = [*text.split(":"), "", "", ""]
    if not psid or (plan or "advanced") not in _PLANS or any(more) or not (quota or "0").isdigit():
        expected = f"expected PSID:PSIDTS:PLAN[:QUOTA] with a plan of {', '.join(_PLANS)}"
        raise click.BadParameter(expected, param_hint="--account")
    tree = {"psid": psid, "psidts": psidts, "plan": plan or "advanced", "quota": int(quota or 0)}
    return msgspec.convert(tree, SimulatedAccount)


@cli.group()
def licenses() -> None:
    """Add, list and revoke licenses."""


@licenses.command("add")
@click.argument("identity", metavar="ID")
@click.option(
    "--model", "models", multiple=True, metavar="PATTERN", help="A model it may use, as gemini-3-*; repeatable."
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    type=click.Choice([feature.value for feature in Feature]),
    help="What it is for; repeatable; by default everything.",
)
@config_option
def add_license(identity: str, models: tuple[str, ...], features: tuple[str, ...], config_path: Path | None) -> None:
    """Add a license; its key is printed once and stored as a digest only."""
    key = new_key()
    granted = License(
        id=identity,
        models=models or ("*",),
        features=tuple(Feature(name) for name in dict.fromkeys(features)) or tuple(Feature),
        created=SystemClock().wall(),
    )
    with _book(config_path) as book:
        book.add(granted, key)
    click.echo(key)


@licenses.command("list")
@config_option
def list_licenses(config_path: Path | None) -> None:
    """List licenses, without their keys, which nobody knows."""
    with _book(config_path) as book:
        listed = book.all()
    for found in listed:
        since = datetime.fromtimestamp(found.created, UTC).isoformat(timespec="seconds")
        status = "active" if found.revoked is None else "revoked"
        click.echo(f"{found.id}\t{status}\t{since}\t{' '.join(found.models)}\t{' '.join(found.features)}")


@licenses.command("revoke")
@click.argument("identity", metavar="ID")
@config_option
def revoke_license(identity: str, config_path: Path | None) -> None:
    """Revoke a license: running gateways refuse it from now on."""
    with _book(config_path) as book:
        book.revoke(identity, SystemClock().wall())
    click.echo(f"revoked {identity}")


@cli.group("config")
def config_group() -> None:
    """Show and check the settings."""


@config_group.command("show")
@config_option
def show_config(config_path: Path | None) -> None:
    """Print the settings that hold, secrets as ***."""
    _, settings, origin = _settings(config_path)
    click.echo(shown(settings, wiring.transport_settings(settings, origin)), nl=False)


@config_group.command("check")
@config_option
def check_config(config_path: Path | None) -> None:
    """Say whether `serve` would start with the settings; nothing is asked of any site."""
    path, settings, origin = _settings(config_path)
    check(settings, origin, _store_path(settings, path))
    click.echo(f"{origin.name}: ok")


def _settings(path: Path | None) -> tuple[Path | None, Settings, Origin]:
    if path is None and _DEFAULT_CONFIG.exists():
        path = _DEFAULT_CONFIG
    return path, load(path, os.environ), origin_of(path, os.environ)


def _store_path(settings: Settings, path: Path | None) -> Path:
    if path is not None:
        return path.absolute().parent / settings.store.path
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "gemini-gateway" / settings.store.path


@contextmanager
def _book(config_path: Path | None) -> Generator[LicenseBook]:
    """Open the book of licenses; what goes wrong with it is told in one line."""
    path, settings, _ = _settings(config_path)
    store_path = _store_path(settings, path)
    try:
        book = LicenseBook(store_path)
        try:
            yield book
        finally:
            book.close()
    except LicenseError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise SettingsError(f"store.path: {store_path}: {error.strerror or error}") from None


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    try:
        return listen(host, port, backlog)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
