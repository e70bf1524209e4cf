from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transports.account import Quota
from transports.web.codec.batch import decode_batch
from transports.web.session.usage import decode_plan, decode_windows

CAPTURES = Path(__file__).parents[3] / "captures"


def captured(name):
    return decode_batch((CAPTURES / name).read_bytes(), 1 << 20).get("jSf9Qc")


def told(payload, known=()):
    return {quota.name: (quota.left, quota.total, quota.reset) for quota in decode_windows(payload, known)}


def test_recorded_answers_tell_the_plan_and_both_windows_in_any_order():
    first, second = captured("batch-jSf9Qc-paid.txt"), captured("batch-jSf9Qc-paid-2.txt")
    assert decode_plan(first) == decode_plan(second) == "pro"
    assert told(first) == {"5h": (1992, 2400, 1788200602), "week": (35430, 48383, 1788254602)}
    assert told(second) == {"5h": (2400, 2400, 1781135233), "week": (48106, 48383, 1781646433)}


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


def test_credits_tell_their_reset_elsewhere():
    windows = [[900, 0.1, 5, None, None, [[1790000000, 0]]], [3, 0.5, 3, [[1780000000, 0]]]]
    assert told([2, windows]) == {"credits": (900, 1000, 1790000000)}
    assert told([2, [["10", 0, "1", [["1780000000", 0]]]]]) == {"5h": (10, 10, 1780000000)}


def test_a_window_that_is_used_up_keeps_the_total_that_was_known():
    payload = [2, [[0, 1, 1, [[1780000000, 0]]]]]
    assert told(payload) == {"5h": (0, 100, 1780000000)}
    assert told(payload, [Quota(name="5h", total=2400, left=12)]) == {"5h": (0, 2400, 1780000000)}
    (quota,) = decode_windows(payload)
    assert quota.used_up
    assert not quota.unlimited


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=30,
)


@given(anything, st.lists(st.lists(anything, max_size=6), max_size=4))
def test_whatever_else_is_answered_tells_nothing_wrong(payload, windows):
    decode_plan(payload)
    for one in (payload, [2, windows]):
        assert all(0 <= quota.left <= quota.total for quota in decode_windows(one))
