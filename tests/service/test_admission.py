import pytest

from protocol.model import Caller, RateLimited, Saturated
from service.admission import Room
from service.drain import Drain
from service.settings import LimitSettings

ONE, OTHER = Caller(id="one"), Caller(id="other")


def test_one_license_leaves_room_for_others():
    room = Room(Drain(), 3, 2)
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


def test_what_has_no_license_counts_among_all():
    room = Room(Drain(), 1, 1)
    room.begin(None)
    assert isinstance(room.refusal(ONE), Saturated)
    room.end(None)
    assert room.refusal(ONE) is None


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        (LimitSettings(), 1500),
        (LimitSettings(in_flight=1), 1),
        (LimitSettings(in_flight=100, in_flight_per_license=5), 5),
    ],
)
def test_a_license_may_have_three_quarters_unless_the_settings_say_otherwise(settings, most):
    assert settings.most_of_one == most
