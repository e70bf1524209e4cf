"""A real gateway on a real Redis or Valkey that is killed, stopped, emptied and replaced while requests come."""

import time

import httpx2 as httpx
import pytest

from tests.conftest import KEY, SETTINGS
from tests.servers import programs, servers_of


@pytest.fixture(params=programs())
def start(request):
    """Start servers; all are ended."""
    with servers_of(programs()[request.param]) as begin:
        yield begin


class Caller:
    """Asks one gateway, over one connection."""

    def __init__(self, gateway, client):
        self._gateway, self._client = gateway, client
        self._headers = {"Authorization": f"Bearer {KEY}"}

    def chat(self, content="Hello!"):
        body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": content}]}
        return self._post("/chat/completions", json=body)

    def video(self):
        return self._post("/videos", json={"model": "gemini-3-pro", "prompt": "A boat"})

    def ready(self):
        return self._client.get(f"{self._gateway.origin}/readyz").status_code

    def metric(self, name):
        lines = self._client.get(f"{self._gateway.origin}/metrics").text.splitlines()
        return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")]

    def until(self, *, is_open):
        """Wait until the gateway's breaker is open, or closed."""
        until = time.monotonic() + 90
        while self.metric("gateway_store_breaker_open") != [float(is_open)]:
            assert time.monotonic() < until
            time.sleep(0.02)

    def _post(self, path, **body):
        return self._client.post(self._gateway.base_url + path, headers=self._headers, timeout=90, **body)


def settings(url):
    return SETTINGS.format(key=KEY) + f'\n[store]\nurl = "{url}"\n'


@pytest.fixture
def calls(start_gateway):
    clients = []

    def begin(url):
        clients.append(httpx.Client())
        return Caller(start_gateway(settings(url)), clients[-1])

    yield begin
    for client in clients:
        client.close()


def check_works_without_store(caller):
    """Check that chats are answered without the store, and that requests which need it are refused."""
    assert [caller.chat().status_code for _ in range(20)] == [200] * 20
    refused = caller.video()
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_unavailable")
    assert refused.headers["Retry-After"] == "5"
    assert caller.ready() == 200


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_no_chat_fails_while_the_store_is_down_and_everything_works_when_it_is_back(start, calls, how):
    server = start()
    caller = calls(server.url)
    assert caller.chat().status_code == 200
    assert caller.video().status_code == 200
    if how == "killed":
        server.kill()
    else:
        server.pause()
    check_works_without_store(caller)
    caller.until(is_open=True)
    if how == "killed":
        server.start()
    else:
        server.go_on()
    caller.until(is_open=False)
    assert caller.chat().status_code == 200
    assert caller.video().status_code == 200


def test_a_store_that_came_back_empty_is_used(start, calls):
    server = start()
    caller = calls(server.url)
    assert caller.chat().status_code == 200
    server.kill()
    server.start()
    assert [caller.chat().status_code for _ in range(20)] == [200] * 20
    caller.until(is_open=False)
    assert caller.video().status_code == 200


def test_a_gateway_starts_without_its_store_and_uses_it_once_it_is_up(start, calls):
    server = start()
    server.kill()
    caller = calls(server.url)
    check_works_without_store(caller)
    server.start()
    caller.until(is_open=False)
    assert caller.chat().status_code == 200
    assert caller.video().status_code == 200


def test_a_promoted_replica_is_used(start, calls):
    first, second = start(), start()
    second.ask("REPLICAOF", "127.0.0.1", first.port)
    caller = calls(second.url)  # what was the first one's address is now the replica's
    check_works_without_store(caller)
    second.ask("REPLICAOF", "NO", "ONE")
    caller.until(is_open=False)
    assert caller.chat().status_code == 200
    assert caller.video().status_code == 200
