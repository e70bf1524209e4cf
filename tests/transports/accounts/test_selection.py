import random

from hypothesis import given
from hypothesis import strategies as st

from protocol.model import Capability
from transports.account import Account, AccountKind, Facts
from transports.accounts.records import AttentionRecord, CooldownReason
from transports.accounts.registry import PauseRecord
from transports.accounts.selection import choose, next_free
from transports.accounts.state import AccountState, Cooldown, Requirement

CHAT = Requirement(family="pro", capability=Capability.CHAT, guest=False)
FREE = Requirement(family="flash", capability=Capability.CHAT, guest=True)
DEAD = AttentionRecord(reason="consent", message="", at=0.0)


def first():
    return 0.0


def states(*names, **fields):
    return [AccountState(Account(id=name, transport="t", **fields)) for name in names]


def asked(among, want, now, tried=(), home=None, luck=first):
    guests = [state for state in among if state.account.guest]
    return choose(among, want, now, guests=guests, tried=frozenset(tried), home=home, rng=luck)


def test_of_two_the_less_loaded_then_the_longer_idle_is_asked():
    a, b, c = states("a", "b", "c")
    a.begin(CHAT, 1.0)
    b.begin(CHAT, 2.0)
    b.end(CHAT)
    assert asked([a, b, c], CHAT, 3.0) is b
    assert asked([c, b, a], CHAT, 3.0) is c
    c.begin(CHAT, 3.0)
    c.end(CHAT)
    assert asked([c, b, a], CHAT, 3.0) is b


def test_luck_alone_says_which_two():
    among = states("a", "b", "c", "d")
    seen = {asked(among, CHAT, 0.0, luck=random.Random(seed).random).account.id for seed in range(50)}
    assert seen == {"a", "b", "c", "d"}


def test_what_was_tried_rests_is_busy_or_paused_is_passed_over():
    tried, cooling, busy, paused, fit = states("tried", "cooling", "busy", "paused", "fit", concurrency=1)
    cooling.cool_down(99.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    busy.begin(CHAT, 0.0)
    paused.paused = PauseRecord(by="me", at=0.0)
    assert asked([tried, cooling, busy, paused, fit], CHAT, 1.0, {"tried"}) is fit
    assert asked([tried, cooling, busy, paused], CHAT, 1.0, {"tried"}) is None


def test_an_account_that_needs_attention_comes_last():
    dead, fit = states("dead", "fit")
    dead.mark_needs_attention(DEAD, 0.0)
    assert asked([dead, fit], CHAT, 100.0) is fit
    assert asked([dead], CHAT, 100.0) is dead
    assert asked([dead], CHAT, 10.0) is None
    assert asked([dead, fit], CHAT, 100.0, home=dead) is fit


def test_an_account_that_needs_attention_with_another_credential_is_like_any_other():
    credential = "1"
    (dead,) = states("dead", facts=lambda: Facts(credential=credential))
    (busier,) = states("busier")
    dead.mark_needs_attention(DEAD, 0.0)
    busier.begin(CHAT, 0.0)
    credential = "2"
    assert asked([dead, busier], CHAT, 1.0) is dead


def test_where_something_of_the_request_is_already_is_asked_first():
    a, b, c = states("a", "b", "c")
    c.begin(CHAT, 0.0)
    assert asked([a, b, c], CHAT, 1.0, home=c) is c
    assert asked([a, b, c], CHAT, 1.0, {"c"}, home=c) is a


def test_a_guest_is_asked_first_where_it_will_do():
    (account,) = states("account")
    (guest,) = states("guest", kind=AccountKind.GUEST)
    guest.begin(FREE, 0.0)
    assert asked([account, guest], FREE, 0.0) is guest
    assert asked([account, guest], CHAT, 0.0) is account


def test_the_next_free_time_is_the_soonest_of_those_that_are_without_attention():
    a, b, dead = states("a", "b", "dead")
    a.cool_down(50.0, CHAT.key, CooldownReason.PACE, 0.0)
    b.cool_down(30.0, CHAT.key, CooldownReason.QUOTA, 0.0)
    dead.mark_needs_attention(DEAD, 0.0)
    assert next_free([a, b, dead], CHAT, 10.0) == Cooldown(30.0, CooldownReason.QUOTA)
    assert next_free([dead], CHAT, 10.0) is None


@given(
    carried=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    tried=st.sets(st.integers(0, 7)),
    seed=st.integers(0, 2**16),
)
def test_whoever_is_chosen_is_fit_and_somebody_is_as_long_as_one_is(carried, tried, seed):
    among = states(*map(str, range(len(carried))), concurrency=5)
    for state, count in zip(among, carried, strict=True):
        for _ in range(count):
            state.begin(CHAT, 0.0)
    fit = [state for state in among if state.in_flight < 5 and int(state.account.id) not in tried]
    chosen = asked(among, CHAT, 1.0, {str(number) for number in tried}, luck=random.Random(seed).random)
    assert (chosen is None) == (not fit)
    assert chosen is None or chosen in fit
    if len(fit) > 1:
        assert (
            chosen.in_flight < max(state.in_flight for state in fit)
            or len({s.in_flight for s in fit}) == 1
            or (sorted(state.in_flight for state in fit)[-2] == chosen.in_flight)
        )
