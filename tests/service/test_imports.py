"""Modules that a process imports: a serving gateway, and a command that only prints something."""

import json
import subprocess
import sys
from importlib import import_module

import click
import httpx2 as httpx
import pytest

from service.cli.main import cli
from service.imports import defer, hidden
from tests.conftest import KEY, ROOT, Site

NOT_AT_START = [
    "PIL",
    "cryptography",
    "h2.connection",
    "hiredis",
    "hpack",
    "opentelemetry",
    "pygments",
    "python_multipart",
    "redis",
    "rich",
    "tomli_w",
    "wsproto",
    "frozenlist._frozenlist",
    "protocol.http.picture",
    "protocol.openai.images.mask",
    "service.cli.accounts",
    "service.admin.app",
    "service.cli.init",
    "service.cli.demo",
    "service.cli.doctor",
    "service.telemetry.otel",
    "service.cli.store",
    "service.server.workers",
    "transports.simulator.site",
    "transports.socks",
    "aiohttp_socks",
    "importlib.metadata",
    "transports.store.redis",
]
"""Modules that a gateway needs only with some settings, or for some requests or commands."""

REPORT = (
    "import atexit, json, sys\n"
    "atexit.register(lambda: open({file!r}, 'w').write(json.dumps(sorted(sys.modules))))\n"
    "sys.argv = {argv!r}\n"
    "from service.__main__ import main\n"
    "main()\n"
)

SETTINGS = """
[server]
port = 0
[[licenses]]
id = "a"
key = "{key}"
[transports.web]
rotate_seconds = 0
hosts = {{ site = "{site}", accounts = "{site}", upload = "{site}" }}
[[transports.web.accounts]]
id = "one"
cookies = "{cookies}"
"""


@pytest.fixture
def program(tmp_path):
    """Return the arguments with which Python runs a command and writes the imported modules to a file."""

    def arguments(*words):
        return [sys.executable, "-c", REPORT.format(file=str(tmp_path / "modules"), argv=["gemini-gateway", *words])]

    return arguments


def loaded(tmp_path):
    return set(json.loads((tmp_path / "modules").read_text()))


def test_a_serving_gateway_imports_only_what_a_chat_needs(program, tmp_path, start_command):
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    try:
        (tmp_path / "gateway.toml").write_text(SETTINGS.format(key=KEY, site=site.url, cookies=site.cookies))
        process = start_command("serve", command=program("serve"))
        url = process.wait_for("Listening on").rpartition(" ")[2].strip()
        body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "x"}]}
        headers = {"Authorization": f"Bearer {KEY}"}
        assert httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=90).status_code == 200
        process.stop()
    finally:
        site.stop()
    assert "service.app" in loaded(tmp_path)
    assert sorted(loaded(tmp_path) & set(NOT_AT_START)) == []


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_help_and_version_import_no_command(program, tmp_path, option):
    subprocess.run(program(option), cwd=ROOT, check=True, capture_output=True, timeout=60)
    ours = {name for name in loaded(tmp_path) if name.split(".")[0] in {"service", "protocol", "transports"}}
    commands = {"service.cli", "service.cli.main", "service.cli.probe"}
    assert ours == {"service", "service.__main__", "service.imports", *commands}
    assert loaded(tmp_path).isdisjoint({"aiohttp", "anyio", "msgspec", "structlog"})


def test_each_command_is_in_the_module_that_its_group_names():
    assert len(cli.commands) > 8
    for name, command in cli.commands.items():
        assert isinstance(command, click.Command)
        assert command.name == name


def test_summaries_of_commands_fit_in_a_column():
    with click.Context(cli, terminal_width=80) as context:
        lines = cli.get_help(context).partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == sorted(cli.commands)
    assert max(len(line.split(None, 1)[1]) for line in lines) <= 45


def test_a_hidden_module_is_missing_for_a_while(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with hidden("colorsys"), pytest.raises(ImportError):
        import_module("colorsys")
    assert import_module("colorsys").hls_to_rgb
    with hidden("colorsys"):
        import_module("colorsys")


def test_a_deferred_class_is_imported_when_it_is_called(monkeypatch):
    for name in ("fractions", "colorsys"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    defer("fractions", "Fraction", "colorsys")
    stand_in = import_module("fractions").Fraction
    assert not hasattr(import_module("colorsys"), "hls_to_rgb")
    assert stand_in(1, 2) + stand_in(numerator=1, denominator=2) == 1
    assert import_module("colorsys").hls_to_rgb
    defer("fractions", "Fraction")
    assert import_module("fractions").Fraction is not stand_in
