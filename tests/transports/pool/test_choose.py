from protocol.model import Capability, Family
from transports.account import Account, AccountKind
from transports.pool.choose import choose, next_free
from transports.pool.state import Reason, Rest, State, Want

CHAT = Want(family=Family.PRO, capability=Capability.CHAT, guest=False)
FREE = Want(family=Family.FLASH, capability=Capability.CHAT, guest=True)


def states(*names, **fields):
    return [State(Account(id=name, transport="t", **fields)) for name in names]


def test_the_least_loaded_then_the_longest_idle_is_asked():
    a, b, c = states("a", "b", "c")
    a.begin(1.0)
    b.begin(2.0)
    b.end()
    c.begin(1.5)
    c.end()
    assert choose([a, b, c], CHAT, 3.0, frozenset()) is c
    c.begin(3.0)
    assert choose([a, b, c], CHAT, 3.0, frozenset()) is b


def test_what_was_tried_rests_or_is_busy_is_passed_over():
    tried, resting, busy, fit = states("tried", "resting", "busy", "fit", concurrency=1)
    resting.rest(99.0, CHAT, Reason.QUOTA, 0.0)
    busy.begin(0.0)
    assert choose([tried, resting, busy, fit], CHAT, 1.0, frozenset({"tried"})) is fit
    assert choose([tried, resting, busy], CHAT, 1.0, frozenset({"tried"})) is None


def test_a_parked_account_comes_last():
    parked, fit = states("parked", "fit")
    parked.park("consent", 0.0)
    assert choose([parked, fit], CHAT, 100.0, frozenset()) is fit
    assert choose([parked], CHAT, 100.0, frozenset()) is parked
    assert choose([parked], CHAT, 10.0, frozenset()) is None


def test_a_guest_is_asked_first_where_it_will_do():
    (account,) = states("account")
    (guest,) = states("guest", kind=AccountKind.GUEST)
    assert choose([account, guest], FREE, 0.0, frozenset()) is guest
    assert choose([account, guest], CHAT, 0.0, frozenset()) is account


def test_the_next_free_time_is_the_soonest_of_those_that_are_not_parked():
    a, b, parked = states("a", "b", "parked")
    a.rest(50.0, CHAT, Reason.PACE, 0.0)
    b.rest(30.0, CHAT, Reason.QUOTA, 0.0)
    parked.park("consent", 0.0)
    assert next_free([a, b, parked], CHAT, 10.0) == Rest(30.0, Reason.QUOTA)
    assert next_free([parked], CHAT, 10.0) is None
