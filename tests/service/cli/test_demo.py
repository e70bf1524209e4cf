import os
import socket
import ssl
import subprocess

import httpx2 as httpx
import pytest

from protocol.model import Text
from tests.transports.conftest import Site, asking, request_for
from transports import web


async def test_the_site_alone_prints_its_url_and_its_accounts(start_command):
    process = start_command("simulate", "--port", "0", "--account", "a:b:free", "--tokens-per-second", "0")
    cookies = process.wait_for("Account (free)").partition(": ")[2]
    assert cookies == "__Secure-1PSID=a; __Secure-1PSIDTS=b"
    base = process.wait_for("Base URL").rpartition(" ")[2]
    async with Site(base).connect(web.WebAccount(id="one", cookies=cookies)) as transport:
        async with asking(transport, request_for("<echo>hello</echo>"), transport.accounts[0]) as answer:
            assert "".join([event.text async for event in answer if isinstance(event, Text)]) == "hello"


def test_with_tls_it_speaks_https_with_the_certificate_it_names(start_command):
    process = start_command("simulate", "--port", "0", "--tls", "--account", "a:b:pro")
    process.wait_for("Account")
    base = process.wait_for("Base URL").rpartition(" ")[2]
    certificate = process.wait_for("Certificate").rpartition(" ")[2]
    assert base.startswith("https://")
    context = ssl.create_default_context(cafile=certificate)
    headers = {"Cookie": "__Secure-1PSID=a; __Secure-1PSIDTS=b"}
    with httpx.Client(verify=context, headers=headers) as client:
        assert "SNlM0e" in client.get(f"{base}/app").text


def test_a_certificate_with_tls_names_is_valid_for_them_only(start_command):
    words = ("--tls", "--tls-name", "gemini.google.com", "--tls-name", "accounts.google.com")
    process = start_command("simulate", "--port", "0", *words, "--account", "a:b:pro")
    process.wait_for("Account")
    port = int(process.wait_for("Base URL").rpartition(":")[2])
    context = ssl.create_default_context(cafile=process.wait_for("Certificate").rpartition(" ")[2])
    for name in ("gemini.google.com", "accounts.google.com", "localhost"):
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            context.wrap_socket(raw, server_hostname=name) as tls,
        ):
            assert tls.version() == "TLSv1.3"
    with socket.create_connection(("127.0.0.1", port)) as raw, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(raw, server_hostname="www.google.com")


@pytest.mark.parametrize("words", [("--tls-name", "a.example"), ("--tls", "--tls-name", "ä.example")])
def test_a_certificate_name_that_cannot_be_used_is_refused(command, words):
    done = command("simulate", "--port", "0", *words)
    assert (done.returncode, "--tls-name" in done.stderr) == (2, True)


def test_a_wrong_account_is_explained(command):
    done = command("simulate", "--port", "0", "--account", "a:b:golden")
    assert (done.returncode, "PSID:PSIDTS:PLAN" in done.stderr) == (2, True)


def test_a_license_key_that_cannot_be_used_is_refused(command):
    done = command("demo", "--port", "0", "--license-key", "short")
    assert (done.returncode, "--license-key" in done.stderr) == (2, True)


def test_a_port_in_use_is_reported_in_one_line(start_gateway, command):
    port = start_gateway().origin.rpartition(":")[2]
    done = command("demo", "--port", port)
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_demo_prints_a_curl_line_that_works(start_command):
    demo = start_command("demo", "--port", "0", "--license-key", "it's-a-key")
    demo.wait_for("-d '")
    text = demo.text()
    base = next(line for line in text.splitlines() if line.startswith("Base URL:")).split()[-1]
    assert base.endswith("/gemini_official/v1")
    assert "License key: it's-a-key" in text
    line = "curl -s" + text.partition("curl")[2].partition("\n\n")[0]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    assert "simulated" in done.stdout
    state = next(line for line in text.splitlines() if line.startswith("Simulator:")).split()[-1]
    seen = httpx.get(state).json()
    assert seen["seen"]["generate"] == 1
    assert seen["departures"] == []
    faults = state.replace("/state", "/faults")
    assert httpx.post(faults, json={"where": "generate", "status": 429}).json() == {"waiting": 1}
    again = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    assert "rate_limit" in again.stdout
    demo.signal(2)
    assert demo.status() == 0


def test_the_demo_reads_the_environment_apart_from_upstreams_and_the_store(start_command):
    variables = {
        "SERVER__CORS_ORIGINS": "https://app.example",
        "SERVER__PREFIX": "/ai",
        "STORE__URL": "redis://127.0.0.1:1/0",
        "TRANSPORTS__WEB__GUEST": "true",
        "TRANSPORTS__SIMULATOR__PACE__FIRST_TOKEN_SECONDS": "0",
        "LICENSES": '[{"id": "other", "key": "sk-other-key-0123456789"}]',
    }
    env = os.environ | {f"GEMINI_GATEWAY__{name}": value for name, value in variables.items()}
    process = start_command("demo", "--port", "0", "--license-key", "sk-kkkkkkkk", env=env)
    base = process.wait_for("Base URL").rpartition(" ")[2]
    assert base.endswith("/ai/v1")
    for key in ("sk-kkkkkkkk", "sk-other-key-0123456789"):
        headers = {"Authorization": f"Bearer {key}", "Origin": "https://app.example"}
        response = httpx.get(f"{base}/models", headers=headers)
        assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, "https://app.example")
    wrong = start_command("demo", "--port", "0", env=env | {"GEMINI_GATEWAY__SERVER__CORS_ORIGINS": "nonsense"})
    assert wrong.status() == 78
    assert "CORS_ORIGINS" in wrong.text()
