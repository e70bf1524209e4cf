import aiohttp
import anyio
import pytest

from protocol.model import Certainty
from service.server.certificate import write_certificate
from tests import proxies
from tests.transports.conftest import connected
from transports import web
from transports.clock import SystemClock
from transports.http import CLIENT_ERRORS, Timeouts, client, egress_of, is_html, mapped, trusted
from transports.proxy import LOGIN_REFUSED

PSID = "__Secure-1PSID=psid-1; __Secure-1PSIDTS=psidts-1"


async def get(address, proxy=None):
    async with client(Timeouts(), proxy=proxy) as session, session.get(address) as answer:
        return answer.status


async def failure(address, proxy):
    """Return what a call through the proxy ends with, as this gateway's error."""
    with pytest.raises(CLIENT_ERRORS) as caught:
        await get(address, proxy)
    return mapped(caught.value)


@pytest.mark.parametrize(
    ("speak", "scheme", "host", "asked"),
    [
        (proxies.socks5, "socks5h", "elsewhere.example", "elsewhere.example"),
        (proxies.socks5, "socks5", "localhost", "127.0.0.1"),
        (proxies.http, "http", "elsewhere.example", "elsewhere.example"),
    ],
    ids=["socks5h", "socks5", "http"],
)
async def test_names_are_resolved_where_the_proxy_scheme_says(site, speak, scheme, host, asked):
    async with proxies.open_proxy(speak) as proxy:
        address = site.base.replace("127.0.0.1", host)
        assert await get(f"{address}/simulator/state", proxy.address(scheme)) == 200
        assert proxy.seen == [asked]


@pytest.mark.parametrize(("speak", "scheme"), [(proxies.socks5, "socks5h"), (proxies.socks5, "socks5")])
async def test_an_account_is_served_through_its_proxy(site, speak, scheme):
    async with proxies.open_proxy(speak) as proxy:
        account = web.WebAccount(id="one", cookies=PSID, proxy=proxy.address(scheme))
        async with site.connect(account) as transport:
            assert transport.accounts[0].egress == f"{scheme}://127.0.0.1:{proxy.port}"
            await connected(transport).session.ready()
        assert proxy.seen


@pytest.mark.parametrize(
    ("speak", "scheme", "target"),
    [
        (proxies.socks5, "socks5", "http://127.0.0.1:9"),
        (proxies.socks5, "socks5h", "https://127.0.0.1:9"),
        (proxies.http, "http", "https://127.0.0.1:9"),
    ],
)
async def test_a_proxy_that_rejects_the_login_counts_as_not_sent_and_hides_the_password(speak, scheme, target):
    async with proxies.open_proxy(speak) as proxy:
        error = await failure(target, proxy.address(scheme, password="wrong-secret"))
        assert error.certainty is Certainty.NOT_SENT
        assert error.problem == LOGIN_REFUSED
        assert "proxy" not in error.message
        assert "secret" not in repr(error)


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h", "socks4"])
async def test_an_unreachable_proxy_counts_as_not_sent(site, scheme):
    error = await failure(site.base, f"{scheme}://me:secret@127.0.0.1:9")
    assert error.certainty is Certainty.NOT_SENT
    assert "secret" not in repr(error)


async def test_a_client_is_closed_even_if_its_block_was_cancelled():
    with anyio.CancelScope() as scope:
        async with client(Timeouts()) as session:
            scope.cancel()
            await anyio.sleep_forever()
    assert session.closed


def test_the_egress_name_contains_no_credentials():
    assert egress_of(None) == ""
    assert egress_of("socks5h://me:secret@Proxy.example") == "socks5h://proxy.example:1080"
    for bad in ("ftp://proxy.example", "http://u:secret@h:99999"):
        with pytest.raises(ValueError, match="address") as caught:
            egress_of(bad)
        assert "secret" not in str(caught.value)


async def test_certificates_are_verified_behind_a_proxy(tmp_path):
    certificate, _ = write_certificate(tmp_path, SystemClock().wall())
    async with client(Timeouts(), proxy="socks5://127.0.0.1:9", ca_file=certificate) as session:
        assert isinstance(session.connector, aiohttp.TCPConnector)


@pytest.mark.parametrize(
    ("announced", "html"),
    [("text/html", True), ("Text/HTML; charset=utf-8", True), ("application/json", False), ("text/htmlx", False)],
)
def test_html_is_recognized_by_its_content_type(announced, html):
    assert is_html({"Content-Type": announced}) is html
    assert not is_html({})


def test_accounts_share_the_ssl_context_of_a_file_until_it_changes(tmp_path):
    certificate, _ = write_certificate(tmp_path, SystemClock().wall())
    first = trusted(certificate)
    assert trusted(certificate) is first
    certificate.write_bytes(certificate.read_bytes() * 2)
    assert trusted(certificate) is not first
    certificate.write_text("")
    with pytest.raises(ValueError, match="contains no certificate"):
        trusted(certificate)
