"""The gateway's own checks set the state of its accounts: a signed-out account gets no request."""

import signal
import time

import httpx2 as httpx
import pytest

from tests.conftest import BASE_SETTINGS, KEY

HELLO = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>ok</echo>"}]}
NEEDS_ATTENTION = 'gateway_accounts{capability="chat",kind="session",state="needs_attention",transport="web"}'
READY = 'gateway_accounts{capability="chat",kind="session",state="ready",transport="web"}'
SENT = 'gateway_upstream_requests_total{transport="web"}'
SIGNED_OUT, REJECTED, NOBODY = "psid-2:psidts-2:advanced:0:1016", "psid-2:psidts-2:advanced:0:1021", "psid-9:x:free"


def export(number):
    return f"__Secure-1PSID=psid-{number}; __Secure-1PSIDTS=psidts-{number}"


def metric(gateway, name):
    lines = httpx.get(f"{gateway.origin}/metrics").text.splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)


def eventually(check):
    until = time.monotonic() + 90
    while not check():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def ask(gateway):
    answer = httpx.post(
        f"{gateway.base_url}/chat/completions", headers={"Authorization": f"Bearer {KEY}"}, json=HELLO, timeout=60
    )
    return answer.status_code


@pytest.fixture
def start(start_command, start_gateway):
    """Start a gateway with two accounts at a simulated site that knows the first, a second as told, and a third."""

    def start_both(second):
        known = ("psid-1:psidts-1:advanced", second, "psid-3:psidts-3:advanced")
        accounts = [word for account in known for word in ("--account", account)]
        pace = ("--tokens-per-second", "0", "--first-token-seconds", "0")
        site = start_command("simulate", "--port", "0", *accounts, *pace)
        url = site.wait_for("Base URL").rpartition(" ")[2].strip()
        hosts = "".join(f'{name} = "{url}"\n' for name in ("site", "accounts", "upload"))
        files = [site.log.parent / f"{name}.cookies" for name in ("one", "two")]
        for number, file in enumerate(files, 1):
            file.write_text(export(number))
        entries = "".join(
            f'[[transports.web.accounts]]\nid = "{file.stem}"\nper_minute = 0\ncookies_file = "{file}"\n'
            for file in files
        )
        plain = BASE_SETTINGS.format(key=KEY)
        return start_gateway(f"{plain}[transports.web]\nguest = false\n[transports.web.hosts]\n{hosts}{entries}"), files

    return start_both


@pytest.mark.parametrize("second", [SIGNED_OUT, REJECTED, NOBODY], ids=["signed out", "rejected", "unknown"])
def test_a_signed_out_account_gets_no_request_until_it_has_new_cookies(start, second):
    gateway, files = start(second)
    eventually(lambda: metric(gateway, NEEDS_ATTENTION) == 1)
    assert metric(gateway, SENT) == 0
    assert [ask(gateway) for _ in range(6)] == [200] * 6
    assert metric(gateway, SENT) == 6
    files[1].write_text(export(3))
    gateway.signal(signal.SIGHUP)
    eventually(lambda: metric(gateway, READY) == 2)
    assert metric(gateway, NEEDS_ATTENTION) == 0
    assert [ask(gateway) for _ in range(6)] == [200] * 6
    assert metric(gateway, SENT) == 12
