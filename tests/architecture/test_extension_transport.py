"""A transport with accounts costs one folder and one line in `service/wiring.py`: the toy shows it over sockets."""

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2 as httpx
import pytest

from tests.architecture.conftest import TOYS, tokens
from tests.conftest import BASE_SETTINGS, KEY

SETTINGS = f"""{BASE_SETTINGS}
[[models.add]]
id = "toy-model"
family = "toy"

[transports.toy]
url = "{{url}}"
"""
FIRST, SECOND = "toy-first-canary", "toy-second-canary"


class Upstream:
    """A server that answers with the words of the question, one a line, and counts requests by secret."""

    def __init__(self):
        self.requests = []
        self.limited = set()
        """Secrets that are answered 429."""
        self.refused = set()
        """Secrets that are answered 401."""
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._answer(b"")

            def do_POST(self):
                question = self.rfile.read(int(self.headers["Content-Length"]))
                upstream.requests.append(self.headers["X-Toy-Secret"])
                self._answer(b"".join(word + b" \n" for word in question.split()))

            def _answer(self, body):
                secret = self.headers["X-Toy-Secret"]
                self.send_response(429 if secret in upstream.limited else 401 if secret in upstream.refused else 200)
                self.send_header("Retry-After", "600")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Write no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def upstream():
    started = Upstream()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def toy(extended):
    extended.add_package("transports/toy", TOYS / "transport.py")
    extended.add_line("service/wiring.py", '    "web": _transport("web"),', '    "toy": _transport("toy"),')
    return extended


@pytest.fixture
def gateway(toy, upstream):
    return Toy(toy, toy.start(SETTINGS.format(key=KEY, url=upstream.url)))


class Toy:
    """Start a gateway with the toy transport, and run commands with it."""

    def __init__(self, toy, gateway):
        self.gateway, self._toy = gateway, toy

    def accounts(self, *arguments):
        """Run `gemini-gateway accounts`; no secret may be shown."""
        done = subprocess.run(
            [sys.executable, "-m", "service", "accounts", *arguments],
            cwd=self.gateway.log.parent,
            env=self._toy.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "canary" not in done.stdout + done.stderr
        return done

    def add(self, name, secret, *options):
        file = self.gateway.log.parent / f"{name}.secret"
        file.write_text(f"{secret}\n")
        return self.accounts("add", name, "--transport", "toy", "--secret-file", str(file), *options)

    def show(self, name):
        return json.loads(self.accounts("show", name, "--json").stdout)

    def wait_for(self, name, holds):
        """Wait until the gateway has written a state of an account for which a condition holds; return the account."""
        until = time.monotonic() + 60
        while not holds(row := self.show(name)):
            assert time.monotonic() < until
        return row

    def wait_for_state(self, name, state):
        self.wait_for(name, lambda row: row["state"] == state)

    def chat(self, text="hello from a toy", **more):
        body = {"model": "toy-model", "messages": [{"role": "user", "content": text}], **more}
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.post(f"{self.gateway.base_url}/chat/completions", json=body, headers=headers, timeout=30)

    def chat_until(self, condition):
        """Chat until something is so: the gateway looks for changes of the accounts once a second."""
        until = time.monotonic() + 60
        while not condition(self.chat()):
            assert time.monotonic() < until
            time.sleep(0.05)

    def tokens(self):
        return tokens(self.gateway)


def test_added_accounts_share_the_load_and_tokens_are_counted(gateway, upstream):
    assert gateway.add("first", FIRST).returncode == 0
    assert gateway.add("second", SECOND, "--weight", "2").returncode == 0
    assert [gateway.accounts("check", name).returncode for name in ("first", "second")] == [0, 0]
    gateway.chat_until(lambda _: set(upstream.requests) == {FIRST, SECOND})
    before, asked = gateway.tokens(), len(upstream.requests)
    answers = [gateway.chat() for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[0].json()["choices"][0]["message"]["content"].split() == ["hello", "from", "a", "toy"]
    assert len(upstream.requests) == asked + 10
    assert {name: count - before[name] for name, count in gateway.tokens().items()} == {"input": 40, "output": 40}
    listed = gateway.accounts("list").stdout
    assert ("first" in listed, "second" in listed, gateway.show("second")["weight"]) == (True, True, 2)


def test_a_stream_is_passed_on(gateway):
    gateway.add("first", FIRST)
    gateway.chat_until(lambda answer: answer.status_code == 200)
    response = gateway.chat(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    assert text.split() == ["hello", "from", "a", "toy"]


def test_a_limited_account_cools_down_and_the_other_one_serves(gateway, upstream):
    gateway.add("first", FIRST)
    gateway.add("second", SECOND)
    gateway.chat_until(lambda _: set(upstream.requests) == {FIRST, SECOND})
    upstream.limited.add(FIRST)
    upstream.requests.clear()
    gateway.chat_until(lambda answer: FIRST in upstream.requests and answer.status_code == 200)
    assert [gateway.chat().status_code for _ in range(10)] == [200] * 10
    assert upstream.requests.count(FIRST) == 1
    upstream.limited.add(SECOND)
    assert gateway.chat().status_code == 429
    assert httpx.get(f"{gateway.gateway.origin}/metrics").text.count("gateway_upstream_errors_total{") == 1
    limited = gateway.wait_for("second", lambda row: row["cooldowns"])
    assert limited["cooldowns"][0]["reason"] == "quota"
    upstream.limited.clear()
    assert gateway.accounts("resume", "second").returncode == 0
    gateway.chat_until(lambda answer: answer.status_code == 200)


def test_a_refused_secret_needs_attention_until_it_is_replaced(gateway, upstream):
    gateway.add("first", FIRST)
    gateway.chat_until(lambda answer: answer.status_code == 200)
    upstream.refused.add(FIRST)
    assert gateway.accounts("check", "first").returncode == 1
    assert gateway.chat().status_code == 503
    gateway.wait_for_state("first", "needs_attention")
    assert gateway.add("first", SECOND, "--replace").returncode == 0
    assert gateway.accounts("resume", "first").returncode == 0
    gateway.chat_until(lambda answer: answer.status_code == 200)


def test_invalid_and_shared_secrets_are_refused(gateway):
    gateway.add("first", FIRST)
    for name, secret, words in (
        ("second", FIRST, "account 'second' has the same secret as account 'first'"),
        ("third", "canary", "account 'third': a secret begins with toy-"),
    ):
        done = gateway.add(name, secret)
        assert (done.returncode, words in done.stderr) == (1, True)


def test_a_removed_account_gets_no_more_requests(gateway, upstream):
    gateway.add("first", FIRST)
    gateway.chat_until(lambda answer: answer.status_code == 200)
    assert gateway.accounts("pause", "first").returncode == 0
    assert gateway.show("first")["state"] == "paused"
    assert gateway.accounts("remove", "first", "--yes").returncode == 0
    gateway.chat_until(lambda answer: answer.status_code != 200)
    asked = len(upstream.requests)
    assert gateway.chat().status_code != 200
    assert len(upstream.requests) == asked
    assert gateway.accounts("show", "first").returncode == 1
