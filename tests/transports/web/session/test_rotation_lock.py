"""An interrupted rotation is taken over by another process in time, and counts as open until it is done."""

import aiohttp
import pytest

from tests.transports.conftest import ACCOUNT, connected, deps_for
from tests.transports.web.session.test_rotation import rotation_of
from transports import simulator
from transports.store.port import INTENTS
from transports.web import wire
from transports.web.session.record import fingerprint
from transports.web.session.rotation_lock import RotationIntent, encode_intent, read_intent


@pytest.mark.parametrize(("outcome", "is_open"), [("", True), ("unknown", True), ("rotated", False), ("busy", False)])
def test_an_intent_with_an_unknown_outcome_is_open(outcome, is_open):
    intent = RotationIntent(fence=1, owner="one", started=0.0, old_hash="x", outcome=outcome)
    assert read_intent(encode_intent(intent)) == intent
    assert intent.open == is_open


async def begin_and_vanish(site, transport, store):
    """Rotate as a process that is killed before it has the answer."""
    cookies = connected(transport).session.site.session_store.cookies
    intent = RotationIntent(fence=1, owner="gone", started=await store.now(), old_hash=fingerprint(cookies))
    await store.put(INTENTS, "one", encode_intent(intent))
    headers = {"Content-Type": wire.ROTATE_CONTENT_TYPE, "Cookie": simulator.export_of(ACCOUNT)}
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{site.base}/RotateCookies", data=wire.ROTATE_BODY, headers=headers) as response:
            assert response.status == 200


async def test_an_open_rotation_is_taken_over_after_the_sites_minimum_gap(open_site, clock, store):
    async with open_site(clock=clock, grace_seconds=120) as site:
        async with site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
            await begin_and_vanish(site, transport, store)
            clock.advance(50)
            assert not await rotation_of(transport, store, clock).rotate_now()
            clock.advance(11)
            assert await rotation_of(transport, store, clock).rotate_now()
        (judged,) = (await site.state())["accounts"]
    assert (judged["rotations"], judged["forks"], judged["hasty"]) == (2, 1, 0)


async def test_a_call_without_effect_leaves_the_intent_open(open_site, clock, store):
    async with open_site(clock=clock, grace_seconds=300) as site:
        async with site.connect(deps=deps_for(clock, store), rotate_seconds=0) as transport:
            await begin_and_vanish(site, transport, store)
            clock.advance(61)
            await site.order(where="rotate", status=503)
            with pytest.raises(Exception, match="upstream"):
                await rotation_of(transport, store, clock).rotate_now()
            assert read_intent((await store.get(INTENTS, "one")).value).open
            clock.advance(61)
            assert await rotation_of(transport, store, clock).rotate_now()
            assert not read_intent((await store.get(INTENTS, "one")).value).open
