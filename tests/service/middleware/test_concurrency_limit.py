import pytest

from protocol.model import Caller, RateLimited, Saturated
from service.middleware.concurrency_limit import RequestSlots
from service.server.shutdown import Shutdown

ONE, OTHER = Caller(id="one"), Caller(id="other")


def test_one_license_cannot_take_every_slot():
    room = RequestSlots(Shutdown(), 3, 2)
    for _ in range(2):
        assert room.refusal(ONE) is None
        room.begin(ONE)
    refused = room.refusal(ONE)
    assert isinstance(refused, RateLimited)
    assert (refused.code, refused.retry_after) == ("rate_limit_exceeded", 1.0)
    assert room.refusal(OTHER) is None
    room.begin(OTHER)
    assert isinstance(room.refusal(OTHER), Saturated)
    room.end(OTHER)
    room.end(ONE)
    assert room.refusal(ONE) is None


def test_requests_without_a_license_count_against_the_total_limit():
    room = RequestSlots(Shutdown(), 1, 1)
    room.begin(None)
    assert isinstance(room.refusal(ONE), Saturated)
    room.end(None)
    assert room.refusal(ONE) is None


def fill(room, caller):
    """Take slots for a license until it is refused; return their number, and the refusal."""
    count = 0
    while (refused := room.refusal(caller)) is None:
        room.begin(caller)
        count += 1
    return count, refused


def test_each_license_leaves_a_quarter_of_the_free_slots_to_others():
    room = RequestSlots(Shutdown(), 2000, None)
    for number, most in enumerate([1500, 375, 94, 24, 6]):
        count, refused = fill(room, Caller(id=str(number)))
        assert (count, type(refused)) == (most, RateLimited)
    count, refused = fill(room, Caller(id="last"))
    assert (count, type(refused)) == (1, Saturated)


def test_a_license_may_take_every_slot_if_the_settings_allow_it():
    assert fill(RequestSlots(Shutdown(), 8, 8), ONE)[0] == 8


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_license_may_have_one_request_if_the_limit_is_low(most):
    assert fill(RequestSlots(Shutdown(), most, None), ONE)[0] >= 1
