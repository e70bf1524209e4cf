"""What the site notices of real requests, as its page shows it."""

import json

import aiohttp
import anyio
import anyio.lowlevel

from tests.clock import ManualClock
from tests.transports.conftest import ACCOUNT
from tests.transports.simulator.conftest import visit
from transports.simulator import export_of
from transports.simulator.account_audit import Gauge
from transports.web import wire
from transports.web.codec import encode


def test_a_gauge_keeps_its_maximum():
    gauge = Gauge()
    for _ in range(2):
        with gauge.hold(), gauge.hold():
            assert gauge.now == 2
    assert (gauge.now, gauge.most) == (0, 2)


async def post_rotation(http, base):
    headers = {"Content-Type": wire.ROTATE_CONTENT_TYPE, "Cookie": export_of(ACCOUNT)}
    async with http.post(f"{base}/RotateCookies", data=wire.ROTATE_BODY, headers=headers) as response:
        return response.status


async def test_two_concurrent_rotations_are_detected(open_site):
    clock = ManualClock()
    async with open_site(clock=clock, rotation_seconds=2) as site, aiohttp.ClientSession() as http:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(post_rotation, http, site.base)
            await clock.until_asleep(2)
            assert (await site.state())["accounts"][0]["rotating"] == 2
            clock.advance(1)
            await clock.until_asleep(2)
            clock.advance(1)
        (judged,) = (await site.state())["accounts"]
        assert (judged["rotating"], judged["most_rotating"], judged["rotations"], judged["hasty"]) == (0, 2, 1, 1)


async def test_a_rotation_takes_effect_even_if_its_client_disconnects(open_site):
    clock = ManualClock()
    async with open_site(clock=clock, rotation_seconds=2) as site:
        async with aiohttp.ClientSession() as http, anyio.create_task_group() as tasks:
            tasks.start_soon(post_rotation, http, site.base)
            await clock.until_asleep()
            tasks.cancel_scope.cancel()
        clock.advance(1)
        await clock.until_asleep()
        (judged,) = (await site.state())["accounts"]
        assert (judged["rotations"], judged["unseen"]) == (1, True)
        clock.advance(1)


async def test_concurrent_turns_are_counted_until_their_streams_end(open_site):
    clock = ManualClock()
    async with open_site(clock=clock) as site, visit(site.base) as browser:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(browser.say, '<sim delay="5"/><echo>late</echo>')
            await clock.until_asleep(2)
            assert (await site.state())["accounts"][0]["generating"] == 2
            while clock.sleepers:
                clock.advance(5)
                await anyio.lowlevel.checkpoint()
        (judged,) = (await site.state())["accounts"]
        assert (judged["generating"], judged["most_generating"]) == (0, 2)


async def test_some_answers_set_a_cookie_except_for_guests(open_site):
    async with open_site(cookie_every=2) as site:
        for account, wanted in ((ACCOUNT, 2), (None, 0)):
            async with visit(site.base, account) as browser:
                headers = {"Cookie": browser.cookies}
                found = 0
                for _ in range(4):
                    query = browser.query(rpcids="otAQ7b", **{"source-path": "/app"})
                    found += await sets_cookie(browser, headers, query)
                assert found == wanted


async def sets_cookie(browser, headers, query):
    own = encode.batch_headers(browser.base, "0F8FAD5B-D9CB-469F-A165-70867728950E")
    form = encode.batch_form([("otAQ7b", "[]")], browser.page.access_token)
    url = browser.base + wire.BATCH_PATH
    async with browser.http.post(url, headers={**own, **headers}, params=query, data=form) as response:
        assert response.status == 200
        return any(line.startswith("__Secure-1PSIDCC=") for line in response.headers.getall("Set-Cookie", []))


async def test_the_page_shows_no_secret(browser, site):
    await browser.say("<echo>x</echo>")
    shown = json.dumps(await site.state())
    assert ACCOUNT.psid not in shown
    assert ACCOUNT.psidts not in shown
