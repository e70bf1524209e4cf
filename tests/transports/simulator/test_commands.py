import ssl

import httpx2 as httpx

from protocol.model import Text
from tests.transports.conftest import Site, request_for
from transports import web


async def test_the_site_alone_prints_where_it_is_and_who_it_knows(start_command):
    process = start_command("simulate", "--port", "0", "--account", "a:b:free", "--tokens-per-second", "0")
    cookies = process.wait_for("Account (free)").partition(": ")[2]
    assert cookies == "__Secure-1PSID=a; __Secure-1PSIDTS=b"
    base = process.wait_for("Base URL").rpartition(" ")[2]
    async with Site(base).connect(web.WebAccount(id="one", cookies=cookies)) as transport:
        async with transport.open(request_for("<echo>hello</echo>"), transport.accounts[0]) as answer:
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


def test_a_wrong_account_is_said_in_words(start_command):
    process = start_command("simulate", "--port", "0", "--account", "a:b:golden")
    assert process.status() == 2
    assert "PSID:PSIDTS:PLAN" in process.text()
