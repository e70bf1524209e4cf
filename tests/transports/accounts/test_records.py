import msgspec
import pytest

from protocol.model import Capability
from tests.clock import ManualClock
from transports.account import Account
from transports.accounts.records import (
    AccountStatus,
    AttentionRecord,
    CooldownReason,
    CooldownRecord,
    ProcessRecord,
    read_attention,
    read_cooldowns,
    read_processes,
    status_of,
)
from transports.store import MemoryStore
from transports.store.port import ATTENTION, COOLDOWNS, PROCESSES, Unreadable

ATTENTION_RECORD = AttentionRecord(reason="consent", message="Answer the page.", at=1.0)


@pytest.mark.parametrize(
    ("paused", "attention", "cooldowns", "status"),
    [
        ("p", "a", "c", AccountStatus.PAUSED),
        (None, "a", "c", AccountStatus.NEEDS_ATTENTION),
        (None, None, "c", AccountStatus.COOLING_DOWN),
        (None, None, "", AccountStatus.READY),
    ],
)
def test_a_pause_outranks_attention_and_attention_a_cooldown(paused, attention, cooldowns, status):
    assert status_of(paused, attention, cooldowns) is status
    assert status.label == status.value.replace("_", " ")


def test_a_cooldowns_key_names_its_account_or_egress_and_its_scope():
    scoped = CooldownRecord(account="a", family="pro", capability=Capability.VIDEO, reason=CooldownReason.QUOTA)
    blocked = CooldownRecord(account="", egress="http://proxy:1", reason=CooldownReason.ADDRESS)
    refused = msgspec.structs.replace(blocked, transport="api")
    keys = "a/pro/video", "~~http://proxy:1/*/*", "~api~http://proxy:1/*/*"
    assert (scoped.key, blocked.key, refused.key) == keys


@pytest.mark.parametrize(
    ("record", "transport", "covers"),
    [
        ({"account": "a"}, "web", True),
        ({"account": "b"}, "web", False),
        ({"egress": "http://p:1"}, "web", True),
        ({"egress": "http://p:1", "transport": "api"}, "web", False),
        ({"egress": "http://p:1", "transport": "api"}, "api", True),
        ({"egress": ""}, "web", False),
    ],
)
def test_a_cooldown_covers_its_account_or_those_of_an_egress(record, transport, covers):
    account = Account(id="a", transport=transport, egress="http://p:1")
    assert CooldownRecord(**{"account": "", "reason": CooldownReason.ADDRESS, **record}).covers(account) is covers


def test_records_that_differ_in_time_or_message_are_the_same_finding():
    later = msgspec.structs.replace(ATTENTION_RECORD, at=9.0, message="Please answer.")
    assert later.finding == ATTENTION_RECORD.finding
    assert msgspec.structs.replace(later, check="session").finding != ATTENTION_RECORD.finding


async def test_records_are_read_with_their_remaining_time():
    clock = ManualClock()
    store = MemoryStore(clock)
    cooldown = CooldownRecord(account="a", reason=CooldownReason.PACE)
    process = ProcessRecord(id="r", started=1.0)
    await store.put(ATTENTION, "a", msgspec.json.encode(ATTENTION_RECORD))
    await store.put(COOLDOWNS, cooldown.key, msgspec.json.encode(cooldown), seconds=60.0)
    await store.put(PROCESSES, "r", msgspec.json.encode(process), seconds=15.0)
    clock.advance(20.0)
    assert await read_attention(store) == {"a": ATTENTION_RECORD}
    assert await read_cooldowns(store) == [(cooldown, 40.0)]
    assert await read_processes(store) == []


async def test_an_invalid_record_is_reported():
    store = MemoryStore(ManualClock())
    await store.put(ATTENTION, "a", b"{}")
    with pytest.raises(Unreadable):
        await read_attention(store)
