from protocol.model import Capability, Family
from transports.base import Account
from transports.pool.state import State, Want

CHAT = Want(family=Family.PRO, capability=Capability.CHAT, guest=False)
IMAGE = Want(family=Family.PRO, capability=Capability.IMAGEN, guest=False)
FLASH = Want(family=Family.FLASH, capability=Capability.CHAT, guest=True)


def state(**fields):
    return State(Account(**{"id": "a", "transport": "t", **fields}))


def test_an_account_rests_for_what_it_was_limited_in_alone():
    one = state()
    one.rest(50.0, CHAT)
    assert one.free_at(CHAT, 10.0) == 50.0
    assert one.free_at(IMAGE, 10.0) == 10.0
    assert one.free_at(FLASH, 10.0) == 10.0


def test_it_rests_for_everything_when_the_address_is_blocked():
    one = state()
    one.rest(50.0, None)
    assert one.free_at(FLASH, 10.0) == 50.0


def test_a_longer_rest_is_not_cut_short_by_a_shorter():
    one = state()
    one.rest(50.0, CHAT)
    one.rest(20.0, CHAT)
    assert one.free_at(CHAT, 0.0) == 50.0
    assert one.failures == 2


def test_a_parked_account_is_tried_again_now_and_then():
    one = state()
    one.park("signed_out", 0.0)
    assert one.free_at(CHAT, 0.0) == 60.0
    one.begin(60.0)
    assert one.free_at(CHAT, 60.0) == 120.0
    one.succeed()
    assert one.parked is None
    assert one.free_at(CHAT, 61.0) == 61.0


def test_so_many_a_minute_and_no_more():
    one = state(per_minute=2)
    one.begin(0.0)
    one.begin(10.0)
    assert one.free_at(CHAT, 20.0) == 60.0
    assert one.free_at(CHAT, 60.0) == 60.0
    one.begin(60.0)
    assert one.free_at(CHAT, 61.0) == 70.0


def test_a_guest_suits_only_what_needs_no_account():
    assert not state(guest=True).suits(CHAT)
    assert state(guest=True).suits(FLASH)
    assert state().suits(FLASH)


def test_busy_is_as_many_as_it_may_carry():
    one = state(concurrency=1)
    assert not one.busy
    one.begin(0.0)
    assert one.busy
    one.end()
    assert not one.busy
