"""Migration of a store to another one."""

import msgspec
import pytest

from service.storage.migrate import MIGRATED, MigrateError, StoreEndpoint, migrate
from tests.stores import EncryptedView
from transports.store import COLLECTIONS, Cipher, MemoryStore, StoreDown
from transports.store.port import COOLDOWNS, MARKS, PROCESSES, SESSIONS, SealedRecords

OLD, NEW = Cipher(b"a" * 32), Cipher(b"b" * 32)


@pytest.fixture
def source(clock):
    return StoreEndpoint(MemoryStore(clock), OLD, "the old one")


@pytest.fixture
def target(clock):
    return StoreEndpoint(MemoryStore(clock), NEW, "the new one")


def opened(endpoint):
    return EncryptedView(endpoint.records, endpoint.cipher)


async def fill(endpoint):
    store = opened(endpoint)
    for collection in MIGRATED:
        await store.put(collection, "a", collection.name.encode())
        await store.put(collection, "b/c", b"\0" * 1000, seconds=60.0)


async def moved(source, target, **options):
    return [done async for done in migrate(source, target, **options)]


async def contents(endpoint):
    scanned = {collection.name: await opened(endpoint).scan(collection) for collection in COLLECTIONS}
    return {name: [(record.key, record.value, record.seconds) for record in found] for name, found in scanned.items()}


async def test_all_collections_are_copied_with_their_expiry(clock, source, target):
    await fill(source)
    clock.advance(20.0)
    before = await contents(source)
    done = await moved(source, target)
    assert [(one.collection, one.records, one.unreadable) for one in done] == [
        (collection, 2, ()) for collection in MIGRATED
    ]
    assert await contents(target) == before == await contents(source)
    assert before["session"] == [("a", b"session", None), ("b/c", b"\0" * 1000, 40.0)]
    assert set(MIGRATED) | {PROCESSES} == set(COLLECTIONS)


async def test_more_than_one_page_is_copied(source, target):
    for number in range(1201):
        await source.records.put(COOLDOWNS, f"{number:04}", b"")
    done = {one.collection: one.records for one in await moved(source, target)}
    assert done[COOLDOWNS] == 1201
    assert len(await target.records.keys(COOLDOWNS)) == 1201


async def test_a_migration_can_be_repeated(source, target):
    await fill(source)
    await moved(source, target)
    await moved(source, target)
    assert await contents(target) == await contents(source)


async def test_the_mark_of_the_source_replaces_that_of_the_target(source, target):
    await source.records.put(MARKS, "mark", b"mine")
    await target.records.put(MARKS, "mark", b"another")
    await moved(source, target)
    assert (await target.records.get(MARKS, "mark")).value == b"mine"


async def test_an_interrupted_migration_is_completed_by_the_next_run(clock, source, target):
    await fill(source)
    before = await contents(source)

    class Failing(MemoryStore):
        left = 0

        async def put(self, *arguments, **options):
            self.left -= 1
            if self.left < 0:
                raise StoreDown("gone")
            return await super().put(*arguments, **options)

    for writes in range(2 * len(MIGRATED)):
        broken = StoreEndpoint(Failing(clock), NEW, "the new one")
        broken.records.left = writes
        with pytest.raises(StoreDown):
            await moved(source, broken)
        assert await contents(source) == before
        broken.records.left = 1000
        await moved(source, broken)
        assert await contents(broken) == before


@pytest.mark.parametrize("key", ["a", "other"])
async def test_a_target_with_other_records_needs_force(source, target, key):
    await fill(source)
    await opened(target).put(SESSIONS, key, b"another")
    with pytest.raises(
        MigrateError, match=f"the new one is not empty: its record '{key}' of .*different in, the old one"
    ):
        await moved(source, target)
    assert await target.records.keys(SESSIONS) == [key]
    await moved(source, target, force=True)
    assert (await opened(target).get(SESSIONS, "a")).value == b"session"
    assert set(await target.records.keys(SESSIONS)) == {"a", "b/c", key}


@pytest.mark.parametrize("endpoint", ["source", "target"])
async def test_a_migration_is_refused_while_gateways_run(source, target, endpoint):
    await fill(source)
    running = {"source": source, "target": target}[endpoint]
    await running.records.put(PROCESSES, "process", b"{}", seconds=60.0)
    with pytest.raises(MigrateError, match=rf"1 gateway process\(es\) still use {running.name}: stop them"):
        await moved(source, target)
    assert await target.records.keys(SESSIONS) == []
    await moved(source, target, force=True)
    assert len(await target.records.keys(SESSIONS)) == 2


async def test_an_unreadable_record_needs_force_and_is_copied_unchanged(source, target):
    await fill(source)
    wrong = msgspec.structs.replace(source, cipher=Cipher(b"c" * 32))
    with pytest.raises(SealedRecords, match="records are sealed with another key"):
        await moved(wrong, target)
    assert await target.records.keys(SESSIONS) == []
    done = {one.collection: one.unreadable for one in await moved(wrong, target, force=True)}
    assert done[SESSIONS] == ("a", "b/c")
    assert done[COOLDOWNS] == ()
    found = await EncryptedView(target.records, OLD).get(SESSIONS, "a")
    assert found.value == b"session"


async def test_a_record_that_reads_back_differently_is_an_error(clock, source):
    class Forgetful(MemoryStore):
        async def get(self, collection, key):
            return None

    await fill(source)
    with pytest.raises(MigrateError, match="'a' of 'account' reads back differently than written"):
        await moved(source, StoreEndpoint(Forgetful(clock), NEW, "the new one"))
