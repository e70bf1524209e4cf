"""The command `gemini-gateway`: arguments and settings in, a running server or an exit status out."""

import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from service import logs, wiring
from service.accounts.command import accounts
from service.begin.command import init
from service.begin.following import curl_line
from service.book import LicenseError
from service.book import check as check_license
from service.check import check
from service.completion import completion
from service.doctor import doctor
from service.licenses import new_key
from service.licensing import licenses
from service.listeners import API, addresses, announcement, inherited
from service.place import config_option, settings_at, store_path_of
from service.probe import probe
from service.server import Overseer, Tls, listen, run, run_app, run_loop, url_of
from service.settings import Drain, Fetch, LicenseSetting, Log, Server, Settings
from service.show import shown
from service.source import Origin, SettingsError, origin_of
from service.stores import StoreAway, location_of, open_store
from service.storing import store
from service.survey import Survey, say, survey
from service.workers import BAD_SETTINGS, Workers
from transports import simulator
from transports.clock import SystemClock

_DEMO_LICENSE = "demo"


def main() -> None:
    """Run the command; settings that are wrong end it with status 78 and one line, a store that is away with 1."""
    try:
        cli()
    except SettingsError as error:
        click.echo(f"gemini-gateway: {error}", err=True)
        sys.exit(1 if isinstance(error, StoreAway) else BAD_SETTINGS)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"gemini-gateway: {where}{error.strerror or error}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="gemini-gateway")
def cli() -> None:
    """An OpenAI-compatible gateway to Google Gemini."""


cli.add_command(accounts)
cli.add_command(completion)
cli.add_command(doctor)
cli.add_command(init)
cli.add_command(licenses)
cli.add_command(store)


@cli.command()
@config_option
@click.option("--host", help="Listen here instead of where the settings say.")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port instead of the settings'.")
@click.option("--fd", "fds", multiple=True, hidden=True)
@click.option("--parent", type=int, hidden=True)
def serve(config_path: Path | None, host: str | None, port: int | None, **handed: Any) -> None:
    """Run the gateway."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # one that comes before all is open has nothing to take over
    path, settings, origin = settings_at(config_path)
    logs.configure(settings.log)
    store_path = store_path_of(settings, path)
    check(settings, origin, store_path)
    server = settings.server
    if handed["fds"] and handed["parent"] is not None:
        listening, parent = inherited(handed["fds"]), socket.socket(fileno=handed["parent"])
        overseer = Overseer(lambda: None, parent)
        run(settings, origin=origin, store_path=store_path, listening=listening, overseer=overseer)
        return
    wanted = addresses(settings, host, port)
    listening = {name: _listen(*address, server.backlog) for name, address in wanted.items()}
    started = _announcing({name: url_of(one) for name, one in listening.items()})
    greet = partial(say, log=settings.log)
    if server.workers == 1:
        overseer = Overseer(started, greet=greet)
        run(settings, origin=origin, store_path=store_path, listening=listening, overseer=overseer)
        return
    run_loop(lambda: _make_store(settings, origin, store_path, greet), "asyncio")
    command = [sys.executable, "-m", "service", "serve", *(["--config", str(path)] if path is not None else [])]
    sys.exit(Workers(command, listening, server.workers, started).run())


async def _make_store(settings: Settings, origin: Origin, path: Path, greet: Callable[[Survey], None]) -> None:
    """Have the store made, or found broken, before the workers want it, and tell what there is."""
    clock = SystemClock()
    async with open_store(settings.store, origin, path, clock) as opened:
        greet(await survey(settings, origin, location_of(settings.store, origin, path), opened, clock))


def _announcing(urls: Mapping[str, str]) -> Callable[[], None]:
    def started() -> None:
        for name, url in urls.items():
            click.echo(announcement(name, url), err=True)

    return started


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Listen on this port.")
@click.option("--license-key", help="The license key to accept; by default a new one.")
@click.option("--simulator-port", type=click.IntRange(1, 65535), help="Loopback port of the simulated site.")
def demo(host: str, port: int, license_key: str | None, simulator_port: int | None) -> None:
    """Run the gateway with the embedded simulator as its upstream: nothing to set up, nothing is kept."""
    key = license_key or new_key()
    try:
        check_license(_DEMO_LICENSE, key)
    except LicenseError as error:
        raise click.BadParameter(str(error), param_hint="--license-key") from None
    site_port = simulator_port or _free_port()
    settings = Settings(
        server=Server(host=host, port=port),
        fetch=Fetch(enabled=True),
        drain=Drain(grace_seconds=5.0),
        log=Log(),
        licenses=(LicenseSetting(id=_DEMO_LICENSE, key=key),),
        transports={"simulator": {"port": site_port}},
    )
    logs.configure(settings.log)
    listening = _listen(host, port, settings.server.backlog)
    base = f"{url_of(listening)}{settings.server.prefix}/v1"

    def started() -> None:
        click.echo(f"Base URL:    {base}")
        click.echo(f"License key: {key}")
        click.echo(f"Simulator:   http://127.0.0.1:{site_port}/simulator/state")
        click.echo("The answers are simulated; Ctrl-C ends it. Try:\n")
        click.echo(f"{curl_line(base, key)}\n")

    with tempfile.TemporaryDirectory(prefix="gemini-gateway-demo-") as folder:
        store_path = Path(folder) / "gateway.sqlite3"
        overseer = Overseer(started)
        run(settings, origin=origin_of(None), store_path=store_path, listening={API: listening}, overseer=overseer)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Listen on this port.")
@click.option("--tls", is_flag=True, help="Speak TLS, with a self-signed certificate.")
@click.option("--tls-name", "tls_names", multiple=True, help="A host name in the certificate. Repeatable.")
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="PSID:PSIDTS:PLAN[:QUOTA[:STATUS]]",
    help=f"An account of the site; plans are {', '.join(simulator.PLANS)}, the quota is in answers. Repeatable.",
)
@click.option(
    "--profile",
    type=click.Choice(simulator.PROFILES),
    default="site",
    show_default=True,
    help="strict: refuse what this gateway's own client should not send.",
)
@click.option(
    "--page-token",
    type=click.Choice(simulator.PAGE_TOKENS),
    default="SNlM0e",
    show_default=True,
    help="The key of the access token in /app.",
)
@click.option("--first-token-seconds", default=0.2, show_default=True, help="The wait before an answer.")
@click.option("--tokens-per-second", default=60.0, show_default=True, help="How fast answers come; 0: at once.")
@click.option("--chunk-bytes", default=0, show_default=True, help="Cut bodies into chunks of so many bytes.")
@click.option("--grace-seconds", default=60.0, show_default=True, help="How long a rotated cookie's old value works.")
@click.option("--rotation-gap-seconds", default=60.0, show_default=True, help="Nearer rotations are answered 429.")
def simulate(
    host: str,
    port: int,
    *,
    tls: bool,
    tls_names: tuple[str, ...],
    accounts: tuple[str, ...],
    **options: Any,
) -> None:
    """Run the simulated Gemini site alone, for a gateway or a test to talk to."""
    if not tls and tls_names:
        raise click.UsageError("--tls-name needs --tls.")
    logs.configure(Log())
    known = tuple(_account(text) for text in accounts)
    pace = {name: options.pop(name) for name in simulator.Pace.__struct_fields__ if name in options}
    config = msgspec.convert({"pace": pace, **options}, simulator.SimulatorConfig)
    config = simulator.with_accounts(msgspec.structs.replace(config, accounts=known))
    listening = _listen(host, port, 2048)
    url = url_of(listening, "https" if tls else "http")
    with tempfile.TemporaryDirectory(prefix="gemini-gateway-simulator-") as folder:
        clock = SystemClock()
        files = _certificate(Path(folder), clock.wall(), tls_names) if tls else None

        def started() -> None:
            click.echo(f"Base URL: {url}")
            if files is not None:
                click.echo(f"Certificate: {files.certificate}")
            for account in config.accounts:
                click.echo(f"Account ({account.plan}): {simulator.export_of(account)}")

        run_app(simulator.create_site(config, clock), listening, tls=files, started=started)


def _certificate(folder: Path, now: float, names: tuple[str, ...]) -> Tls:
    from service.certificate import write_certificate

    try:
        return Tls(*write_certificate(folder, now, names))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--tls-name") from None


def _account(text: str) -> simulator.SimulatedAccount:
    try:
        return simulator.read_account(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--account") from None


@cli.command("probe")
@click.argument("url")
def probe_url(url: str) -> None:
    """Ask a probe's URL, as http://127.0.0.1:9090/livez; exit with 0 if it answers 200 within two seconds."""
    sys.exit(probe(url))


@cli.group("config")
def config_group() -> None:
    """Show and check the settings."""


@config_group.command("show")
@config_option
def show_config(config_path: Path | None) -> None:
    """Print the settings that hold, secrets as ***."""
    _, settings, origin = settings_at(config_path)
    click.echo(shown(settings, wiring.transport_settings(settings, origin)), nl=False)


@config_group.command("check")
@config_option
def check_config(config_path: Path | None) -> None:
    """Say whether `serve` would start with the settings; nothing is asked of any site."""
    path, settings, origin = settings_at(config_path)
    check(settings, origin, store_path_of(settings, path))
    click.echo(f"{origin.name}: ok")


def _free_port() -> int:
    """Return a loopback port that is free just now."""
    with _listen("127.0.0.1", 0, 1) as listening:
        return int(listening.getsockname()[1])


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    try:
        return listen(host, port, backlog)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
