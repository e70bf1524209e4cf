import pytest

from service.server.certificate import write_certificate
from tests.transports.conftest import deps_for
from transports import web
from transports.clock import SystemClock
from transports.web.account_config import ACCOUNTS

EXPORT = "__Secure-1PSID={}; __Secure-1PSIDTS=t"


def account(name="one", psid=None, **fields):
    return web.WebAccount(**{"id": name, "cookies": EXPORT.format(psid or f"psid-{name}"), **fields})


async def refused(config):
    """Return why `validate` refuses the settings; `connect` must say the same."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- the caller looks at the message
        web.KIND.validate(config)
    with pytest.raises(ValueError) as again:  # noqa: PT011
        async with web.connect(config, deps_for()):
            pass
    assert str(again.value) == str(caught.value)
    assert "psid-" not in str(caught.value)
    return str(caught.value)


async def test_what_connects_passes_the_check(tmp_path):
    export = tmp_path / "cookies.txt"
    export.write_text(EXPORT.format("psid-file"))
    config = web.WebConfig(accounts=(account(), web.WebAccount(id="file", cookies_file=export)), guest=False)
    web.KIND.validate(config)
    async with web.connect(config, deps_for()) as transport:
        assert [known.id for known in transport.accounts] == ["one", "file"]


async def test_the_guests_name_is_its_own():
    assert "'web-guest'" in await refused(web.WebConfig(accounts=(account("web-guest"),)))


async def test_two_accounts_of_one_session_are_refused():
    told = await refused(web.WebConfig(accounts=(account("one", "psid-1"), account("two", "psid-1"))))
    assert "'one'" in told
    assert "'two'" in told


async def test_an_export_that_cannot_be_used_names_its_account(tmp_path):
    odd = tmp_path / "odd.txt"
    odd.write_text("NID=1; A=2")
    for bad in (
        account("bad", cookies="NID=1"),
        account("bad", cookies=""),
        account("bad", cookies_file=odd),
        account("bad", cookies_file=odd, cookies=""),
        account("bad", cookies_file=tmp_path / "missing.txt", cookies=""),
        account("bad", cookies_file=tmp_path, cookies=""),
        account("bad", proxy="http://u:secret@h:99999"),
    ):
        told = await refused(web.WebConfig(accounts=(bad,)))
        assert "'bad'" in told
        assert "secret" not in told


async def test_certificates_that_cannot_be_used_are_named(tmp_path):
    for name, content in (("missing.pem", None), ("empty.pem", ""), ("odd.pem", "no certificate\n"), ("dir.pem", ...)):
        path = tmp_path / name
        if content is ...:
            path.mkdir()
        elif content is not None:
            path.write_text(content)
        told = await refused(web.WebConfig(accounts=(account(),), ca_file=path))
        assert told.startswith("ca_file: ")
        assert str(path) in told


async def test_a_certificate_that_can_be_used_is(tmp_path):
    certificate, _ = write_certificate(tmp_path, SystemClock().wall())
    web.KIND.validate(web.WebConfig(ca_file=certificate))


def test_the_way_out_is_the_proxy_without_its_credentials():
    assert ACCOUNTS.egress(account()) == ""
    one = ACCOUNTS.egress(account(proxy="http://me:secret@Proxy.example:3128"))
    assert one == ACCOUNTS.egress(account(proxy="http://you:other@proxy.example:3128/")) == "http://proxy.example:3128"


async def test_accounts_know_their_way_out():
    config = web.WebConfig(accounts=(account("direct"), account("away", proxy="http://u:p@proxy.example:3128")))
    async with web.connect(config, deps_for()) as transport:
        assert [known.egress for known in transport.accounts] == ["", "http://proxy.example:3128", ""]
        assert "u:p" not in repr(transport.accounts)


async def test_what_goes_wrong_while_it_is_connected_is_raised_as_it_is():
    with pytest.raises(LookupError):
        async with web.connect(web.WebConfig(accounts=(account(),)), deps_for()):
            raise LookupError
