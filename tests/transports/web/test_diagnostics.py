import pytest
from msgspec.structs import replace

from tests import proxies
from tests.clock import ManualClock
from tests.transports.conftest import asking, deps_for, request_for
from transports import simulator, web
from transports.account import Level
from transports.store import MemoryStore, StoreDown

STEPS = [
    "credential",
    "stored session",
    "way out",
    "page",
    "account",
    "models",
    "quota",
    "rotation",
    "upload host",
]  # fmt: skip


def simulated(**fields):
    return simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1", **fields)


async def examined(transport, account="one"):
    """Examine an account; return the findings by their steps, in their order."""
    return {finding.step: finding async for finding in transport.examine(account)}


def failed(findings):
    return [step for step, finding in findings.items() if finding.level is Level.FAILED]


async def test_all_checks_run_without_sending_a_prompt(site):
    async with site.connect() as transport:
        findings = await examined(transport)
        assert list(findings) == STEPS
        assert all(finding.level is Level.OK for finding in findings.values())
        assert "ultra" in findings["account"].message
        assert "3.1 Pro" in findings["models"].message
        assert "pro: 1000 of 1000 left" in findings["quota"].message
        assert "rotated" in findings["rotation"].message
        again = await examined(transport)
        assert "Not tried" in again["rotation"].message
        assert "seconds ago" in again["stored session"].message
        assert await site.seen("generate") == 0
        assert await site.seen("rotate") == 1
        assert (await site.state())["departures"] == []
        report = str([*findings.values(), *again.values()])
        assert "psid" not in report.replace("1PSID", "")


async def test_an_ended_session_is_reported_and_ends_the_checks(site):
    expired = web.WebAccount(id="one", cookies="__Secure-1PSID=psid-1; __Secure-1PSIDTS=expired")
    async with site.connect(expired) as transport:
        findings = await examined(transport)
        assert list(findings) == STEPS[:5]
        assert failed(findings) == ["account"]
        assert "signed_out" in findings["account"].message
        assert "export" in findings["account"].advice
        assert await site.seen("rotate") == 0


async def test_a_page_without_a_token_is_normal(open_site):
    async with open_site(page_token="absent") as site, site.connect() as transport:
        findings = await examined(transport)
        assert list(findings) == STEPS
        assert all(finding.level is Level.OK for finding in findings.values())
        assert "without an access token. This is normal" in findings["page"].message


async def test_an_unknown_status_is_a_warning(site):
    async with site.connect() as transport:
        await site.order(where="otAQ7b", status=503)
        findings = await examined(transport)
        assert not failed(findings)
        assert findings["account"].level is Level.WARNING


async def test_a_session_bound_to_its_browser_is_detected(open_site):
    async with open_site(simulated(bound=True)) as site, site.connect() as transport:
        findings = await examined(transport)
        assert failed(findings) == ["rotation"]
        assert "DBSC" in findings["rotation"].message
        assert "bound" in findings["rotation"].advice
        assert list(findings) == STEPS


async def test_a_session_that_is_never_rotated_is_detected_with_one_call(open_site):
    async with open_site(simulated(never_rotated=True)) as site, site.connect() as transport:
        for _ in range(2):
            findings = await examined(transport)
            assert not failed(findings)
            assert findings["rotation"].level is Level.WARNING
            assert "never rotates" in findings["rotation"].message
        assert await site.seen("rotate") == 1


async def test_a_session_rotated_elsewhere_is_detected(open_site):
    clock = ManualClock()
    deps = replace(deps_for(clock), only="one")  # nothing runs in the background
    async with open_site(clock=clock) as site, site.connect(deps=deps) as transport:
        await examined(transport)
        clock.advance(600)
        await site.order(where="rotate", status=401, times=2)
        findings = await examined(transport)
        assert failed(findings) == ["rotation"]
        assert "something else" in findings["rotation"].message
        assert "DBSC" not in findings["rotation"].message


@pytest.mark.parametrize(
    ("status", "level", "advice"),
    [
        (1014, Level.FAILED, "wait"),
        (1021, Level.FAILED, "refuses"),
        (1033, Level.WARNING, "confirmation"),
        (1040, Level.FAILED, "terms"),
        (1054, Level.FAILED, "guardian"),
        (1060, Level.FAILED, "country"),
    ],
)
async def test_each_account_status_has_a_message(open_site, status, level, advice):
    async with open_site(simulated(status=status)) as site, site.connect() as transport:
        findings = await examined(transport)
        assert findings["account"].level is level
        assert advice in findings["account"].advice
        assert ("models" in findings) is (level is Level.WARNING)
        assert "rotation" in findings


@pytest.mark.parametrize(
    ("location", "advice"),
    [("https://www.google.com/sorry/index", "robot"), ("https://consent.google.com/m", "consent")],
)
async def test_a_challenge_and_a_consent_have_different_reasons(site, location, advice):
    async with site.connect() as transport:
        await site.order(where="app", status=302, location=location)
        findings = await examined(transport)
        assert list(findings)[-1] == "page"
        assert advice in findings["page"].advice


async def test_used_up_limits_are_a_warning(open_site):
    async with open_site(simulated(quota=1)) as site, site.connect() as transport:
        async with asking(transport, request_for("<echo>x</echo>"), transport.accounts[0]) as answer:
            assert [event async for event in answer]
        findings = await examined(transport)
        assert findings["quota"].level is Level.WARNING
        assert "pro: 0 of 1 left" in findings["quota"].message


async def test_a_proxy_that_is_down_fails_the_egress_check(site):
    async with proxies.open_proxy(proxies.socks5) as proxy:
        address = proxy.address("socks5")
    account = web.WebAccount(id="one", cookies="__Secure-1PSID=psid-1", proxy=address)
    async with site.connect(account) as transport:
        findings = await examined(transport)
        assert failed(findings) == ["way out"]
        assert list(findings)[-1] == "way out"
        assert f"127.0.0.1:{proxy.port}" in findings["way out"].message
        assert "secret" not in str(findings)


async def test_an_unreachable_upload_host_is_reported(site):
    hosts = web.Hosts(site=site.base, accounts=site.base, upload="http://127.0.0.1:9")
    async with site.connect(hosts=hosts) as transport:
        findings = await examined(transport)
        assert failed(findings) == ["upload host"]


class DownStore(MemoryStore):
    async def get(self, place, key):
        raise StoreDown("out of order")

    async def now(self):
        raise StoreDown("out of order")


async def test_an_unavailable_store_is_reported_and_prevents_the_rotation(site):
    async with site.connect(deps=deps_for(store=DownStore(ManualClock()))) as transport:
        findings = await examined(transport)
        assert findings["stored session"].level is Level.WARNING
        assert findings["rotation"].level is Level.WARNING
        assert await site.seen("rotate") == 0


async def test_a_rotation_by_another_process_is_not_disturbed(site):
    deps = deps_for()
    async with site.connect(deps=deps, rotate_seconds=540) as transport:
        await deps.store.locks.acquire("rotate/one", "another", 45.0)
        findings = await examined(transport)
        assert "another process" in findings["rotation"].message


async def test_a_guest_can_be_examined_and_an_unknown_account_cannot(site):
    async with site.connect() as transport:
        findings = await examined(transport, "web-guest")
        assert list(findings) == ["way out", "page", "upload host"]
        assert not failed(findings)
        assert failed(await examined(transport, "nobody")) == ["account"]
