import msgspec
import pytest
from structlog.testing import capture_logs

from protocol.model import Capability
from transports.accounts.records import AttentionRecord, CooldownReason, CooldownRecord
from transports.accounts.registry import AccountAction, AccountRecord, AccountRegistry, AddResult
from transports.store.port import ACCOUNTS, ATTENTION, COOLDOWNS, PAUSES, SESSIONS, Unreadable

ONE = AccountRecord(id="one", transport="web", secret="canary", created=1.0, by="me")
ATTENTION_RECORD = AttentionRecord(reason="consent", message="Answer the page.", at=1.0)


@pytest.fixture
def registry(store, clock):
    return AccountRegistry(store, clock)


async def block(store, account):
    """Store a needed attention and two cooldowns of an account."""
    await store.put(ATTENTION, account, msgspec.json.encode(ATTENTION_RECORD))
    for capability in (None, Capability.VIDEO):
        cooldown = CooldownRecord(account=account, capability=capability, reason=CooldownReason.PACE)
        await store.put(COOLDOWNS, cooldown.key, msgspec.json.encode(cooldown), seconds=60.0)


async def test_an_account_is_changed_only_with_replace(registry):
    other = msgspec.structs.replace(ONE, secret="another")
    assert await registry.add(ONE) is AddResult.NEW
    assert await registry.add(other) is AddResult.EXISTS
    assert await registry.records() == [ONE]
    assert await registry.add(other, replace=True) is AddResult.CHANGED
    assert await registry.records() == [other]


async def test_records_are_those_of_one_transport_or_of_all(registry):
    two = msgspec.structs.replace(ONE, id="two", transport="api")
    await registry.add(ONE)
    await registry.add(two)
    assert await registry.records("api") == [two]
    assert await registry.records() == [ONE, two]


async def test_an_account_that_cannot_be_read_is_logged_and_skipped(registry, store):
    await registry.add(ONE)
    await store.put(ACCOUNTS, "damaged", b"{}")
    with capture_logs() as logs:
        assert await registry.records() == [ONE]
    assert [(entry["event"], entry["account"]) for entry in logs] == [("account_unreadable", "damaged")]


async def test_a_removed_account_leaves_neither_session_nor_state(registry, store):
    await registry.add(ONE)
    await store.put(SESSIONS, "one", b"session")
    await registry.pause("one", by="me")
    await block(store, "one")
    assert await registry.remove("one", by="me")
    for collection in (ACCOUNTS, SESSIONS, PAUSES, ATTENTION, COOLDOWNS):
        assert await store.keys(collection) == [], collection.name
    assert not await registry.remove("one", by="me")


async def test_a_pause_names_its_author_and_time(registry, clock):
    await registry.pause("one", by="me", reason="holiday")
    pause = (await registry.pauses())["one"]
    assert (pause.by, pause.reason, pause.at) == ("me", "holiday", clock.wall())


async def test_resume_ends_all_blocks_of_one_account_only(registry, store):
    for account in ("one", "one-more"):
        await registry.pause(account, by="me")
        await block(store, account)
    assert await registry.resume("one", by="me")
    assert await registry.pauses() == {"one-more": (await registry.pauses())["one-more"]}
    assert await store.keys(ATTENTION) == ["one-more"]
    assert len(await store.keys(COOLDOWNS)) == 2
    assert not await registry.resume("one", by="me")


async def test_the_author_of_a_change_can_be_read_for_ten_seconds(registry, clock):
    await registry.add(ONE)
    await registry.resume("one", by="boss")
    clock.advance(4.0)
    assert await registry.recent_actions() == [
        (AccountAction(account="one", action="added", by="me"), 6.0),
        (AccountAction(account="one", action="resumed", by="boss"), 6.0),
    ]
    clock.advance(6.0)
    assert await registry.recent_actions() == []


async def test_a_change_without_an_author_records_none(registry):
    await registry.resume("one")
    assert await registry.recent_actions() == []


async def test_a_damaged_pause_is_reported(registry, store):
    await store.put(PAUSES, "one", b"{}")
    with pytest.raises(Unreadable):
        await registry.pauses()


def test_a_record_hides_its_credential():
    assert "canary" not in repr(ONE)
