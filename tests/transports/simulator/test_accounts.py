from tests.clock import ManualClock
from transports.simulator.accounts import SimulatedAccounts
from transports.simulator.config import SimulatedAccount, SimulatorConfig

ACCOUNT = SimulatedAccount(psid="p", psidts="t")


def accounts_of(account, clock, **settings):
    return SimulatedAccounts(SimulatorConfig(accounts=(account,), **settings), clock)


def cookies(psidts="t", psid="p"):
    return {"__Secure-1PSID": psid, **({"__Secure-1PSIDTS": psidts} if psidts else {})}


def test_an_old_value_works_only_within_the_grace_period():
    clock = ManualClock()
    accounts = accounts_of(ACCOUNT, clock)
    token = accounts.find(cookies()).access_token
    status, fresh = accounts.rotate(cookies())
    assert status == 200
    assert accounts.find(cookies()).access_token != token
    clock.advance(59)
    assert accounts.find(cookies()).account is ACCOUNT
    clock.advance(2)
    assert accounts.find(cookies()).account is None
    assert accounts.find(cookies(fresh)).account is ACCOUNT


def test_rotations_have_a_minimum_gap():
    clock = ManualClock()
    accounts = accounts_of(ACCOUNT, clock)
    _, fresh = accounts.rotate(cookies())
    assert accounts.rotate(cookies(fresh)) == (429, None)
    clock.advance(60)
    assert accounts.rotate(cookies(fresh))[0] == 200


def test_an_unknown_client_is_a_guest_and_cannot_rotate():
    accounts = accounts_of(ACCOUNT, ManualClock())
    for stranger in (cookies("x"), cookies(psid="q"), {}):
        assert accounts.find(stranger).account is None
        assert accounts.find(stranger).access_token is None
        assert accounts.rotate(stranger) == (401, None)


def test_an_export_without_the_rolling_cookie_works_until_it_is_rotated():
    accounts = accounts_of(ACCOUNT, ManualClock())
    assert accounts.find(cookies("")).account is ACCOUNT
    accounts.rotate(cookies())
    assert accounts.find(cookies("")).account is None


def test_an_account_without_a_rolling_cookie_gets_none_by_rotation():
    bare = SimulatedAccount(psid="p")
    accounts = accounts_of(bare, ManualClock())
    assert accounts.rotate(cookies("")) == (200, None)
    assert accounts.find(cookies("")).account is bare


def test_a_rolling_cookie_that_is_not_renewed_dies():
    clock = ManualClock()
    accounts = accounts_of(ACCOUNT, clock, session_seconds=1200)
    clock.advance(1199)
    status, fresh = accounts.rotate(cookies())
    assert status == 200
    clock.advance(1199)
    assert accounts.find(cookies(fresh)).account is ACCOUNT
    clock.advance(1)
    assert accounts.find(cookies(fresh)).account is None
    assert accounts.rotate(cookies(fresh)) == (401, None)


def test_a_rotation_without_a_new_value_keeps_the_session():
    clock = ManualClock()
    steady = SimulatedAccount(psid="p", psidts="t", rotates=False)
    accounts = accounts_of(steady, clock, session_seconds=1200)
    clock.advance(1000)
    assert accounts.rotate(cookies()) == (200, None)
    clock.advance(1000)
    assert accounts.find(cookies()).account is steady


def test_a_bound_session_works_and_never_rotates():
    bound = SimulatedAccount(psid="p", psidts="t", bound=True)
    accounts = accounts_of(bound, ManualClock())
    assert accounts.rotate(cookies()) == (401, None)
    assert accounts.find(cookies()).account is bound


def test_rotating_an_old_value_gives_a_new_one_or_ends_the_session():
    for rule, status, dead in (("survives", 200, False), ("dies", 401, True)):
        accounts = accounts_of(ACCOUNT, ManualClock(), min_rotation_interval_seconds=0, grace_seconds=300, fork=rule)
        _, first = accounts.rotate(cookies())
        assert accounts.rotate(cookies())[0] == status
        assert (accounts.find(cookies(first)).account is None) == dead
        (judged,) = accounts.shown()
        assert (judged["forks"], judged["dead"]) == (1, dead)


def test_without_a_grace_period_the_old_value_is_refused():
    accounts = accounts_of(ACCOUNT, ManualClock(), min_rotation_interval_seconds=0, grace_seconds=0)
    _, fresh = accounts.rotate(cookies())
    assert accounts.rotate(cookies()) == (401, None)
    assert accounts.rotate(cookies(fresh))[0] == 200
    (judged,) = accounts.shown()
    assert (judged["rotations"], judged["refused"], judged["forks"], judged["dead"]) == (2, 1, 0, False)


def test_a_new_value_is_unseen_until_a_request_sends_it():
    accounts = accounts_of(ACCOUNT, ManualClock())
    assert not accounts.shown()[0]["unseen"]
    _, fresh = accounts.rotate(cookies())
    accounts.find(cookies())
    assert accounts.shown()[0]["unseen"]
    accounts.find(cookies(fresh))
    assert not accounts.shown()[0]["unseen"]


def test_requests_with_an_expired_value_are_counted_for_the_account():
    clock = ManualClock()
    accounts = accounts_of(ACCOUNT, clock)
    accounts.rotate(cookies())
    accounts.find(cookies())
    clock.advance(61)
    accounts.find(cookies())
    accounts.find(cookies("x"))
    (judged,) = accounts.shown()
    assert (judged["signed_in"], judged["as_guest"]) == (1, 2)
    assert accounts.rotate(cookies())[0] == 401
    accounts.find(cookies(psid="nobody"))
    assert accounts.shown() == [{**judged, "refused": 1}]


def test_early_rotations_are_counted():
    accounts = accounts_of(ACCOUNT, ManualClock())
    _, fresh = accounts.rotate(cookies())
    accounts.rotate(cookies(fresh))
    assert accounts.shown()[0]["hasty"] == 1
