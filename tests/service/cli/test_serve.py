import signal
import socket

import click
import pytest

from service.cli.serve import open_listener


@pytest.fixture
def hangup():
    """Restores the handler of SIGHUP, which `serve` ignores while it starts."""
    handler = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, handler)


def test_a_port_that_is_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        with pytest.raises(click.ClickException, match=f"cannot listen on 127.0.0.1:{port}: "):
            open_listener("127.0.0.1", port, 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("[server]\nport = 'x'\n", "server.port"),
        ("", "no upstream"),
        ("[transports.simulator]\n[[licenses]]\nid = 'a b'\nkey = '12345678'\n", "licenses[0]"),
    ],
)
def test_serve_exits_with_78_and_one_line_on_invalid_settings(command, tmp_path, settings, words, hangup):
    (tmp_path / "gateway.toml").write_text(settings)
    done = command("serve", "--port", "0")
    assert done.returncode == 78
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_serve_announces_its_address_and_its_parts(start_gateway):
    gateway = start_gateway()
    gateway.wait_for("gateway_started")
    assert f"Listening on {gateway.origin}" in gateway.text()
