from protocol.model import Capability, Family
from transports.account import Account, AccountKind
from transports.pool.state import Reason, State, Want

CHAT = Want(family=Family.PRO, capability=Capability.CHAT, guest=False)
IMAGE = Want(family=Family.PRO, capability=Capability.IMAGEN, guest=False)
FLASH = Want(family=Family.FLASH, capability=Capability.CHAT, guest=True)


def state(**fields):
    return State(Account(**{"id": "a", "transport": "t", **fields}))


def test_an_account_rests_for_what_it_was_limited_in_alone():
    one = state()
    one.rest(50.0, CHAT, Reason.QUOTA, 0.0)
    assert one.free_at(CHAT, 10.0) == 50.0
    assert one.free_at(IMAGE, 10.0) == 10.0
    assert one.free_at(FLASH, 10.0) == 10.0


def test_it_rests_for_everything_when_the_address_is_blocked():
    one = state()
    one.block(50.0)
    assert one.free_at(FLASH, 10.0) == 50.0
    assert one.failures(FLASH, Reason.QUOTA, 10.0) == 0


def test_a_longer_rest_is_not_cut_short_by_a_shorter():
    one = state()
    one.rest(50.0, CHAT, Reason.QUOTA, 0.0)
    one.rest(20.0, CHAT, Reason.QUOTA, 0.0)
    assert one.free_at(CHAT, 0.0) == 50.0


def test_refusals_that_come_during_a_rest_make_no_later_one_longer():
    one = state()
    for _ in range(5):
        assert one.failures(CHAT, Reason.QUOTA, 0.0) == 0
        one.rest(50.0, CHAT, Reason.QUOTA, 0.0)
    assert one.failures(CHAT, Reason.QUOTA, 50.0) == 1
    one.rest(150.0, CHAT, Reason.QUOTA, 50.0)
    assert one.failures(CHAT, Reason.QUOTA, 150.0) == 2


def test_one_family_does_not_pay_for_another_nor_a_limit_for_the_pace():
    one = state()
    one.rest(50.0, CHAT, Reason.QUOTA, 0.0)
    assert one.failures(FLASH, Reason.QUOTA, 60.0) == 0
    assert one.failures(CHAT, Reason.PACE, 60.0) == 0
    one.succeed(FLASH, 60.0)
    assert one.failures(CHAT, Reason.QUOTA, 60.0) == 1
    one.succeed(CHAT, 60.0)
    assert one.failures(CHAT, Reason.QUOTA, 60.0) == 0


def test_an_answer_that_began_before_the_rest_does_not_make_light_of_it():
    one = state()
    one.rest(50.0, CHAT, Reason.QUOTA, 0.0)
    one.succeed(CHAT, 10.0)
    assert one.failures(CHAT, Reason.QUOTA, 60.0) == 1


def test_a_parked_account_is_tried_again_now_and_then():
    one = state()
    assert one.park("signed_out", 0.0)
    assert not one.park("signed_out", 0.0)
    assert one.free_at(CHAT, 0.0) == 60.0
    one.begin(60.0)
    assert one.free_at(CHAT, 60.0) == 120.0
    assert one.succeed(CHAT, 60.0)
    assert not one.succeed(CHAT, 60.0)
    assert one.parked is None
    assert one.free_at(CHAT, 61.0) == 61.0


def test_a_parked_account_is_tried_again_as_soon_as_its_credential_has_changed():
    versions = iter([1, 1, 2, 2, 2])
    one = state(credential=lambda: next(versions))
    one.park("signed_out", 0.0)
    assert one.free_at(CHAT, 1.0) == 60.0
    assert one.free_at(CHAT, 1.0) == 1.0
    one.begin(1.0)
    assert one.free_at(CHAT, 1.0) == 61.0


def test_a_parked_account_of_a_blocked_address_is_not_tried():
    one = state()
    one.park("signed_out", 0.0)
    one.block(600.0)
    assert one.free_at(CHAT, 100.0) == 600.0


def test_nothing_is_kept_of_requests_where_nothing_limits_them():
    one = state()
    for _ in range(1000):
        one.begin(0.0)
    assert not one._begun


def test_so_many_a_minute_and_no_more():
    one = state(per_minute=2)
    one.begin(0.0)
    one.begin(10.0)
    assert one.free_at(CHAT, 20.0) == 60.0
    assert one.free_at(CHAT, 60.0) == 60.0
    one.begin(60.0)
    assert one.free_at(CHAT, 61.0) == 70.0


def test_a_guest_suits_only_what_needs_no_account():
    assert not state(kind=AccountKind.GUEST).suits(CHAT)
    assert state(kind=AccountKind.GUEST).suits(FLASH)
    assert state().suits(FLASH)


def test_busy_is_as_many_as_it_may_carry():
    one = state(concurrency=1)
    assert not one.busy
    one.begin(0.0)
    assert one.busy
    one.end()
    assert not one.busy
