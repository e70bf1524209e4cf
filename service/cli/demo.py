"""`gemini-gateway demo` and `simulate`: run the simulated site, behind the gateway or alone."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from service.cli.init.next_steps import curl_line
from service.cli.serve import open_listener
from service.config.loader import origin_of
from service.config.schema import (
    AdminSettings,
    LicenseSettings,
    LogSettings,
    OperationsSettings,
    ServerSettings,
    StoreSettings,
    load,
)
from service.config.secrets import KEY_BYTES
from service.gateway import Supervisor, run_gateway
from service.licenses.auth import new_key
from service.licenses.store import LicenseError, check_license
from service.server.hypercorn import TlsFiles, run_app, url_of
from service.server.listeners import API
from service.telemetry import logs
from transports import simulator
from transports.clock import SystemClock

_DEMO_LICENSE = "demo"


@click.command()
@click.option("--host", help=f"Listen here.  [default: {ServerSettings().host}]")
@click.option("--port", type=click.IntRange(0, 65535), help=f"Listen on this port.  [default: {ServerSettings().port}]")
@click.option("--license-key", help="License key to accept; default: a new one.")
@click.option("--simulator-port", type=click.IntRange(1, 65535), help="Loopback port of the simulated site.")
def demo(host: str | None, port: int | None, license_key: str | None, simulator_port: int | None) -> None:
    """Run with simulated answers, without setup.

    The gateway uses an embedded simulator as its upstream and stores nothing. Settings of the environment count, such
    as GEMINI_GATEWAY__SERVER__CORS_ORIGINS, but for those of the store, other upstreams and the admin API.
    """
    key = license_key or new_key()
    try:
        check_license(_DEMO_LICENSE, key)
    except LicenseError as error:
        raise click.BadParameter(str(error), param_hint="--license-key") from None
    given = load(None, os.environ, {"fetch": {"enabled": True}, "drain": {"grace_seconds": 5.0}})
    simulated = given.transports.get("simulator", {})
    site_port = simulator_port or simulated.get("port")
    if not site_port:
        with open_listener("127.0.0.1", 0, 1) as unused:
            site_port = int(unused.getsockname()[1])
    address = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = msgspec.structs.replace(
        given,
        server=msgspec.structs.replace(given.server, workers=1, **address),
        licenses=(LicenseSettings(id=_DEMO_LICENSE, key=key), *given.licenses),
        transports={"simulator": {**simulated, "port": site_port}},
        admin=AdminSettings(),
        operations=OperationsSettings(),
    )
    logs.configure(settings.log)
    listening = open_listener(settings.server.host, settings.server.port, settings.server.backlog)
    base = f"{url_of(listening)}{settings.server.prefix}/v1"

    def started() -> None:
        click.echo(f"Base URL:    {base}")
        click.echo(f"License key: {key}")
        click.echo(f"Simulator:   http://127.0.0.1:{site_port}/simulator/state")
        click.echo("The answers are simulated; press Ctrl-C to stop. Try:\n")
        click.echo(f"{curl_line(base, key)}\n")

    with tempfile.TemporaryDirectory(prefix="gemini-gateway-demo-") as folder:
        store_path, key_file = Path(folder) / "gateway.sqlite3", Path(folder) / "gateway.key"
        key_file.touch(0o600)
        key_file.write_text(secrets.token_urlsafe(KEY_BYTES))
        supervisor = Supervisor(started)
        run_gateway(
            msgspec.structs.replace(settings, store=StoreSettings(key_file=key_file)),
            origin=origin_of(None, os.environ),
            store_path=store_path,
            listening={API: listening},
            supervisor=supervisor,
        )


def _read_each(read: Callable[[str], object]) -> Callable[..., tuple[object, ...]]:
    """Return a callback that reads each value of an option with `read`, whose ValueError names no value."""

    def callback(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[object, ...]:
        try:
            return tuple(map(read, values))
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def _write_service_accounts(files: Iterable[Path], url: str) -> tuple[simulator.SimulatedServiceAccount, ...]:
    """Write the keys of the simulated service accounts, which get their tokens at this URL."""
    try:
        return tuple(simulator.write_service_account(file, f"{url}/token") for file in files)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--service-account") from None


def _accepted(config: simulator.SimulatorConfig, url: str) -> Iterator[str]:
    """Yield lines about the accounts and keys that a simulator accepts."""
    for account in config.accounts:
        yield f"Account ({account.plan}): {simulator.export_of(account)}"
    if config.api_keys:
        yield f"Official API: {url}/v1beta, with {len(config.api_keys)} keys"
    for account in config.service_accounts:
        yield f"Vertex AI: {url}, project {account.project}, with the service account {account.email}"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen here.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Listen on this port.")
@click.option("--tls", is_flag=True, help="Use TLS with a self-signed certificate.")
@click.option("--tls-name", "tls_names", multiple=True, help="Host name in the certificate; repeatable.")
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="PSID:PSIDTS:PLAN[:QUOTA[:STATUS]]",
    callback=_read_each(simulator.read_account),
    help=f"Account of the site; plans: {', '.join(simulator.PLANS)}; the quota counts answers; repeatable.",
)
@click.option(
    "--api-key",
    "api_keys",
    multiple=True,
    metavar="KEY[:free|paid[:PER_MINUTE[:PER_DAY]]]",
    callback=_read_each(simulator.read_key),
    help="Key of the official API, which answers at /v1beta; the quotas count requests per model; repeatable.",
)
@click.option(
    "--service-account",
    "service_accounts",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the key of a service account, for Vertex AI, to this file; repeatable.",
)
@click.option(
    "--profile",
    type=click.Choice(simulator.PROFILES),
    default="site",
    show_default=True,
    help="strict: refuse requests that the gateway's client should not send.",
)
@click.option(
    "--page-token",
    type=click.Choice(simulator.PAGE_TOKENS),
    default="SNlM0e",
    show_default=True,
    help="Key of the access token in /app.",
)
@click.option("--first-token-seconds", default=0.2, show_default=True, help="Delay before an answer.")
@click.option("--tokens-per-second", default=60.0, show_default=True, help="Speed of answers; 0: no delay.")
@click.option("--chunk-bytes", default=0, show_default=True, help="Chunk size of bodies; 0: as written.")
@click.option("--grace-seconds", default=60.0, show_default=True, help="How long a rotated cookie's old value works.")
@click.option(
    "--min-rotation-interval-seconds",
    default=60.0,
    show_default=True,
    help="Rotations closer together get 429.",
)
def simulate(
    host: str,
    port: int,
    *,
    tls: bool,
    tls_names: tuple[str, ...],
    accounts: tuple[simulator.SimulatedAccount, ...],
    **options: Any,
) -> None:
    """Run the simulated Gemini site, and the simulated official API, alone."""
    if not tls and tls_names:
        raise click.UsageError("--tls-name requires --tls.")
    logs.configure(LogSettings())
    pace = {name: options.pop(name) for name in simulator.Pace.__struct_fields__ if name in options}
    keys, key_files = options.pop("api_keys"), options.pop("service_accounts")
    config = msgspec.convert({"pace": pace, **options}, simulator.SimulatorConfig)
    config = simulator.with_accounts(msgspec.structs.replace(config, accounts=accounts, api_keys=keys))
    with tempfile.TemporaryDirectory(prefix="gemini-gateway-simulator-") as folder:
        clock = SystemClock()
        files = None
        if tls:
            from service.server.certificate import write_certificate

            try:
                files = TlsFiles(*write_certificate(Path(folder), clock.wall(), tls_names))
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--tls-name") from None
        listening = open_listener(host, port, 2048)
        url = url_of(listening, "https" if tls else "http")
        config = msgspec.structs.replace(config, service_accounts=_write_service_accounts(key_files, url))

        def started() -> None:
            click.echo(f"Base URL: {url}")
            if files is not None:
                click.echo(f"Certificate: {files.certificate}")
            for line in _accepted(config, url):
                click.echo(line)

        run_app(simulator.create_site(config, clock), listening, tls=files, started=started)
