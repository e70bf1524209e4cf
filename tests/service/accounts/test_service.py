from contextlib import asynccontextmanager

import msgspec
import pytest
from structlog.testing import capture_logs

from service.accounts.service import AccountError, AccountService, NewAccountRequest, account_type_of
from tests.clock import ManualClock
from transports import simulator, web
from transports.account import failed, ok
from transports.accounts.records import AccountStatus, CooldownReason, CooldownRecord
from transports.accounts.registry import AccountRecord, AccountRegistry, AddResult
from transports.store import MemoryStore
from transports.store.port import COOLDOWNS

COOKIES = "__Secure-1PSID=canary-{0}; __Secure-1PSIDTS=canary-ts"
DECLARED = web.WebAccount(id="declared", cookies=COOKIES.format("declared"))


class FakeTransport:
    """A transport whose account checks find one problem."""

    async def examine(self, account):
        yield ok("page", f"{account} works.")
        yield failed("quota", "Nothing is left.", "Wait.")

    async def export(self, account):
        return f"secret of {account}"


@pytest.fixture
def store():
    return MemoryStore(ManualClock())


@pytest.fixture
def service(store):
    @asynccontextmanager
    async def open_transport(name, account):
        yield FakeTransport()

    return AccountService({"web": web.WebConfig(accounts=(DECLARED,))}, store, ManualClock(), open_transport)


def new(id_="one", secret=None, **more):
    return NewAccountRequest(id=id_, secret=secret or COOKIES.format(id_), **more)


async def code_of(awaited):
    with pytest.raises(AccountError) as caught:
        await awaited
    assert "canary" not in str(caught.value)
    return caught.value.code


async def test_an_account_is_added_changed_and_listed_after_settings_accounts(service):
    assert await service.add(new(options={"concurrency": "2"}), by="me") is AddResult.NEW
    assert await code_of(service.add(new(), by="me")) == "exists"
    assert await service.add(new(replace=True, options={"weight": 2}), by="me") is AddResult.CHANGED
    declared, one = await service.list_accounts()
    assert (declared.id, declared.in_settings, one.id, one.in_settings) == ("declared", True, "one", False)
    assert (one.transport, one.weight, one.concurrency, one.added_by) == ("web", 2, 5, "me")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (new("declared"), "defined_in_settings"),
        (new("other", COOKIES.format("declared")), "exists"),
        (new("a b"), "invalid_value"),
        (new(secret="NID=canary"), "invalid_value"),
        (new(options={"colour": "canary"}), "invalid_value"),
        (new(transport="nowhere"), "invalid_value"),
    ],
)
async def test_an_account_that_cannot_be_used_is_refused(service, request_, code):
    assert await code_of(service.add(request_, by="me")) == code
    assert [row.id for row in await service.list_accounts()] == ["declared"]


async def test_two_accounts_of_the_store_cannot_share_a_session(service):
    await service.add(new("one"), by="me")
    assert await code_of(service.add(new("two", COOKIES.format("one")), by="me")) == "exists"


async def test_an_account_is_paused_and_resumed_and_its_author_is_logged(service):
    await service.add(new(), by="me")
    with capture_logs() as logs:
        await service.pause("one", by="ops", reason="holiday")
        paused = await service.get_account("one")
        assert await service.resume("one", by="ops")
        assert not await service.resume("one", by="ops")
    assert (paused.state, paused.message, paused.paused_by) == (AccountStatus.PAUSED, "holiday", "ops")
    assert (await service.get_account("one")).state is AccountStatus.READY
    assert [(log["event"], log["by"]) for log in logs][:2] == [("account_paused", "ops"), ("account_resumed", "ops")]
    assert await code_of(service.pause("nobody", by="ops")) == "not_found"


@pytest.mark.parametrize("reason", list(CooldownReason))
async def test_resume_ends_every_kind_of_cooldown(service, store, reason):
    await service.add(new(options={"proxy": "http://user:canary-password@proxy.example:1"}), by="me")
    shared = reason in {CooldownReason.ADDRESS, CooldownReason.PROXY}
    egress = (await service.get_account("one")).proxy
    assert "canary" not in egress
    owner = {"account": "", "egress": egress, "transport": "web"} if shared else {"account": "one", "family": "pro"}
    cooldown = CooldownRecord(**owner, reason=reason)
    other = msgspec.structs.replace(cooldown, account="", egress="http://other.example:1")
    for record in (cooldown, other):
        await store.put(COOLDOWNS, record.key, msgspec.json.encode(record), seconds=60)
    assert len((await service.get_account("one")).cooldowns) == 1
    assert await service.resume("one", by="ops")
    assert not await service.resume("one", by="ops")
    assert (await service.get_account("one")).cooldowns == ()
    assert await store.keys(COOLDOWNS) == [other.key]


async def test_only_accounts_of_the_store_can_be_removed(service):
    await service.add(new(), by="me")
    await service.remove("one", by="me")
    assert await code_of(service.get_account("one")) == "not_found"
    assert await code_of(service.remove("one", by="me")) == "not_found"
    assert await code_of(service.remove("declared", by="me")) == "defined_in_settings"


async def test_a_stored_account_that_is_not_used_says_why(service, store):
    registry = AccountRegistry(store, ManualClock())
    for id_, transport, secret in (
        ("broken", "web", "NID=canary"),
        ("copy", "web", COOKIES.format("declared")),
        ("lost", "gone", "canary"),
    ):
        record = AccountRecord(id=id_, transport=transport, secret=secret, created=1.0, by="me")
        await registry.add(record)
    rows = {row.id: row for row in await service.list_accounts()}
    assert {row.state for name, row in rows.items() if name != "declared"} == {AccountStatus.UNUSABLE}
    assert "__Secure-1PSID" in rows["broken"].message
    assert "same session as account 'declared'" in rows["copy"].message
    assert "no transport 'gone'" in rows["lost"].message
    assert "canary" not in repr(rows)


async def test_a_check_and_an_export_use_the_accounts_transport(service):
    findings = [finding async for finding in service.check("declared")]
    assert [finding.step for finding in findings] == ["page", "quota"]
    assert await service.export("declared", by="me") == "secret of declared"
    assert await code_of(service.export("nobody", by="me")) == "not_found"


def test_the_transport_may_be_left_out_if_only_one_has_accounts():
    configs = {"simulator": simulator.SimulatorConfig(), "web": web.WebConfig()}
    assert account_type_of(configs, "")[0] == "web"
    for wrong, problem in (
        (({}, ""), "no transport with accounts"),
        ((configs, "simulator"), "has no accounts that can be added"),
        ((configs, "nowhere"), "expected one of: simulator, web"),
    ):
        with pytest.raises(AccountError, match=problem):
            account_type_of(*wrong)
