import pytest

from protocol.model import RateLimited
from tests.clock import ManualClock
from tests.transports.conftest import deps_for, request_for
from transports import simulator
from transports.web.quota import decode_reset


def limit(remaining, reset):
    return [[1, 4], None, 100 if not remaining else 5, [reset], 10, remaining]


@pytest.mark.parametrize(
    ("limits", "reset"),
    [
        ([limit(0, 500)], 500),
        ([limit(3, 900), limit(0, 500), limit(0, 700)], 700),
        ([limit(3, 900)], None),
        ([[[1, 4], None, 100, None, 10, 0]], None),
        ([], None),
    ],
)
def test_the_reset_is_that_of_the_limits_that_are_used_up(limits, reset):
    assert decode_reset([limits]) == reset


@pytest.mark.parametrize("payload", [None, [], {}, [5], [[5, "x", None]]])
def test_an_answer_of_another_form_tells_nothing(payload):
    assert decode_reset(payload) is None


async def say(transport, model, text="<echo>x</echo>"):
    async with transport.open(request_for(text, model), transport.accounts[0]) as answer:
        assert [event async for event in answer]


async def test_a_used_up_limit_says_when_it_is_reset(open_site):
    clock = ManualClock()
    account = simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1", quota=1)
    async with open_site(account, clock=clock) as site, site.connect(deps=deps_for(clock)) as transport:
        await say(transport, "gemini-3-pro")
        clock.advance(100)
        with pytest.raises(RateLimited) as caught:
            await say(transport, "gemini-3-pro")
        assert caught.value.retry_after == pytest.approx(3600 - 100, abs=2)
        await say(transport, "gemini-2.5-flash")
        assert await site.seen("rpc_qpEbW") == 1
