"""The process as its supervisor sees it: start, signals, drain and exit status, on each Python and event loop."""

import json
import signal
import socket
import sys
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.conftest import KEY, ROOT, SETTINGS
from tests.servers import free_port

NEWER = ROOT / ".venv-newer" / "bin" / "python"
PYTHONS = [sys.executable, *([str(NEWER)] if NEWER.exists() else [])]

every_python_and_loop = pytest.mark.parametrize(
    ("python", "loop"),
    [(python, loop) for python in PYTHONS for loop in ("asyncio", "uvloop")],
    ids=lambda value: Path(value).parent.parent.name if "/" in value else value,
)


def settings(grace=10, loop="auto", more=""):
    return (
        SETTINGS.format(key=KEY)
        .replace("port = 0", f'port = 0\nloop = "{loop}"')
        .replace("grace_seconds = 10", f"grace_seconds = {grace}")
        + more
    )


def stream(client, gateway, content):
    return client.stream(
        "POST",
        f"{gateway.base_url}/chat/completions",
        headers={"Authorization": f"Bearer {KEY}"},
        json={"model": "gemini-3-pro", "stream": True, "messages": [{"role": "user", "content": content}]},
        timeout=60,
    )


SLOW = '<sim tokens-per-second="8"/><echo>slowly and slowly and slowly the words come</echo>'
STUCK = '<sim stall-after="2" frames="6"/><echo>some words and then nothing more for a long time</echo>'


@every_python_and_loop
def test_a_stream_within_the_grace_ends_whole_and_the_exit_is_clean(start_gateway, python, loop):
    gateway = start_gateway(settings(loop=loop), python=python)
    with httpx.Client() as client, stream(client, gateway, SLOW) as response:
        lines = response.iter_lines()
        next(lines)
        gateway.signal(signal.SIGTERM)
        gateway.wait_for('"shutdown_started"')
        with httpx.Client() as other:
            assert other.get(f"{gateway.origin}/readyz").status_code == 503
            assert other.get(f"{gateway.origin}/healthz").status_code == 200
            refused = other.get(f"{gateway.base_url}/models", headers={"Authorization": f"Bearer {KEY}"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        rest = list(lines)
    assert "data: [DONE]" in rest
    assert gateway.status() == 0


@every_python_and_loop
def test_a_stream_beyond_the_grace_gets_an_error_and_the_exit_is_clean(start_gateway, python, loop):
    gateway = start_gateway(settings(grace=0.5, loop=loop), python=python)
    with httpx.Client() as client, stream(client, gateway, STUCK) as response:
        lines = response.iter_lines()
        next(lines)
        gateway.signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert '"code":"shutting_down"' in rest[-1]
    assert "data: [DONE]" not in rest
    assert gateway.status() == 0


def test_an_idle_kept_alive_connection_does_not_delay_the_exit(start_gateway):
    gateway = start_gateway(settings(grace=60))
    with httpx.Client() as client:
        assert client.get(f"{gateway.origin}/readyz").status_code == 200
        gateway.signal(signal.SIGTERM)
        assert gateway.status(50) == 0


def test_a_second_signal_ends_open_streams_at_once(start_gateway):
    gateway = start_gateway(settings(grace=600))
    with httpx.Client() as client, stream(client, gateway, STUCK) as response:
        lines = response.iter_lines()
        next(lines)
        gateway.signal(signal.SIGTERM)
        gateway.wait_for('"shutdown_started"')
        gateway.signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert '"code":"shutting_down"' in rest[-1]
    assert gateway.status() == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_that_stopped_reading_does_not_delay_the_shutdown(start_gateway, loop):
    gateway = start_gateway(settings(loop=loop, more="[limits]\nwrite_timeout_seconds = 1\n"))
    content = '<sim length="8000000" flicker="false"/>'
    body = json.dumps({"model": "gemini-3-pro", "stream": True, "messages": [{"role": "user", "content": content}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    host, port = gateway.origin.removeprefix("http://").split(":")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        gateway.wait_for('"client_closed_request"')
        gateway.signal(signal.SIGTERM)
        assert gateway.status() == 0
    assert "Traceback" not in gateway.text()
    assert '"level": "error"' not in gateway.text()


def test_a_half_sent_body_gets_503_at_shutdown_and_does_not_delay_it(start_gateway):
    gateway = start_gateway(settings(grace=1, more="[limits]\nbody_timeout_seconds = 60\n"))
    host, port = gateway.origin.removeprefix("http://").split(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())
        until = time.monotonic() + 90
        while "gateway_requests_in_flight 2.0" not in httpx.get(f"{gateway.origin}/metrics").text:
            assert time.monotonic() < until, "the request did not begin"
        gateway.signal(signal.SIGTERM)
        client.settimeout(20)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutting_down"' in answer
    assert gateway.status() == 0


def test_an_open_answer_that_is_not_streamed_gets_503_at_shutdown(start_gateway):
    gateway = start_gateway(settings(grace=0.5))
    with httpx.Client() as client:
        import threading

        answers = []

        def ask():
            body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": STUCK}]}
            headers = {"Authorization": f"Bearer {KEY}"}
            answers.append(
                client.post(f"{gateway.base_url}/chat/completions", headers=headers, json=body, timeout=60),
            )

        thread = threading.Thread(target=ask)
        thread.start()
        wait_until_in_flight(gateway)
        gateway.signal(signal.SIGTERM)
        thread.join(30)
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["code"] == "shutting_down"
    assert gateway.status() == 0


def wait_until_in_flight(gateway):
    import time

    until = time.monotonic() + 90
    while time.monotonic() < until:
        if (
            'gateway_upstream_requests_in_flight{transport="simulator"} 1.0'
            in httpx.get(f"{gateway.origin}/metrics").text
        ):
            return
        time.sleep(0.02)
    raise AssertionError("the request did not arrive")


@every_python_and_loop
def test_several_workers_share_the_socket_and_the_metrics(start_gateway, python, loop):
    gateway = start_gateway(settings(loop=loop).replace("port = 0", "port = 0\nworkers = 2"), python=python)
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>x</echo>"}]}
    headers = {"Authorization": f"Bearer {KEY}"}
    for _ in range(12):
        answer = httpx.post(f"{gateway.base_url}/chat/completions", headers=headers, json=body, timeout=60)
        assert answer.status_code == 200
    wanted = 'gateway_requests_total{model="gemini-3-pro",route="/v1/chat/completions",status="200"} 12.0'
    for _ in range(6):
        assert wanted in httpx.get(f"{gateway.origin}/metrics").text
    gateway.signal(signal.SIGTERM)
    assert gateway.status() == 0


def test_workers_end_with_a_supervisor_that_was_killed(start_gateway):
    import psutil

    gateway = start_gateway(settings().replace("port = 0", "port = 0\nworkers = 2"))
    workers = psutil.Process(gateway.pid).children()
    assert len(workers) == 2
    gateway.signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=90)
    for worker in alive:
        worker.kill()
    assert not alive
    assert "supervisor_exited" in gateway.text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_that_cannot_start_announces_no_address(start_command, tmp_path, workers):
    (tmp_path / "gateway.toml").write_text(settings().replace("port = 0", f"port = 0\nworkers = {workers}"))
    (tmp_path / "gateway.sqlite3").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    process = start_command("serve")
    assert process.status() == 1  # a backup that is being copied is truncated, too
    *warnings, line = process.text().strip().splitlines()
    assert all("private_file_exposed" in warning for warning in warnings)
    assert "store.path" in line
    assert "truncated" in line
    assert str(tmp_path / "gateway.sqlite3") in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nprot = 1\n", ["gateway.toml", "server.prot", "unknown key", "port"]),
        ('[server]\nport = "x"\n', ["gateway.toml", "server.port", "whole number", "65535"]),
        ("[server\n", ["gateway.toml", "not valid TOML"]),
        ("[transports.webb]\n", ["transports.webb", "unknown transport", "web"]),
        ("[transports.web]\nguests = true\n", ["transports.web.guests", "unknown key", "guest"]),
        ("", ["transports", "no upstream", "demo"]),
        ("[transports.simulator]\n[transports.web]\n", ["simulator", "other transports"]),
        ('[transports.web]\n[[transports.web.accounts]]\nid = "a"\ncookies_file = "/nowhere"\n', ["'a'", "/nowhere"]),
        ('[transports.web]\nca_file = "/nowhere.pem"\n', ["transports.web", "ca_file", "/nowhere.pem"]),
        ('[server]\nworkers = 2\n[transports.web]\nca_file = "/nowhere.pem"\n', ["ca_file", "/nowhere.pem"]),
        ('[transports.web]\n[models.upstream.gemini-3-pro]\nwebb = "x"\n', ["models.upstream", "webb", "web"]),
    ],
)
def test_wrong_settings_end_the_start_with_one_line(start_command, tmp_path, text, words):
    (tmp_path / "gateway.toml").write_text(text)
    for arguments in (("serve", "--port", "0"), ("config", "check")):
        process = start_command(*arguments)
        assert process.status() == 78
        lines = process.text().strip().splitlines()
        assert len(lines) == 1
        assert all(word in lines[0] for word in words)


def accepted(gateway, key):
    return httpx.get(f"{gateway.base_url}/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def wait_until(what):
    import time

    until = time.monotonic() + 90
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_reloads_licenses_in_every_worker_and_ends_no_request(start_gateway, workers):
    gateway = start_gateway(settings().replace("port = 0", f"port = 0\nworkers = {workers}"))
    path = gateway.log.parent / "gateway.toml"
    with httpx.Client() as client, stream(client, gateway, SLOW) as response:
        lines = response.iter_lines()
        next(lines)
        path.write_text(settings(grace=11).replace(KEY, f"{KEY}-2"))
        gateway.signal(signal.SIGHUP)
        gateway.wait_for('"config_restart_required"')
        rest = list(lines)
    assert "data: [DONE]" in rest
    wait_until(lambda: [accepted(gateway, f"{KEY}-2") for _ in range(6)] == [True] * 6)
    wait_until(lambda: [accepted(gateway, KEY) for _ in range(6)] == [False] * 6)
    path.write_text("[server\n")
    gateway.signal(signal.SIGHUP)
    gateway.wait_for('"config_reload_failed"')
    assert accepted(gateway, f"{KEY}-2")
    gateway.signal(signal.SIGTERM)
    assert gateway.status() == 0


def test_probes_and_metrics_with_a_separate_listener_are_not_on_the_api(start_gateway):
    port = free_port()
    gateway = start_gateway(
        settings(more=f"[operations]\nport = {port}\n").replace("port = 0", "port = 0\nworkers = 2")
    )
    own = f"http://127.0.0.1:{port}"
    for path in ("/livez", "/healthz", "/readyz", "/metrics"):
        assert httpx.get(f"{own}{path}").status_code == 200
        assert httpx.get(f"{gateway.origin}{path}").status_code == 404
    assert httpx.get(f"{own}/v1/models").status_code == 404
    assert accepted(gateway, KEY)
    assert f"Probes and metrics on {own}" in gateway.text()
    with httpx.Client() as client, stream(client, gateway, SLOW) as response:
        lines = response.iter_lines()
        next(lines)
        gateway.signal(signal.SIGTERM)
        wait_until(lambda: [httpx.get(f"{own}/readyz").status_code for _ in range(6)] == [503] * 6)
        assert httpx.get(f"{own}/livez").status_code == 200
        assert "data: [DONE]" in list(lines)
    assert gateway.status() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_the_startup_summary_is_printed_once_before_the_address(start_gateway, workers):
    text = settings(more='[log]\nformat = "console"\n').replace("port = 0", f"port = 0\nworkers = {workers}")
    output = start_gateway(text).text()
    block = output.partition("Listening on")[0]
    assert block.count("gemini-gateway 0.1.0\n") == 1
    for words in ("upstream  simulator", "licenses  1", "gateway.sqlite3, not encrypted", "store.key_file"):
        assert words in block
    lines = start_gateway(text.replace("console", "json")).text().splitlines()
    assert [json.loads(line)["licenses"] for line in lines if '"gateway_started"' in line] == [1]
