from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import msgspec
import pytest
from structlog.testing import capture_logs

from protocol.model import Certainty, UpstreamFailed
from tests.clock import ManualClock
from tests.transports.accounts.test_configured import TYPE, declared, record
from tests.transports.conftest import deps_for
from transports.account import Account, AccountKind
from transports.accounts.connected import ConnectedAccount, ConnectedAccounts


class Connection(ConnectedAccount):
    """A connection that notes what is done with it."""

    background = "not started"
    closed = False

    async def run(self):
        self.background = "running"
        try:
            await anyio.sleep_forever()
        finally:
            self.background = "cancelled"


class Connections(ConnectedAccounts):
    """Accounts whose connections are remembered in the order in which they were opened."""

    def __init__(self, accounts, deps):
        super().__init__(TYPE, accounts, deps)
        self.opened = []

    @asynccontextmanager
    async def connect_account(self, configured):
        if configured is None:
            account = Account(id="toy-guest", transport="toy", kind=AccountKind.GUEST)
        else:
            account = TYPE.account_of(configured.settings, "toy")
        self.opened.append(Connection(account))
        yield self.opened[-1]
        self.opened[-1].closed = True


@pytest.fixture
def deps():
    return msgspec.structs.replace(deps_for(ManualClock()), name="toy")


def names(accounts):
    return [account.id for account in accounts.sequence]


async def add(deps, one):
    await deps.registry.add(one, replace=True)
    await deps.change_feed.poll()


async def until(condition):
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def test_accounts_come_in_the_order_of_the_settings_then_the_store_and_the_guest_last(deps):
    await deps.registry.add(record("z", "key-z"))
    await deps.registry.add(record("m", "key-m"))
    await deps.registry.add(msgspec.structs.replace(record("other", "key-o"), transport="elsewhere"))
    accounts = Connections(declared(second="key-2", first="key-1"), deps)
    async with accounts.open(guest=True):
        assert names(accounts) == ["second", "first", "m", "z", "toy-guest"]
        assert [one.account.id for one in accounts.opened if one.configured is None] == ["toy-guest"]
        await until(lambda: all(one.background == "running" for one in accounts.opened))
    assert accounts.running == 0
    assert all(one.closed for one in accounts.opened[-1:])


async def test_a_changed_account_is_replaced_without_a_gap(deps):
    accounts = Connections((), deps)
    async with accounts.open():
        await add(deps, record("a", "key-1"))
        first = accounts.of("a")
        sequence = accounts.sequence
        await add(deps, record("a", "key-2"))
        assert accounts.of("a") is not first
        assert accounts.sequence is not sequence
        assert [one.account.id for one in accounts.all] == ["a"]
        await until(lambda: first.background == "cancelled")


async def test_an_unchanged_account_keeps_its_connection(deps):
    accounts = Connections(declared(a="key-1"), deps)
    async with accounts.open():
        first, sequence = accounts.of("a"), accounts.sequence
        await deps.registry.pause("a", by="me")
        await deps.change_feed.poll()
        assert await accounts.reload(declared(a="key-1")) == []
        assert accounts.of("a") is first
        assert accounts.sequence is sequence


async def test_a_removed_account_closes_when_its_last_request_has_ended(deps):
    accounts = Connections((), deps)
    async with accounts.open():
        await add(deps, record("a", "key-1"))
        connected = accounts.of("a")
        with connected.used():
            await deps.registry.remove("a")
            await deps.change_feed.poll()
            assert accounts.get("a") is None
            with pytest.raises(UpstreamFailed) as caught:
                accounts.of("a")
            assert caught.value.certainty is Certainty.NOT_SENT
            await until(lambda: connected.background == "cancelled")
            assert accounts.running == 1
        await until(lambda: accounts.running == 0)


async def test_a_request_that_never_ends_does_not_keep_a_removed_account_open(deps):
    accounts = Connections((), deps)
    async with accounts.open():
        await add(deps, record("a", "key-1"))
        accounts.of("a").use()
        with capture_logs() as logs:
            await deps.registry.remove("a")
            await deps.change_feed.poll()
            with anyio.fail_after(10):
                while accounts.running:
                    deps.clock.advance(1801)
                    await anyio.lowlevel.checkpoint()
        assert [log["event"] for log in logs] == ["account_closed_in_use"]


async def test_a_skipped_account_is_logged_once_and_its_check_says_why(deps):
    accounts = Connections(declared(a="key-1"), deps)
    async with accounts.open():
        with capture_logs() as logs:
            await add(deps, record("copy", "key-1"))
            await add(deps, record("b", "key-2"))
        assert [(log["event"], log["account"]) for log in logs] == [("account_skipped", "copy")]
        assert names(accounts) == ["a", "b"]
        assert "same key as account 'a'" in accounts.missing("copy").message
        assert "does not exist" in accounts.missing("nobody").message


async def test_a_command_connects_one_account_without_background_work(deps):
    accounts = Connections(declared(a="key-1", b="key-2"), msgspec.structs.replace(deps, only="a"))
    async with accounts.open(guest=True):
        assert names(accounts) == ["a"]
        await anyio.lowlevel.checkpoint()
        assert accounts.of("a").background == "not started"


async def test_accounts_that_leave_the_settings_are_removed(deps):
    await deps.registry.add(record("stored", "key-s"))
    accounts = Connections(declared(a="key-1"), deps)
    async with accounts.open():
        assert await accounts.reload(declared(b="key-2")) == []
        assert names(accounts) == ["b", "stored"]
        assert await accounts.reload(declared(b="bad", c="bad")) == ["b", "c"]
        assert names(accounts) == ["b", "stored"]
