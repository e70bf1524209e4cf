"""Gateways whose shared server comes back with nothing: no account and no license is lost, and no request fails."""

import subprocess
import sys
import time

import httpx2 as httpx
import pytest

from tests.conftest import KEY, Gateway
from tests.servers import RedisServer, programs

SETTINGS = """
[server]
port = 0

[drain]
grace_seconds = 10

[store]
url = "{store}"
min_processes = 2

[[licenses]]
id = "tester"
key = "{key}"

[transports.web]
guest = false
activity_seconds = 0

[transports.web.hosts]
site = "{site}"
accounts = "{site}"
upload = "{site}"
"""
FIRST, SECOND = ("canary-psid-first", "canary-psidts-first"), ("canary-psid-second", "canary-psidts-second")
SECONDS = 30


@pytest.fixture
def site(start_command):
    """The simulated site with two accounts; returns its URL."""
    accounts = [word for psid, psidts in (FIRST, SECOND) for word in ("--account", f"{psid}:{psidts}:advanced")]
    pace = ("--first-token-seconds", "0", "--tokens-per-second", "0")
    process = start_command("simulate", "--port", "0", *pace, *accounts)
    return process.wait_for("Base URL").rpartition(" ")[2].strip()


@pytest.fixture(params=programs())
def server(request):
    found = RedisServer(programs()[request.param])
    yield found.start()
    found.stop()


@pytest.fixture
def settings(site, server):
    return SETTINGS.format(store=server.url, key=KEY, site=site)


def run(gateway, *words, given=""):
    """Run a command where a gateway's settings are."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *words],
        cwd=gateway.log.parent, input=given, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill(gateway):
    """Add one account, add and remove another, add two licenses and revoke one; return the keys of these."""
    run(gateway, "accounts", "add", "first", "--secret-stdin", given="\n".join(FIRST))
    run(gateway, "accounts", "add", "second", "--secret-stdin", given="\n".join(SECOND))
    keys = [run(gateway, "licenses", "add", name).strip() for name in ("kept", "revoked")]
    for key in keys:
        until_status(gateway, key, 200)
    run(gateway, "accounts", "remove", "second", "--yes")
    run(gateway, "licenses", "revoke", "revoked")
    until_status(gateway, keys[1], 401)
    return keys


def chat(gateway, key):
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers, timeout=90).status_code


def until(done):
    limit = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < limit
        time.sleep(0.02)


def until_status(gateway, key, status):
    until(lambda: chat(gateway, key) == status)


def listed(gateway):
    return [name for name in ("first", "second") if name in run(gateway, "accounts", "list")]


def test_two_gateways_keep_working_and_a_third_finds_everything(start_gateway, server, settings):
    pair = [start_gateway(settings), start_gateway(settings)]
    kept, revoked = fill(pair[0])
    until_status(pair[1], kept, 200)
    until(lambda: listed(pair[1]) == ["first"])
    until_status(pair[1], revoked, 401)
    server.kill()
    assert [chat(gateway, kept) for gateway in pair for _ in range(5)] == [200] * 10
    server.start()
    statuses = set()

    def restored():
        statuses.update(chat(gateway, kept) for gateway in pair)
        return all("store_restored" in gateway.text() for gateway in pair)

    until(restored)
    assert statuses == {200}
    pair.append(start_gateway(settings))
    until_status(pair[2], kept, 200)
    for gateway in pair:
        assert chat(gateway, kept) == 200
        assert chat(gateway, revoked) == 401
    assert listed(pair[0]) == ["first"]


def test_a_gateway_started_after_the_loss_restores_records_of_its_replica(start_gateway, server, settings):
    gateway = start_gateway(settings)
    kept, revoked = fill(gateway)
    gateway.stop()
    server.kill()
    server.start()
    again = Gateway(gateway.log.parent, settings)
    try:
        until_status(again, kept, 200)
        assert chat(again, revoked) == 401
        assert listed(again) == ["first"]
    finally:
        again.stop()
