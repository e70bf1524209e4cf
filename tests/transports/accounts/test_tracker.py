import anyio
import pytest

from protocol.model import RateLimited, SignedOut
from tests.clock import ManualClock
from tests.pools import GatewayProcess, leasing
from transports.account import Account, Facts, Report
from transports.accounts import LeaseRequest, Reports, Requirement
from transports.accounts.availability import EVERYTHING
from transports.accounts.records import CooldownReason
from transports.accounts.registry import AccountRegistry
from transports.store import MemoryStore

from tests.transports.conftest import CATALOGUE  # isort: skip

WANT = Requirement.of(CATALOGUE.resolve("gemini-3-pro"))
DEAD = SignedOut("It needs a person.", reason="signed_out", advice="Export it again.")


class Credential:
    """The fingerprint of an account's credential, which a test changes."""

    def __init__(self, fingerprint="first"):
        self.fingerprint = fingerprint

    def __call__(self):
        return Facts(credential=self.fingerprint)


def found(account="one", error=None, check="session"):
    return Report(account=account, check=check, error=error)


def pool_with(process=None, *, names=("one",), **config):
    credential = Credential()
    accounts = [Account(id=name, transport="t", facts=credential) for name in names]
    return (process or GatewayProcess()).pool(lambda: accounts, **config), credential


async def leased(pool):
    async with leasing(pool, LeaseRequest(requirement=WANT, until=float("inf"))) as lease:
        return lease.account.id


async def refused(pool):
    with pytest.raises(SignedOut):
        await leased(pool)


async def test_an_account_with_a_failed_check_is_not_leased():
    process = GatewayProcess()
    pool, _ = pool_with(process)
    pool.accounts.apply_report(found(error=DEAD))
    for _ in range(5):
        await refused(pool)
        process.clock.advance(3600)
    assert process.observer.pop_events() == [("needs_attention", "one")]


async def test_a_successful_check_ends_the_failure_of_the_same_check():
    process = GatewayProcess()
    pool, _ = pool_with(process)
    pool.accounts.apply_report(found(error=DEAD))
    pool.accounts.apply_report(found())
    assert await leased(pool) == "one"
    assert process.observer.pop_events() == [("needs_attention", "one"), ("recovered", "one")]


async def test_a_check_does_not_end_the_failure_of_another_check():
    pool, _ = pool_with()
    pool.accounts.apply_report(found(error=DEAD, check="rotation"))
    pool.accounts.apply_report(found(check="session"))
    await refused(pool)
    pool.accounts.apply_report(found(check="rotation"))
    assert await leased(pool) == "one"


async def test_a_new_credential_is_tried_at_once_and_ends_earlier_failures():
    pool, credential = pool_with()
    pool.accounts.apply_report(found(error=DEAD, check="rotation"))
    credential.fingerprint = "second"
    assert await leased(pool) == "one"
    credential.fingerprint = "third"
    pool.accounts.apply_report(found(check="session"))
    assert pool.accounts.state_of("one").attention is None


async def test_an_invalid_new_credential_is_tried_by_one_request_at_most():
    pool, credential = pool_with()
    pool.accounts.apply_report(found(error=DEAD))
    credential.fingerprint = "second"
    assert await leased(pool) == "one"
    await refused(pool)
    pool.accounts.apply_report(found(error=DEAD))
    await refused(pool)


async def test_a_failure_found_by_a_request_is_ended_by_a_request_only():
    process = GatewayProcess()
    pool, _ = pool_with(process, probe_seconds=60.0)
    accounts = pool.accounts
    accounts.mark_needs_attention(accounts.state_of("one"), "challenge", "Answer the page.")
    accounts.apply_report(found())
    await refused(pool)
    process.clock.advance(61)
    assert await leased(pool) == "one"
    assert accounts.mark_working(accounts.state_of("one"), WANT)
    assert await leased(pool) == "one"


async def test_a_failed_request_does_not_replace_the_failure_of_a_check():
    process = GatewayProcess()
    pool, _ = pool_with(process, probe_seconds=60.0)
    accounts = pool.accounts
    accounts.apply_report(found(error=DEAD))
    assert not accounts.mark_needs_attention(accounts.state_of("one"), "signed_out", "…")
    process.clock.advance(61)
    await refused(pool)


async def test_a_failed_check_replaces_a_failure_found_by_a_request():
    process = GatewayProcess()
    pool, _ = pool_with(process, probe_seconds=60.0)
    accounts = pool.accounts
    accounts.mark_needs_attention(accounts.state_of("one"), "signed_out", "…")
    accounts.apply_report(found(error=DEAD))
    process.clock.advance(61)
    await refused(pool)


async def test_a_failed_check_does_not_affect_other_accounts():
    pool, _ = pool_with(names=("one", "two"))
    pool.accounts.apply_report(found("one", DEAD))
    assert [await leased(pool) for _ in range(5)] == ["two"] * 5
    accounts = pool.accounts
    accounts.cool_down(accounts.state_of("two"), WANT.key, 60.0, "quota")
    with pytest.raises(RateLimited):
        await leased(pool)


async def test_a_check_of_one_process_applies_to_all_processes():
    clock = ManualClock()
    store = MemoryStore(clock)
    one, two = GatewayProcess(clock, store, name="one"), GatewayProcess(clock, store, name="two")
    first, _ = pool_with(one, probe_seconds=60.0)
    second, _ = pool_with(two, probe_seconds=60.0)
    async with one.shared_state.open(), two.shared_state.open():
        await two.change_feed.poll()
        first.accounts.apply_report(found(error=DEAD))
        await exchange(one, two)
        clock.advance(3600)
        await refused(second)
        first.accounts.apply_report(found())
        await exchange(one, two)
        assert await leased(second) == "one"


async def exchange(one, two):
    await anyio.wait_all_tasks_blocked()
    await two.change_feed.poll()


async def test_a_resumed_account_is_tried_despite_a_failed_check():
    clock = ManualClock()
    process = GatewayProcess(clock)
    pool, _ = pool_with(process)
    await process.change_feed.poll()
    async with process.shared_state.open():
        pool.accounts.apply_report(found(error=DEAD))
        await anyio.wait_all_tasks_blocked()
        await AccountRegistry(process.store, clock).resume("one", by="me")
        await process.change_feed.poll()
        assert await leased(pool) == "one"


async def test_a_report_before_the_account_is_known_is_not_lost():
    reports, accounts = Reports(), []
    reports(found("late", DEAD))
    pool = GatewayProcess().pool(lambda: list(accounts) if accounts else accounts)
    reports.connect(pool.accounts.apply_report)
    accounts.append(Account(id="late", transport="t", facts=Credential()))
    await refused(pool)
    reports(found("late"))
    assert await leased(pool) == "late"


async def test_a_renewed_credential_alone_does_not_end_a_failure():
    pool, credential = pool_with()
    state = pool.accounts.state_of("one")
    pool.accounts.mark_needs_attention(state, "consent")
    credential.fingerprint = "second"
    pool.accounts.apply_report(Report(account="one", check="rotation", served=False))
    assert state.attention is not None
    pool.accounts.apply_report(found(check="session"))
    assert state.attention is None


async def test_a_cooldown_of_a_quota_covers_the_accounts_that_share_it():
    process, groups = GatewayProcess(), {"a": "first", "b": "first", "c": "second", "d": "", "e": ""}
    accounts = [Account(id=name, transport="t", quota_group=group) for name, group in groups.items()]
    tracker = process.pool(lambda: accounts).accounts

    def cooling():
        return {state.account.id for state in tracker.states if state.cooldowns}

    tracker.cool_down(tracker.state_of("a"), EVERYTHING, 9.0, CooldownReason.ERRORS)
    assert cooling() == {"a"}
    tracker.cool_down(tracker.state_of("a"), WANT.scope, 60.0, CooldownReason.QUOTA)
    assert cooling() == {"a", "b"}
    tracker.cool_down(tracker.state_of("d"), WANT.scope, 60.0, CooldownReason.PACE)
    assert cooling() == {"a", "b", "d"}
