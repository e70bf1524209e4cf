"""Tracing that cannot be, and tracing that is off."""

import subprocess
import sys

import pytest

from service.config.schema import SettingsError, load, origin_of
from service.telemetry.tracing import check_tracing, headers_of
from tests.conftest import ROOT


def run(folder, script, *words):
    command, env = [sys.executable, "-c", script, *words], {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def tracing_of(tmp_path, more):
    path = tmp_path / "gateway.toml"
    path.write_text(f"[tracing]\nenabled = true\n{more}")
    return load(path, {}).tracing, origin_of(path)


WITHOUT = "import sys; sys.modules['opentelemetry'] = None; from service.__main__ import main; main()"


@pytest.mark.parametrize("words", [["serve", "--port", "0"], ["config", "check"]])
def test_without_the_otel_extra_the_error_says_how_to_install_it(tmp_path, words):
    (tmp_path / "gateway.toml").write_text("[tracing]\nenabled = true\n[transports.simulator]\n")
    done = run(tmp_path, WITHOUT, *words)
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in ("gateway.toml", "tracing.enabled", "pip install 'gemini-gateway[otel]'"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('endpoint = "collector:4318"', ["tracing.endpoint"]),
        ('endpoint = "http://user:canary@collector:4318"', ["tracing.endpoint"]),
        ("sample_ratio = 1.5", ["tracing.sample_ratio", "1"]),
        ('headers_file = "nowhere"', ["tracing.headers_file", "nowhere", "No such"]),
        ('headers_file = "bad"', ["tracing.headers_file", "bad", "line 2"]),
    ],
)
def test_invalid_tracing_settings_are_named_without_their_values(tmp_path, more, words):
    (tmp_path / "bad").write_text("x-tenant: ours\nBearer canary\n")
    with pytest.raises(SettingsError) as caught:
        check_tracing(*tracing_of(tmp_path, more))
    assert all(word in str(caught.value) for word in ("gateway.toml", *words)), caught.value
    assert "canary" not in str(caught.value)


def test_each_line_of_a_headers_file_is_one_header(tmp_path):
    (tmp_path / "headers").write_text("Authorization: Bearer a:b\n\nX-Tenant:ours\n")
    found = headers_of(*tracing_of(tmp_path, 'headers_file = "headers"'))
    assert found == {"authorization": "Bearer a:b", "x-tenant": "ours"}


OFF = """
import sys, anyio, httpx2
from pathlib import Path
from service.server import hypercorn as server
from service.app import open_app
from service.server.listeners import API
from service.config.schema import load, origin_of

async def main():
    path = Path("gateway.toml")
    settings = load(path, {})
    async with open_app(settings, origin=origin_of(path), store_path=Path("s"), serve=server.serve_loopback) as running:
        async with server.serve_loopback(running.apps[API]) as url, httpx2.AsyncClient(base_url=url) as client:
            body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>x</echo>"}]}
            headers = {"Authorization": "Bearer sk-test-q7Lw9ZkT3vXn5RbY2mHc8JdF"}
            assert (await client.post("/v1/chat/completions", headers=headers, json=body)).status_code == 200
    print([name for name in sys.modules if name.partition(".")[0] in {"opentelemetry", "google", "requests"}])

anyio.run(main)
"""


def test_disabled_tracing_imports_nothing(tmp_path):
    text = '[[licenses]]\nid = "a"\nkey = "sk-test-q7Lw9ZkT3vXn5RbY2mHc8JdF"\n[transports.simulator]\n'
    (tmp_path / "gateway.toml").write_text(text)
    done = run(tmp_path, OFF)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["[]"]), done.stderr
