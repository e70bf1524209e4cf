"""What the site answers to calls that it does not take, in both profiles. Source: "Codes"."""

import json

import aiohttp
import msgspec
import pytest

from tests.clock import ManualClock
from tests.conftest import ROOT
from tests.transports.conftest import ACCOUNT
from tests.transports.simulator.conftest import visit
from transports.simulator import PROFILES, SimulatedAccount, export_of
from transports.web import wire
from transports.web.codec.frames import FrameParser

CAPTURES = ROOT / "tests" / "captures"


def frames_of(body):
    return [json.loads(frame) for frame in FrameParser(1 << 20).feed(body)]


async def generate_with(browser, token):
    return await browser.generate(spoil=lambda headers, query, form: form.update(at=token))


def capture_of(name):
    """Return the first frame of a recorded answer, read by line as most clients do."""
    return json.loads((CAPTURES / name).read_text().split("\n")[3])


@pytest.fixture(params=PROFILES)
async def visited(request, open_site):
    async with open_site(profile=request.param) as site, visit(site.base) as browser:
        yield site, browser


@pytest.mark.parametrize("call", ["generate", "batch"])
async def test_a_call_without_a_valid_token_gets_one_as_in_the_capture(visited, call):
    site, browser = visited
    capture = capture_of("http400-xsrf.txt")[0]
    good = browser.page.access_token
    for token in ("stale", ""):
        browser.page = msgspec.structs.replace(browser.page, access_token=token)
        status, body = await (browser.generate() if call == "generate" else browser.batch(("otAQ7b", "[]")))
        first, last = frames_of(body)
        assert (status, first[0][:10], last[0][0]) == (400, capture[:10], wire.PART_END)
        ((key, (kind, new_token, (number,))),) = first[0][10][0].items()
        ((capture_key, (capture_kind, _, (capture_number,))),) = capture[10][0].items()
        assert (key, kind, len(number), number.isdigit()) == (capture_key, capture_kind, len(capture_number), True)
        assert new_token == good
        assert [part[0] for part in first] == ["er", "di", "af.httprm"]
    assert (await site.seen("token_refused"), await site.seen("departures")) == (2, 0)
    browser.page = msgspec.structs.replace(browser.page, access_token=new_token)
    assert (await browser.generate())[0] == 200


async def test_any_other_refusal_carries_no_token_as_in_the_capture(visited):
    site, browser = visited
    capture = capture_of("http400-plain.txt")
    status, body = await browser.generate(spoil=lambda headers, query, form: form.update({"f.req": "{"}))
    first = frames_of(body)[0]
    assert (status, first[0], [part[0] for part in first]) == (400, capture[0], [part[0] for part in capture])
    assert await site.seen("departures") == 1


async def test_a_guest_needs_no_token(open_site):
    async with open_site() as site, visit(site.base, None) as guest:
        assert guest.page.access_token is None
        assert (await guest.batch(("otAQ7b", "[]")))[0] == 200


@pytest.mark.parametrize(
    ("setting", "keys"),
    [
        ("SNlM0e", ["SNlM0e"] * 4),
        ("thykhd", ["thykhd"] * 4),
        ("absent", [None] * 4),
        ("cycle", ["SNlM0e", "thykhd", None, "SNlM0e"]),
    ],
)
async def test_the_page_carries_the_token_as_set(open_site, setting, keys):
    async with open_site(page_token=setting) as site, visit_nothing() as http:
        for key in keys:
            async with http.get(f"{site.base}/app", headers={"Cookie": export_of(ACCOUNT)}) as response:
                page = await response.text()
            assert [name for name in ("SNlM0e", "thykhd") if f'"{name}":"' in page] == ([key] if key else [])


def visit_nothing():
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())


async def test_a_fault_expires_the_tokens(visited):
    site, browser = visited
    async with browser.http.post(f"{site.base}/simulator/faults", json={"where": "token"}) as response:
        assert await response.json() == {"waiting": 0}
    assert (await browser.generate())[0] == 400
    async with visit(site.base) as again:
        assert (await again.generate())[0] == 200


async def test_an_earlier_build_is_405_after_a_fault(visited):
    site, browser = visited
    async with browser.http.post(f"{site.base}/simulator/faults", json={"where": "build"}) as response:
        assert response.status == 200
    assert (await browser.generate())[0] == 405
    assert (await browser.batch(("otAQ7b", "[]")))[0] == 405
    async with visit(site.base) as again:
        assert again.page.build_label != browser.page.build_label
        assert (await again.generate())[0] == 200
    assert (await site.seen("build_refused"), await site.seen("departures")) == (2, 0)


async def test_a_build_expires_after_its_lifetime(open_site):
    clock = ManualClock()
    async with open_site(clock=clock, build_seconds=100) as site, visit(site.base) as browser:
        clock.advance(99)
        assert (await browser.batch(("otAQ7b", "[]")))[0] == 200
        clock.advance(1)
        assert (await browser.batch(("otAQ7b", "[]")))[0] == 405


@pytest.mark.parametrize(
    ("account", "interval", "status", "capture"),
    [
        (ACCOUNT, 600, 200, "rotate-200-body.txt"),
        (ACCOUNT, 90, 200, "rotate-200-body.txt"),
        (ACCOUNT, 0, 200, None),
        (SimulatedAccount(psid="p", psidts="t", never_rotated=True), 600, 403, "rotate-403-body.txt"),
        (SimulatedAccount(psid="p", psidts="t", bound=True), 600, 401, None),
    ],
)
async def test_a_rotation_returns_the_interval_to_the_next(open_site, account, interval, status, capture):
    async with open_site(account, rotation_interval_seconds=interval) as site, visit_nothing() as http:
        headers = {"Content-Type": wire.ROTATE_CONTENT_TYPE, "Cookie": export_of(account)}
        async with http.post(f"{site.base}/RotateCookies", data=wire.ROTATE_BODY, headers=headers) as response:
            assert response.status == status
            body = await response.text()
    if capture is None:
        assert "hfcr" not in body
        return
    shown = (CAPTURES / capture).read_text().replace("600", str(interval))
    assert body.partition('["di"')[0] == shown.partition('["di"')[0]
