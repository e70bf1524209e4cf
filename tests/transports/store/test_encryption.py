"""Encryption of stored values."""

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.clock import ManualClock
from tests.stores import EncryptedView
from transports.store import Cipher, Collection, MemoryStore, StoreDown, Unreadable
from transports.store.port import ACCOUNTS, COLLECTIONS, COOLDOWNS, SESSIONS

SECRET, EARLIER, OTHER = b"a" * 32, b"b" * 32, b"c" * 32
VALUE = b'{"cookies": "g.a000-secret-cookie"}'


@pytest.fixture
def below():
    return MemoryStore(ManualClock())


@pytest.fixture
def store(below):
    return EncryptedView(below, Cipher(SECRET, [EARLIER]))


async def kept(below, key="a", collection=SESSIONS):
    return (await below.get(collection, key)).value


async def refuses(store, key="a", collection=SESSIONS):
    with pytest.raises(Unreadable) as raised:
        await store.get(collection, key)
    assert not isinstance(raised.value, StoreDown)
    assert "cookie" not in str(raised.value)
    assert await store.scan(collection) == []
    assert await store.keys(collection) == [key]


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda collection: collection.name)
async def test_only_secret_collections_are_encrypted(below, store, collection):
    await store.put(collection, "a", VALUE)
    assert (VALUE in await kept(below, collection=collection)) == (not collection.encrypted)
    assert (await store.get(collection, "a")).value == VALUE
    assert [record.value for record in await store.scan(collection)] == [VALUE]


async def test_equal_values_have_different_ciphertexts(below, store):
    seen = set()
    for _ in range(10):
        await store.put(SESSIONS, "a", VALUE)
        seen.add(await kept(below))
    assert len(seen) == 10


async def test_a_truncated_value_is_unreadable(below, store):
    await store.put(SESSIONS, "a", VALUE)
    whole = await kept(below)
    for size in range(len(whole)):
        await below.put(SESSIONS, "a", whole[:size])
        await refuses(store)
    await below.put(SESSIONS, "a", whole + b"\0")
    await refuses(store)


async def test_a_value_with_a_flipped_bit_is_unreadable(below, store):
    await store.put(SESSIONS, "a", VALUE)
    whole = await kept(below)
    for at in range(len(whole)):
        for bit in range(8):
            await below.put(SESSIONS, "a", whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            await refuses(store)
    await below.put(SESSIONS, "a", whole)
    assert (await store.get(SESSIONS, "a")).value == VALUE


async def test_a_value_of_another_record_or_collection_is_unreadable(below, store):
    await store.put(SESSIONS, "b", VALUE)
    await below.put(SESSIONS, "a", await kept(below, "b"))
    await below.put(ACCOUNTS, "b", await kept(below, "b"))
    with pytest.raises(Unreadable, match="belongs to another record"):
        await store.get(SESSIONS, "a")
    with pytest.raises(Unreadable, match="belongs to another record"):
        await store.get(ACCOUNTS, "b")
    assert [record.key for record in await store.scan(SESSIONS)] == ["b"]


@pytest.mark.parametrize(
    "cipher", [Cipher(OTHER), Cipher(OTHER, [EARLIER]), Cipher(None)], ids=["other", "two", "none"]
)
async def test_a_missing_key_is_reported_and_the_record_is_kept(below, store, cipher):
    await store.put(SESSIONS, "a", VALUE)
    before = await kept(below)
    with pytest.raises(Unreadable, match="'a' of 'session' cannot be read: its encryption key is not configured"):
        await EncryptedView(below, cipher).get(SESSIONS, "a")
    assert await kept(below) == before
    assert (await store.get(SESSIONS, "a")).value == VALUE


async def test_an_old_key_decrypts_and_the_next_write_uses_the_current_key(below, store):
    await EncryptedView(below, Cipher(EARLIER)).put(SESSIONS, "a", VALUE)
    record = await store.get(SESSIONS, "a")
    assert record.value == VALUE
    await store.put(SESSIONS, "a", VALUE, expected=record.version)
    assert (await EncryptedView(below, Cipher(SECRET)).get(SESSIONS, "a")).value == VALUE


@pytest.mark.parametrize("value", [VALUE, b"\x8e" * 32, b"[]", b"g"])
async def test_a_plain_value_is_read_logged_once_and_encrypted_by_the_next_write(below, store, value):
    for key in "ab":
        await EncryptedView(below, Cipher(None)).put(SESSIONS, key, value)
    assert await kept(below) == value
    with capture_logs() as logs:
        records = [*await store.scan(SESSIONS), await store.get(SESSIONS, "a")]
    assert [record.value for record in records] == [value] * 3
    assert [(line["event"], line["collection"]) for line in logs] == [("records_unencrypted", "session")]
    await store.put(SESSIONS, "a", value)
    assert value not in await kept(below) or len(value) < 4


async def test_plain_values_are_not_logged_without_a_key(below):
    store = EncryptedView(below, Cipher(None))
    for value in (b"", VALUE):
        await store.put(SESSIONS, "a", value)
        with capture_logs() as logs:
            assert (await store.get(SESSIONS, "a")).value == value
        assert logs == []


async def test_an_unreadable_record_is_logged_once_without_its_value(below, store):
    await EncryptedView(below, Cipher(OTHER)).put(SESSIONS, "a", VALUE)
    with capture_logs() as logs:
        for _ in range(3):
            await refuses(store)
    (line,) = logs
    assert (line["event"], line["collection"], line["key"], line["log_level"]) == (
        "record_unreadable",
        "session",
        "a",
        "error",
    )
    assert (await kept(below)).hex() not in str(logs)


async def test_an_unreadable_record_can_be_replaced_in_its_version(below, store):
    version = await below.put(SESSIONS, "a", b"\x8fgemini-gateway\x01torn")
    assert await store.put(SESSIONS, "a", VALUE, expected=0) is None
    assert await store.put(SESSIONS, "a", VALUE, expected=version)
    assert (await store.get(SESSIONS, "a")).value == VALUE


async def test_encryption_keeps_version_and_expiry(below, store):
    version = await store.put(ACCOUNTS, "a", VALUE, seconds=9.0)
    record = await below.get(ACCOUNTS, "a")
    assert await store.get(ACCOUNTS, "a") == msgspec.structs.replace(record, value=VALUE)
    assert (record.version, record.seconds) == (version, 9.0)


async def test_a_plain_collection_is_never_decrypted(below, store):
    await store.put(COOLDOWNS, "a", b"\x8fgemini-gateway\x01")
    assert (await store.get(COOLDOWNS, "a")).value == b"\x8fgemini-gateway\x01"
    assert not Collection("any").encrypted
