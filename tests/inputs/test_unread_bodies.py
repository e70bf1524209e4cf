"""Bodies that no handler reads: every client sees the status and the error of an early answer, within bounds."""

import http.client
import json
import socket
import ssl
import subprocess
import time

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx2 as httpx
import pytest
import requests

from service.config.schema import ServerSettings
from service.server import connection, discard
from service.server.certificate import write_certificate
from service.server.hypercorn import TlsFiles, listen, serving
from service.server.request_head import HeadLimits
from tests.conftest import KEY

MB = 1_000_000
JSON = {"Content-Type": "application/json"}
RIGHT, WRONG = {**JSON, "Authorization": f"Bearer {KEY}"}, {**JSON, "Authorization": "Bearer sk-wrong-0123456789"}
EARLY = [
    ("POST", "/nope", {}, 404),
    ("PUT", "/gemini_official/v1/chat/completions", RIGHT, 405),
    ("POST", "/gemini_official/v1/models", RIGHT, 405),
    ("POST", "/livez", {}, 405),
    ("POST", "/gemini_official/media/x", {}, 405),
    ("POST", "/gemini_official/v1/chat/completions", WRONG, 401),
    ("POST", "/gemini_official/v1/chat/completions", {**RIGHT, "Content-Encoding": "rot13"}, 415),
]
BODY = b"x" * 8 * MB


def port_of(gateway):
    return int(gateway.origin.rpartition(":")[2])


@pytest.mark.parametrize("size", [600_000, 8 * MB])
@pytest.mark.parametrize(("method", "path", "headers", "status"), EARLY)
def test_a_client_that_sends_all_first_sees_the_error_and_can_send_the_next_request(
    gateway, method, path, headers, status, size
):
    client = http.client.HTTPConnection("127.0.0.1", port_of(gateway), timeout=60)
    for _ in range(3):
        client.request(method, path, BODY[:size], headers)
        response = client.getresponse()
        assert (response.status, response.getheader("connection")) == (status, None)
        assert json.loads(response.read())["error"]["code"]
        client.request("GET", "/livez")
        assert client.getresponse().read()
    client.close()


@pytest.mark.parametrize("size", [25 * MB, 44 * MB])
@pytest.mark.parametrize(("path", "headers", "status"), [("/nope", {}, 404), (EARLY[5][1], WRONG, 401)])
def test_long_bodies_are_received_to_their_end(gateway, path, headers, status, size):
    body = b"x" * size
    response = requests.post(gateway.origin + path, data=body, headers=headers, timeout=60)
    assert (response.status_code, bool(response.json()["error"]["code"])) == (status, True)


def test_a_body_over_the_limit_is_413_with_its_error(gateway):
    body = b"x" * 44 * MB
    url = f"{gateway.base_url}/chat/completions"
    with httpx.Client(timeout=60) as client:
        for _ in range(2):
            response = client.post(url, content=body, headers=RIGHT)
            assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")


def test_curl_sees_the_error(gateway, tmp_path):
    (tmp_path / "body").write_bytes(BODY)
    for path, status in (("/nope", "404"), ("/gemini_official/v1/chat/completions", "401")):
        command = ["curl", "-s", "-m", "60", "-w", "\n%{http_code}", "--data-binary", "@body", gateway.origin + path]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        body, _, code = done.stdout.rpartition("\n")
        assert (code, bool(json.loads(body)["error"]["message"])) == (status, True)


def test_chunked_bodies_are_dropped_too(gateway):
    def pieces():
        yield from [b"x" * 64 * 1024] * 100

    with httpx.Client(timeout=60) as client:
        for _ in range(2):
            response = client.post(f"{gateway.origin}/nope", content=pieces())
            assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_a_pipelined_request_behind_a_dropped_body_is_answered(gateway):
    first = b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    second = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port_of(gateway)), timeout=60) as client:
        client.sendall(first + BODY + second)
        received = b""
        while piece := client.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 404 ") == received.count(b"HTTP/1.1 200 ") == 1


class Early:
    """An app that answers before it has read the body, on a server with small limits."""

    def __init__(self, *, body_bytes=100_000):
        self.limits = HeadLimits(body_bytes=body_bytes)

    async def __call__(self, scope, _receive, send):
        if scope["type"] != "http":
            raise NotImplementedError  # no lifespan
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"error"})


async def pumped(app, head, piece):
    """Send `piece` again and again while it is received; return the number of bytes sent, and what came back."""
    listening = listen("127.0.0.1", 0, 8)
    port = listening.getsockname()[1]
    async with serving(app, listening, ServerSettings(), limits=app.limits):
        client = await anyio.connect_tcp("127.0.0.1", port)
        sent, received = 0, bytearray()

        async def read():
            try:
                while True:
                    received.extend(await client.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                try:
                    await client.send(head)
                    while True:
                        await client.send(piece)
                        sent += len(piece)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass
            await client.aclose()
    return sent, bytes(received)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"Content-Length: 99999999999", b"x" * 10_000),
        (b"Transfer-Encoding: chunked", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
    ],
)
async def test_an_endless_body_is_cut_off_after_a_bounded_number_of_bytes(head, piece):
    app = Early()
    sent, received = await pumped(app, b"POST / HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % head, piece)
    assert received.startswith(b"HTTP/1.1 404 ")
    assert received.endswith(b"error")
    assert sent <= 4 * app.limits.body_bytes + 8_000_000  # two budgets, and what the system's buffers hold


async def test_a_client_that_stops_sending_gets_the_answer_and_is_cut_off(monkeypatch):
    for module in (connection, discard):
        monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
    app = Early()
    listening = listen("127.0.0.1", 0, 8)
    port = listening.getsockname()[1]
    async with serving(app, listening, ServerSettings(), limits=app.limits):
        client = await anyio.connect_tcp("127.0.0.1", port)
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        received = b""
        with anyio.fail_after(60), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                received += await client.receive()
        assert received.endswith(b"onnection: close\r\n\r\nerror")
        with anyio.fail_after(60), pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            while True:
                await client.send(b"x")  # the client learns that the server has closed its side, too
                await anyio.lowlevel.checkpoint()
        await client.aclose()


@pytest.mark.parametrize("size", [90_000, 190_000])
async def test_a_body_over_tls_is_dropped_too(tmp_path, size):
    certificate, key = write_certificate(tmp_path, time.time())
    app = Early()
    listening = listen("127.0.0.1", 0, 8)
    port = listening.getsockname()[1]

    def ask():
        context = ssl.create_default_context(cafile=certificate)
        client = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        found = []
        for _ in range(2):
            client.request("POST", "/", b"x" * size)
            response = client.getresponse()
            found.append((response.status, response.read()))
        client.close()
        return found

    async with serving(app, listening, ServerSettings(), TlsFiles(certificate, key), app.limits):
        assert await anyio.to_thread.run_sync(ask) == [(404, b"error")] * 2
