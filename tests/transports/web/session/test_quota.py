from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import RateLimited
from tests.clock import ManualClock
from tests.transports.conftest import asking, deps_for, request_for
from transports import simulator
from transports.account import Quota
from transports.web.codec.batch import decode_batch
from transports.web.session.quota import decode_plan, decode_quotas, decode_reset, decode_windows


def limit(remaining, reset):
    return [[1, 4], None, 100 if not remaining else 5, [reset], 10, remaining]


@pytest.mark.parametrize(
    ("limits", "reset"),
    [
        ([limit(0, 500)], 500),
        ([limit(3, 900), limit(0, 500), limit(0, 700)], 700),
        ([limit(3, 900)], None),
        ([[[1, 4], None, 100, None, 10, 0]], None),
        ([[[1, 4], None, 0, [600], 0, 0]], None),
        ([[[1, 4], None, 0, [600], 0, 0], limit(0, 500)], 500),
        ([[["1", "4"], None, "100", ["500"], "10", "0"]], 500),
        ([], None),
    ],
)
def test_the_reset_time_is_that_of_the_used_up_limits(limits, reset):
    assert decode_reset([limits]) == reset


@pytest.mark.parametrize("payload", [None, [], {}, [5], [[5, "x", None]]])
def test_an_answer_in_another_form_is_ignored(payload):
    assert decode_reset(payload) is None


async def say(transport, model, text="<echo>x</echo>"):
    async with asking(transport, request_for(text, model), transport.accounts[0]) as answer:
        assert [event async for event in answer]


async def test_a_used_up_limit_has_its_reset_time(open_site):
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


def test_quotas_are_read_by_family_and_an_uncertain_one_is_not_used_up():
    flash = [[[1, 11], None, 50, [500], 10, 5], [[2, 11], None, 100, [700], 10, 0], [[9, 9], None, 0, None, 10, 10]]
    quotas_in = {quota.name: (quota.remaining, quota.resets_at) for quota in decode_quotas([flash], "flash")}
    assert quotas_in == {"flash": (10, None), "flash-thinking": (0, 700)}
    pro = decode_quotas([[limit(0, 500), limit(3, 900)]], "pro")
    assert [(quota.name, quota.remaining, quota.resets_at) for quota in pro] == [("pro", 3, 900)]
    assert decode_quotas([[limit(0, 500), [[[1], "x"], None]]], "pro")[0].remaining == 0


def test_a_limit_of_0_with_nothing_used_is_unlimited():
    (quota,) = decode_quotas([[[[1, 4], None, 0, [600], 0, 0], limit(3, 900)]], "pro")
    assert (quota.total, quota.remaining, quota.unlimited, quota.used_up) == (0, 0, True, False)
    flash = [[["1", "11"], None, 0, None, 0, 0], [["2", "11"], None, 100, ["700"], "10", "0"]]
    unlimited, used_up = decode_quotas([flash], "flash")
    assert (unlimited.name, unlimited.unlimited) == ("flash", True)
    assert (used_up.name, used_up.used_up, used_up.resets_at) == ("flash-thinking", True, 700)


async def test_after_a_limit_is_reached_the_quota_is_used_up(open_site):
    clock = ManualClock()
    account = simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1", quota=1)
    async with open_site(account, clock=clock) as site, site.connect(deps=deps_for(clock)) as transport:
        await say(transport, "gemini-3-pro")
        with pytest.raises(RateLimited):
            await say(transport, "gemini-3-pro")
        quotas_in = {quota.name: quota for quota in transport.accounts[0].facts().quotas}["pro"]
        assert (quotas_in.remaining, quotas_in.total) == (0, 1)
        assert quotas_in.resets_at == pytest.approx(clock.wall() + 3600, abs=2)


CAPTURES = Path(__file__).parents[3] / "captures"


def captured(name):
    return decode_batch((CAPTURES / name).read_bytes(), 1 << 20).get("jSf9Qc")


def quotas_in(payload, known=()):
    return {quota.name: (quota.remaining, quota.total, quota.resets_at) for quota in decode_windows(payload, known)}


def test_plan_and_both_windows_are_read_from_recorded_answers():
    first, second = captured("batch-jSf9Qc-paid.txt"), captured("batch-jSf9Qc-paid-2.txt")
    assert decode_plan(first) == decode_plan(second) == "pro"
    assert quotas_in(first) == {"5h": (1992, 2400, 1788200602), "week": (35430, 48383, 1788254602)}
    assert quotas_in(second) == {"5h": (2400, 2400, 1781135233), "week": (48106, 48383, 1781646433)}


@pytest.mark.parametrize(
    ("tier", "plan"),
    [
        (1, "free"),
        (2, "pro"),
        (3, "ultra"),
        (4, "plus"),
        (6, "ultra"),
        ("2", "pro"),
        (5, None),
        (None, None),
        ([], None),
    ],
)
def test_the_tier_is_the_plan(tier, plan):
    assert decode_plan([tier, [], False]) == plan


def test_the_reset_time_of_credits_is_in_another_field():
    windows = [[900, 0.1, 5, None, None, [[1790000000, 0]]], [3, 0.5, 3, [[1780000000, 0]]]]
    assert quotas_in([2, windows]) == {"credits": (900, 1000, 1790000000)}
    assert quotas_in([2, [["10", 0, "1", [["1780000000", 0]]]]]) == {"5h": (10, 10, 1780000000)}


def test_a_used_up_window_keeps_its_known_total():
    payload = [2, [[0, 1, 1, [[1780000000, 0]]]]]
    assert quotas_in(payload) == {"5h": (0, 100, 1780000000)}
    assert quotas_in(payload, [Quota(name="5h", total=2400, remaining=12)]) == {"5h": (0, 2400, 1780000000)}
    (quota,) = decode_windows(payload)
    assert quota.used_up
    assert not quota.unlimited


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=30,
)


@given(anything, st.lists(st.lists(anything, max_size=6), max_size=4))
def test_unknown_answers_give_no_wrong_quota(payload, windows):
    decode_plan(payload)
    for one in (payload, [2, windows]):
        assert all(0 <= quota.remaining <= quota.total for quota in decode_windows(one))
