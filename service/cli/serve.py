"""`gemini-gateway serve`: run the gateway, in this process or in worker processes."""

import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import structlog

from service.check import check, exposed_files
from service.cli.options import config_option, settings_at, store_path_of
from service.cli.startup_summary import print_summary, startup_summary
from service.gateway import Supervisor, run_gateway
from service.licenses.auth import check_against_store, fixed_licenses
from service.licenses.store import LicenseStore
from service.server.hypercorn import listen, run_loop, url_of
from service.server.listeners import addresses, announcement, inherited_sockets, without_brackets
from service.storage.factory import location_of, open_store
from service.telemetry import logs
from transports.clock import SystemClock
from transports.store import Records

_log = structlog.get_logger()


@click.command()
@config_option
@click.option("--host", help="Address to listen on; overrides the settings.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; overrides the settings.")
@click.option("--fd", "fds", multiple=True, hidden=True)
@click.option("--parent", type=int, hidden=True)
def serve(config_path: Path | None, host: str | None, port: int | None, **handed: Any) -> None:
    """Run the gateway."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nothing to reload during startup
    path, settings, origin = settings_at(config_path)
    logs.configure(settings.log)
    store_path = store_path_of(settings, path)
    check(settings, origin, store_path)
    server = settings.server
    if handed["fds"] and handed["parent"] is not None:
        listening, parent = inherited_sockets(handed["fds"]), socket.socket(fileno=handed["parent"])
        supervisor = Supervisor(lambda: None, parent)
        run_gateway(settings, origin=origin, store_path=store_path, listening=listening, supervisor=supervisor)
        return
    for exposed in exposed_files(settings, origin):
        _log.warning("private_file_exposed", file=exposed, advice="every user of this machine can read it; chmod 600")
    wanted = addresses(settings, host, port)
    listening = {name: open_listener(*address, server.backlog) for name, address in wanted.items()}
    urls = {name: url_of(one) for name, one in listening.items()}
    location = location_of(settings.store, origin, store_path)

    async def greet(records: Records) -> None:
        with suppress(OSError):  # without the store, the licenses of the settings count
            fixed = fixed_licenses(settings.licenses, origin)
            await check_against_store(fixed, LicenseStore(records, SystemClock()), origin)
        print_summary(await startup_summary(settings, origin, location, records, SystemClock()), log=settings.log)

    def started() -> None:
        for name, url in urls.items():
            click.echo(announcement(name, url), err=True)

    if server.workers == 1:
        supervisor = Supervisor(started, greet=greet)
        run_gateway(settings, origin=origin, store_path=store_path, listening=listening, supervisor=supervisor)
        return
    from service.server.workers import Workers

    async def create_store() -> None:
        """Create or check the store before the workers start."""
        async with open_store(settings.store, origin, store_path, SystemClock()) as store:
            await greet(store.records)

    run_loop(create_store, "asyncio")
    command = [sys.executable, "-m", "service", "serve", *(["--config", str(path)] if path is not None else [])]
    sys.exit(Workers(command, listening, server.workers, started).run())


def open_listener(host: str, port: int, backlog: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        click.ClickException: the address is in use or not available.

    """
    try:
        return listen(without_brackets(host), port, backlog)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another address or port"
        ) from None
