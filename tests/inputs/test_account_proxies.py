"""An account's way out is its own trouble: no caller notices a dead proxy while another account can serve.

One gateway has an account for each way in which a proxy can fail, one whose proxy the tests can end, and one without.
"""

import asyncio
import json
import ssl
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx2 as httpx
import pytest

from service.server.certificate import write_certificate
from tests import proxies
from tests.conftest import BASE_SETTINGS, KEY, Gateway, Process
from tests.servers import free_port

AT_ONCE = 20
UNLIMITED = "per_minute = 0\nconcurrency = 20\n"
PROBLEMS = {
    "refused": "does not accept connections (Connection refused)",
    "socks-refused": "does not accept connections (Connection refused)",
    "unknown-host": "host name was not found",
    "socks-unknown-host": "host name was not found",
    "login": "refused the user name or the password",
    "socks-login": "refused the user name or the password",
    "forbidden": "refused to connect to the upstream (HTTP 403)",
    "socks-forbidden": "refused to connect to the upstream (Connection not allowed by ruleset)",
    "garbage": "answer is not valid HTTP",
    "socks-garbage": "answer is not valid SOCKS",
    "socks4-garbage": "answer is not valid SOCKS",
    "closed": "broke the connection",
    "socks-closed": "broke the connection",
    "other-tls": "TLS connection through the proxy failed",
    "silent": "did not connect in time",
}
"""What the operator reads about each account's proxy."""
PNG = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89"
    b"\0\0\0\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\x89\x99=\x1d\0\0\0\0IEND\xaeB`\x82"
)
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(PNG).decode()}"}}


async def answering(answer, _, reader, writer):
    """Answer the first bytes and close; None: never answer."""
    await reader.read(4096)
    if answer is None:
        await reader.read()
        return
    writer.write(answer)


async def forbidding_socks(_, reader, writer):
    await reader.read(4096)
    writer.write(b"\x05\x00")
    await reader.read(4096)
    writer.write(b"\x05\x02\x00\x01\0\0\0\0\0\0")


class Proxies(threading.Thread):
    """Runs proxies in a thread; `ends` closes the one that a test may end."""

    def __init__(self, folder):
        """Write the certificate of another site into `folder`."""
        super().__init__(daemon=True)
        self.loop, self.addresses, self.open = None, {}, threading.Event()
        self.folder, self.mortal, self.port, self.connections = folder, None, free_port(), set()

    def run(self):
        asyncio.run(self.serve())

    async def serve(self):
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*write_certificate(self.folder, time.time()))
        other = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        speakers = {
            "login": ("http", proxies.http),
            "socks-login": ("socks5h", proxies.socks5),
            "forbidden": ("http", partial(answering, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")),
            "socks-forbidden": ("socks5", forbidding_socks),
            "garbage": ("http", partial(answering, b"\0\1garbage\r\n\r\n")),
            "socks-garbage": ("socks5h", partial(answering, b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            "socks4-garbage": ("socks4", partial(answering, b"HTTP/1.1 400 Bad Request\r\n\r\n")),
            "closed": ("http", partial(answering, b"")),
            "socks-closed": ("socks5", partial(answering, b"")),
            "silent": ("http", partial(answering, None)),
        }
        self.addresses |= {
            "refused": "http://127.0.0.1:1",
            "socks-refused": "socks5://127.0.0.1:1",
            "unknown-host": "http://proxy.invalid:3128",
            "socks-unknown-host": "socks5h://proxy.invalid:1080",
        }
        async with asyncio.TaskGroup() as tasks:
            for name, (scheme, speak) in speakers.items():
                tasks.create_task(self.keep(name, scheme, proxies.open_proxy(speak)))
            port = other.sockets[0].getsockname()[1]
            tasks.create_task(self.keep("other-tls", "http", proxies.open_proxy(proxies.http, to=port)))
            await self.revive()
            while len(self.addresses) < len(PROBLEMS):
                await asyncio.sleep(0)
            self.open.set()
            await self.stopped.wait()
            await self.end()
        other.close()

    async def keep(self, name, scheme, proxy):
        async with proxy as opened:
            password = "wrong-secret" if "login" in name else "p%40ss-secret"
            self.addresses[name] = opened.address(scheme, password=password)
            await self.stopped.wait()

    async def revive(self):
        """Start the proxy that may end, at its port."""

        async def serve(reader, writer):
            self.connections.add(writer)
            try:
                await proxies.http(proxies.Proxy(), reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                writer.close()

        self.mortal = await asyncio.start_server(serve, "127.0.0.1", self.port)

    async def end(self):
        """End the proxy that may end, and its connections."""
        self.mortal.close()
        for writer in self.connections:
            writer.transport.abort()
        self.connections.clear()

    def do(self, work):
        asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    found = Proxies(tmp_path_factory.mktemp("other"))
    found.start()
    assert found.open.wait(60)
    yield found
    found.loop.call_soon_threadsafe(found.stopped.set)
    found.join(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("proxies")


@pytest.fixture(scope="module")
def gateway(folder, ways):
    names = ["alive", "mortal", *PROBLEMS]
    known = [word for name in names for word in ("--account", f"psid-{name}:psidts-{name}:advanced")]
    pace = ("--tokens-per-second", "0", "--first-token-seconds", "0")
    site = Process("simulate", "--port", "0", "--tls", *known, *pace, cwd=folder)
    url = site.wait_for("Base URL").rpartition(" ")[2].strip()
    certificate = site.wait_for("Certificate").partition(": ")[2].strip()
    hosts = "".join(f'{name} = "{url}"\n' for name in ("site", "accounts", "upload"))
    addresses = ways.addresses | {"mortal": f"http://me:p%40ss-secret@127.0.0.1:{ways.port}"}
    entries = ""
    for name in names:
        proxy = f'proxy = "{addresses[name]}"\n' if name in addresses else ""
        cookies = f"__Secure-1PSID=psid-{name}; __Secure-1PSIDTS=psidts-{name}"
        entries += f'[[transports.web.accounts]]\nid = "{name}"\ncookies = "{cookies}"\n{proxy}{UNLIMITED}'
    settings = (
        f'{BASE_SETTINGS.format(key=KEY)}[transports.web]\nguest = false\nca_file = "{certificate}"\n'
        f"refresh_seconds = 0\npoll_seconds = 0.2\n"
        f"[transports.web.timeouts]\nconnect = 2.0\n[transports.web.hosts]\n{hosts}{entries}"
    )
    process = Gateway(folder, settings)
    yield process
    process.stop()
    site.stop()


def chat(*messages, **more):
    return "/chat/completions", {"model": "gemini-3-pro", "messages": list(messages), **more}


def said(role, text, *parts):
    return {"role": role, "content": [{"type": "text", "text": text}, *parts] if parts else text}


def ask(gateway, request):
    path, body = request
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{gateway.base_url}{path}", headers=headers, json=body, timeout=60)
    return answer.status_code, answer.text


def ask_all(gateway, requests):
    """Send the requests at once; return the statuses and texts of those that failed."""
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(partial(ask, gateway), requests))
    return [answer for answer in answers if answer[0] != 200 or '"error":{' in answer[1] or "proxy" in answer[1]]


HELLO = said("user", "<echo>ok</echo>")
KINDS = {
    "chat": chat(HELLO),
    "stream": chat(HELLO, stream=True),
    "file": chat(said("user", "<echo>ok</echo>", PICTURE)),
    "stream with a file": chat(said("user", "<echo>ok</echo>", PICTURE), stream=True),
    "history": chat(HELLO, said("assistant", "ok"), HELLO),
    "image": (
        "/images/generations",
        {"model": "gemini-3-pro-imagen", "prompt": "a cat", "response_format": "b64_json"},
    ),
    "canvas": ("/chat/completions", {"model": "gemini-3-pro-canvas", "messages": [HELLO]}),
    "video": ("/videos", {"model": "gemini-3-pro-video", "prompt": "a cat"}),
}


def test_no_caller_pays_for_dead_proxies(gateway):
    requests = [KINDS[list(KINDS)[number % len(KINDS)]] for number in range(AT_ONCE)]
    assert ask_all(gateway, requests) == []
    assert ask_all(gateway, [KINDS["chat"]] * AT_ONCE) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_request_is_served_by_another_account(gateway, kind):
    assert ask_all(gateway, [KINDS[kind]] * 4) == []


def test_a_conversation_continues_with_another_account_when_its_proxy_ends(gateway, ways):
    first = [said("user", f"<echo>{number}</echo>") for number in range(AT_ONCE)]
    assert ask_all(gateway, [chat(message) for message in first]) == []
    assert ways.connections
    ways.do(ways.end())
    going_on = [
        chat(message, said("assistant", str(number)), said("user", "<echo>on</echo>"))
        for number, message in enumerate(first)
    ]
    assert ask_all(gateway, going_on) == []
    ways.do(ways.revive())
    gateway.wait_for("egress_recovered")
    before = len(ways.connections)
    assert ask_all(gateway, [KINDS["chat"]] * AT_ONCE) == []
    assert len(ways.connections) > before


def test_the_operator_reads_what_each_proxy_did(gateway, folder):
    doctor = Process("doctor", "--json", cwd=folder)
    doctor.status()
    doctor.stop()
    steps = json.loads(doctor.text())
    found = {one["about"]: one["finding"]["message"] for one in steps if one["finding"]["step"] == "way out"}
    assert {name: problem in found[name] for name, problem in PROBLEMS.items()} == dict.fromkeys(PROBLEMS, True), found
    assert "reachable from" in found["alive"]
    lines = [json.loads(line) for line in gateway.text().splitlines() if '"egress_failed"' in line]
    told = {line["account"]: line["problem"] for line in lines}
    assert {name: PROBLEMS[name] in problem for name, problem in told.items() if name != "mortal"} == dict.fromkeys(
        (name for name in told if name != "mortal"), True
    )
    assert "secret" not in doctor.text() + gateway.text()


def test_the_list_of_accounts_names_the_problem(gateway, folder):
    accounts = Process("accounts", "list", "--json", cwd=folder)
    assert accounts.status() == 0
    accounts.stop()
    rows = {row["id"]: row for row in json.loads(accounts.text())}
    cooling = [name for name in PROBLEMS if rows[name]["reason"] == "proxy"]
    assert cooling
    assert all(PROBLEMS[name] in rows[name]["message"] for name in cooling)
    assert "secret" not in accounts.text()
