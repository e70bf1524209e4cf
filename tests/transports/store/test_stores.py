"""The contract of `transports.store.port`, tested with every kind of store."""

import string

import anyio
import pytest

from transports.store import COLLECTIONS, FULL, Bucket, Change
from transports.store.port import ACCOUNTS, ATTENTION, COOLDOWNS, SESSIONS

MANY = 12


@pytest.fixture
async def store(open_store):
    return await open_store()


def minutely(name="bucket", capacity=2.0, per_second=0.1):
    return Bucket(name=name, capacity=capacity, per_second=per_second)


async def filled(store, *keys, collection=SESSIONS):
    for key in keys:
        await store.put(collection, key, key.encode())


async def all_of(tasks, call):
    """Return what many calls at once came to."""
    came = []

    async def one(number):
        came.append(await call(number))

    async with anyio.create_task_group() as group:
        for number in range(tasks):
            group.start_soon(one, number)
    return came


# Records


async def test_a_record_is_visible_to_every_process(open_store):
    one, other = await open_store(), await open_store()
    version = await one.put(SESSIONS, "a", b"value")
    record = await other.get(SESSIONS, "a")
    assert (record.key, record.value, record.version, record.seconds) == ("a", b"value", version, None)
    assert await other.get(ACCOUNTS, "a") is None
    assert await other.get(SESSIONS, "b") is None


@pytest.mark.parametrize("value", [b"", b"\0\r\n\xff", bytes(range(256)) * 8192], ids=["empty", "bytes", "2 MiB"])
async def test_a_value_may_be_any_bytes(store, value):
    await store.put(SESSIONS, "a", value)
    assert (await store.get(SESSIONS, "a")).value == value
    assert [record.value for record in await store.scan(SESSIONS)] == [value]


async def test_many_records_are_read_in_one_call(store):
    long = bytes(range(256)) * 8192
    await filled(store, "a", "b")
    await store.put(SESSIONS, "long", long)
    found = await store.get_many(SESSIONS, ["long", "none", "b", "a"])
    assert [(record.key, record.value) for record in found] == [("long", long), ("b", b"b"), ("a", b"a")]
    assert found[-1] == await store.get(SESSIONS, "a")
    assert await store.get_many(SESSIONS, []) == []


@pytest.mark.parametrize("key", ["a", "~" * 512, string.printable[:95], "a b", "*", "[a]", "a?", "{a}:b/c", "%_\\"])
async def test_a_key_may_be_any_printable_ascii(store, key):
    version = await store.put(SESSIONS, key, b"value")
    assert (await store.get(SESSIONS, key)).version == version
    assert await store.keys(SESSIONS) == [key]
    assert await store.keys(SESSIONS, key) == [key]
    assert await store.acquire(key, "me", 10.0)
    assert await store.take_slot(key, key, slots=1, seconds=10.0, buckets=[minutely(key)]) == 0.0
    assert await store.count_slots(key) == 1
    assert await store.remove(SESSIONS, key)


async def test_versions_grow_and_do_not_repeat_after_a_removal(store):
    seen = []
    for _ in range(3):
        seen.append(await store.put(SESSIONS, "a", b"same"))
        seen.append(await store.put(SESSIONS, "a", b"same"))
        await store.remove(SESSIONS, "a")
    assert seen == sorted(set(seen))
    assert seen[0] > 0


async def test_versions_do_not_repeat_after_an_expiry(open_store):
    store, seen = await open_store(), []
    for _ in range(2):
        seen.append(await store.put(SESSIONS, "a", b"same", seconds=open_store.short))
        await open_store.elapse(open_store.short)
    seen.append(await store.put(SESSIONS, "a", b"same"))
    assert seen == sorted(set(seen))


async def test_a_put_needs_the_expected_version(store):
    assert await store.put(SESSIONS, "a", b"1", expected=7) is None
    assert await store.get(SESSIONS, "a") is None
    first = await store.put(SESSIONS, "a", b"1", expected=0)
    assert await store.put(SESSIONS, "a", b"2", expected=0) is None
    second = await store.put(SESSIONS, "a", b"2", expected=first)
    assert second > first
    assert await store.put(SESSIONS, "a", b"3", expected=first) is None
    assert (await store.get(SESSIONS, "a")).value == b"2"


async def test_a_removal_needs_the_expected_version(store):
    version = await store.put(SESSIONS, "a", b"1")
    assert not await store.remove(SESSIONS, "a", expected=version + 1)
    assert not await store.remove(SESSIONS, "a", expected=0)
    assert await store.remove(SESSIONS, "a", expected=version)
    assert not await store.remove(SESSIONS, "a")
    assert await store.get(SESSIONS, "a") is None
    assert await store.put(SESSIONS, "a", b"2", expected=version) is None
    assert await store.put(SESSIONS, "a", b"2", expected=0)


async def test_one_of_many_simultaneous_creations_succeeds(open_store):
    views = [await open_store() for _ in range(3)]
    came = await all_of(MANY, lambda number: views[number % 3].put(SESSIONS, "a", b"%d" % number, expected=0))
    assert len([version for version in came if version is not None]) == 1


async def test_simultaneous_compare_and_set_loses_no_update(open_store):
    views = [await open_store() for _ in range(3)]
    await views[0].put(SESSIONS, "count", b"0")

    async def count(number):
        view = views[number % 3]
        while True:
            record = await view.get(SESSIONS, "count")
            if await view.put(SESSIONS, "count", b"%d" % (int(record.value) + 1), expected=record.version):
                return

    await all_of(MANY, count)
    assert (await views[0].get(SESSIONS, "count")).value == b"%d" % MANY


async def test_each_change_of_a_batch_is_applied_independently(open_store):
    store, other = await open_store(), await open_store()
    await filled(store, "a", "b", "c")
    there = {record.key: record.version for record in await store.scan(SESSIONS)}

    def change(key, value, expected=None, seconds=None):
        return Change(collection=SESSIONS, key=key, value=value, expected=expected, seconds=seconds)

    done = await store.write(
        [
            change("a", b"new", there["a"]),
            change("b", b"new", there["a"]),
            change("c", None, there["c"]),
            change("b", None, there["a"]),
            change("nothing", None),
            change("d", b"new", 0, open_store.long),
            change("d", b"newer", 0),
        ],
    )
    found = {record.key: record for record in await other.scan(SESSIONS)}
    assert done == [found["a"].version, None, 0, None, None, found["d"].version, None]
    assert {key: record.value for key, record in found.items()} == {"a": b"new", "b": b"b", "d": b"new"}
    assert found["a"].seconds is None
    assert 0 < found["d"].seconds <= open_store.long
    assert await store.write([]) == []


async def test_a_record_expires_after_its_seconds(open_store):
    store = await open_store()
    await store.put(SESSIONS, "a", b"1", seconds=open_store.short)
    await store.put(SESSIONS, "b", b"1", seconds=open_store.long)
    left = (await store.get(SESSIONS, "b")).seconds
    assert open_store.short < left <= open_store.long
    await open_store.elapse(open_store.short)
    assert await store.get(SESSIONS, "a") is None
    assert await store.keys(SESSIONS) == ["b"]
    assert [record.key for record in await store.scan(SESSIONS)] == ["b"]
    assert not await store.remove(SESSIONS, "a")
    assert (await store.get(SESSIONS, "b")).seconds < left
    assert await store.put(SESSIONS, "a", b"2", expected=0)


async def test_a_new_value_has_its_own_expiry(open_store):
    store = await open_store()
    await store.put(SESSIONS, "a", b"1", seconds=open_store.short)
    await store.put(SESSIONS, "a", b"2")
    await store.put(SESSIONS, "b", b"1")
    await store.put(SESSIONS, "b", b"2", seconds=open_store.short)
    await open_store.elapse(open_store.short)
    assert (await store.get(SESSIONS, "a")).seconds is None
    assert await store.get(SESSIONS, "b") is None


# Several records


async def test_records_are_sorted_by_key(store):
    await filled(store, "b", "a/2", "A", "a/10", "a", "~")
    ordered = ["A", "a", "a/10", "a/2", "b", "~"]
    assert await store.keys(SESSIONS) == ordered
    assert [(record.key, record.value) for record in await store.scan(SESSIONS)] == [(k, k.encode()) for k in ordered]
    assert await store.keys(SESSIONS, reverse=True) == ordered[::-1]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"prefix": "a/"}, ["a/1", "a/2", "a/3"]),
        ({"prefix": "a"}, ["a/1", "a/2", "a/3", "a0"]),
        ({"prefix": "*"}, []),
        ({"prefix": "a?1"}, []),
        ({"prefix": "[a-b]"}, []),
        ({"prefix": "_/"}, []),
        ({"prefix": "a/", "limit": 2}, ["a/1", "a/2"]),
        ({"prefix": "a/", "limit": 0}, []),
        ({"prefix": "a/", "after": "a/1"}, ["a/2", "a/3"]),
        ({"prefix": "a/", "after": "a/1x"}, ["a/2", "a/3"]),
        ({"prefix": "a/", "after": "a/1", "limit": 1}, ["a/2"]),
        ({"prefix": "a/", "after": "z"}, []),
        ({"prefix": "a/", "after": "A"}, ["a/1", "a/2", "a/3"]),
        ({"prefix": "a/", "reverse": True}, ["a/3", "a/2", "a/1"]),
        ({"prefix": "a/", "after": "a/3", "reverse": True}, ["a/2", "a/1"]),
        ({"prefix": "a/", "after": "a/2x", "reverse": True}, ["a/2", "a/1"]),
        ({"prefix": "a/", "after": "z", "reverse": True, "limit": 2}, ["a/3", "a/2"]),
        ({"prefix": "a/", "after": "A", "reverse": True}, []),
        ({"after": "a/3"}, ["a0", "b"]),
    ],
    ids=str,
)
async def test_a_scan_returns_the_requested_range(store, asked, found):
    await filled(store, "b", "a/3", "a/1", "a0", "a/2")
    await filled(store, "a/4", collection=ATTENTION)
    assert await store.keys(SESSIONS, **asked) == found
    assert [record.key for record in await store.scan(SESSIONS, **asked)] == found


async def test_expired_records_do_not_shorten_a_page(open_store):
    store = await open_store()
    for number in range(6):
        await store.put(SESSIONS, f"{number}", b"", seconds=open_store.long if number % 2 else open_store.short)
    await open_store.elapse(open_store.short)
    assert await store.keys(SESSIONS, limit=2) == ["1", "3"]
    assert await store.keys(SESSIONS, after="1", limit=2) == ["3", "5"]


async def test_pages_cover_all_records(store):
    for number in range(250):
        await store.put(COOLDOWNS, f"{number:03}", b"")
    found, page = [], await store.keys(COOLDOWNS, limit=99)
    while page:
        found += page
        page = await store.keys(COOLDOWNS, after=page[-1], limit=99)
    assert found == [f"{number:03}" for number in range(250)]
    assert len(await store.scan(COOLDOWNS)) == 250


async def test_a_revision_grows_with_each_change_of_its_collection_only(store):
    async def revision(collection):
        return (await store.revisions()).get(collection.name, 0)

    untouched, seen = await revision(ATTENTION), [await revision(SESSIONS)]
    version = await store.put(SESSIONS, "a", b"1")
    seen.append(await revision(SESSIONS))
    await store.put(SESSIONS, "a", b"1", expected=version)
    seen.append(await revision(SESSIONS))
    await store.remove(SESSIONS, "a")
    seen.append(await revision(SESSIONS))
    assert len(set(seen)) == 4
    assert seen[1] >= version
    assert seen == sorted(seen)
    await store.put(SESSIONS, "a", b"1", expected=version)
    await store.remove(SESSIONS, "a")
    await store.acquire("lock", "me", 1.0)
    assert await revision(SESSIONS) == seen[-1]
    assert await revision(ATTENTION) == untouched
    assert set(await store.revisions()) <= {collection.name for collection in COLLECTIONS}


# Locks


async def test_a_lock_has_one_owner_at_a_time(open_store):
    views = [await open_store() for _ in range(3)]
    came = await all_of(MANY, lambda number: views[number % 3].acquire("a", f"owner-{number}", open_store.long))
    assert len([fence for fence in came if fence is not None]) == 1
    assert await views[0].acquire("b", "another", open_store.long)


async def test_fencing_tokens_grow_after_release_expiry_and_renewal(open_store):
    store, fences = await open_store(), []
    fences.append(await store.acquire("a", "one", open_store.long))
    fences.append(await store.acquire("a", "one", open_store.long))
    await store.release("a", "one")
    fences.append(await store.acquire("a", "two", open_store.short))
    assert await store.acquire("a", "one", open_store.short) is None
    await open_store.elapse(open_store.short)
    fences.append(await store.acquire("a", "one", open_store.long))
    await store.release("a", "one")
    fences.append(await (await open_store()).acquire("a", "two", open_store.long))
    assert fences == sorted(set(fences))
    assert fences[0] > 0


async def test_only_the_owner_renews_a_lock(open_store):
    store = await open_store()
    await store.acquire("a", "one", open_store.long)
    assert not await store.renew("a", "two", open_store.long)
    assert not await store.renew("b", "one", open_store.long)
    assert await store.renew("a", "one", open_store.short)
    await open_store.elapse(open_store.short)
    assert not await store.renew("a", "one", open_store.long)
    assert await store.acquire("a", "two", open_store.long)
    assert not await store.renew("a", "one", open_store.long)
    assert await store.renew("a", "two", open_store.long)


async def test_a_renewed_lock_lasts_its_full_time(open_store):
    store = await open_store()
    await store.acquire("a", "one", open_store.short)
    assert await store.renew("a", "one", open_store.long)
    await open_store.elapse(open_store.short)
    assert await store.acquire("a", "two", open_store.long) is None
    await store.acquire("b", "one", open_store.short)
    assert await store.acquire("b", "one", open_store.long)
    await open_store.elapse(open_store.short)
    assert await store.acquire("b", "two", open_store.long) is None


async def test_only_the_owner_releases_a_lock(open_store):
    store = await open_store()
    await store.acquire("a", "one", open_store.long)
    await store.release("a", "two")
    await store.release("b", "one")
    assert await store.acquire("a", "two", open_store.long) is None
    await store.release("a", "one")
    assert not await store.renew("a", "one", open_store.long)
    assert await store.acquire("a", "two", open_store.long)


async def test_a_lock_is_granted_only_in_the_given_epoch(open_store):
    store = await open_store()
    assert await store.acquire("a", "one", open_store.long, "another server") is None
    assert await store.acquire("a", "one", open_store.long, await store.epoch())


# Slots and buckets


async def test_at_most_the_given_number_of_slots_is_taken(open_store):
    views = [await open_store() for _ in range(3)]
    came = await all_of(
        MANY, lambda number: views[number % 3].take_slot("a", f"{number}", slots=5, seconds=open_store.long)
    )
    assert sorted(came) == [0.0] * 5 + [FULL] * (MANY - 5)
    assert await views[0].count_slots("a") == 5
    assert await views[0].count_slots("b") == 0


async def test_a_holder_may_take_its_slot_again_when_all_are_taken(open_store):
    store = await open_store()
    assert await store.take_slot("a", "one", slots=1, seconds=open_store.short) == 0.0
    assert await store.take_slot("a", "one", slots=1, seconds=open_store.long) == 0.0
    await open_store.elapse(open_store.short)
    assert await store.take_slot("a", "two", slots=1, seconds=open_store.long) == FULL
    assert await store.count_slots("a") == 1
    assert await store.take_slot("b", "one", slots=0, seconds=open_store.long) == FULL


async def test_a_slot_is_free_after_its_release_or_expiry(open_store):
    store = await open_store()
    await store.take_slot("a", "one", slots=2, seconds=open_store.short)
    await store.take_slot("a", "two", slots=2, seconds=open_store.long)
    await store.release_slots([("a", "two")])
    await store.release_slots([("a", "nobody")])
    await store.release_slots([("b", "one")])
    assert await store.count_slots("a") == 1
    assert await store.take_slot("a", "three", slots=2, seconds=open_store.long) == 0.0
    await open_store.elapse(open_store.short)
    assert await store.count_slots("a") == 1
    assert await store.take_slot("a", "four", slots=2, seconds=open_store.long) == 0.0


async def test_a_renewal_keeps_a_slot_and_takes_a_lost_one_again(open_store):
    store = await open_store()
    await store.take_slot("a", "one", slots=1, seconds=open_store.short)
    await store.take_slot("b", "one", slots=1, seconds=open_store.short)
    await store.renew_slots([("a", "one")], open_store.long)
    await open_store.elapse(open_store.short)
    assert await store.take_slot("a", "two", slots=1, seconds=open_store.long) == FULL
    assert await store.take_slot("b", "two", slots=1, seconds=open_store.long) == 0.0
    await store.renew_slots([("a", "one"), ("b", "one"), ("c", "one")], open_store.long)
    assert [await store.count_slots(name) for name in ("a", "b", "c")] == [1, 2, 1]
    await store.release_slots([("b", "one")])
    assert await store.take_slot("b", "three", slots=1, seconds=open_store.long) == FULL
    await store.renew_slots([], open_store.long)


async def test_a_bucket_starts_full_and_returns_the_wait_for_a_token(open_store):
    store, bucket = await open_store(), minutely(per_second=1.0 / open_store.short)

    async def take_slot(holder):
        return await store.take_slot("a", holder, slots=9, seconds=open_store.long, buckets=[bucket])

    assert await take_slot("one") == 0.0
    assert await take_slot("two") == 0.0
    wait = await take_slot("three")
    assert 0.0 < wait <= open_store.short
    assert await store.count_slots("a") == 2
    await open_store.elapse(wait)
    assert await take_slot("three") == 0.0
    assert 0.0 < await take_slot("four") <= open_store.short


async def test_a_bucket_holds_at_most_its_capacity(open_store):
    store, bucket = await open_store(), minutely(per_second=1.0 / open_store.short)
    await store.take_slot("a", "one", slots=9, seconds=open_store.long, buckets=[bucket])
    await open_store.elapse(3 * open_store.short)
    slow = Bucket(name=bucket.name, capacity=2.0, per_second=1e-6)
    assert await store.take_slot("a", "two", slots=9, seconds=open_store.long, buckets=[bucket]) == 0.0
    assert await store.take_slot("a", "three", slots=9, seconds=open_store.long, buckets=[slow]) == 0.0
    assert await store.take_slot("a", "four", slots=9, seconds=open_store.long, buckets=[slow]) > open_store.short


async def test_a_slot_and_tokens_are_taken_together_or_not_at_all(open_store):
    store = await open_store()
    day, minute = (
        Bucket(name="day", capacity=2.0, per_second=1e-6),
        Bucket(name="minute", capacity=1.0, per_second=1e-5),
    )
    both = {"seconds": open_store.long, "buckets": [day, minute]}
    assert await store.take_slot("a", "one", slots=1, **both) == 0.0
    assert await store.take_slot("a", "two", slots=1, **both) == FULL
    wait = await store.take_slot("a", "two", slots=2, **both)
    assert 1.0 < wait <= 1e5
    assert await store.count_slots("a") == 1
    alone = {"slots": 9, "seconds": open_store.long, "buckets": [day]}
    assert await store.take_slot("a", "two", **alone) == 0.0
    assert await store.take_slot("a", "three", **alone) > wait


async def test_simultaneous_requests_take_no_more_tokens_than_exist(open_store):
    views, bucket = [await open_store() for _ in range(3)], Bucket(name="a", capacity=4.0, per_second=1e-6)
    came = await all_of(
        MANY,
        lambda number: views[number % 3].take_slot(
            "a", f"{number}", slots=MANY, seconds=open_store.long, buckets=[bucket]
        ),
    )
    assert len([wait for wait in came if wait == 0.0]) == 4
    assert await views[0].count_slots("a") == 4


# The store itself


async def test_all_processes_see_one_clock_that_advances(open_store):
    one, other = await open_store(), await open_store()
    before = await one.now()
    assert before > 1_600_000_000.0
    await open_store.elapse(open_store.short)
    assert await other.now() >= before + open_store.short * 0.9
    assert await one.epoch() == await other.epoch()
    assert await one.settle()


WRITES = {
    "put": lambda store, long: store.put(SESSIONS, "a", b"new"),
    "put in a version": lambda store, long: store.put(SESSIONS, "b", b"new", expected=0),
    "write": lambda store, long: store.write([Change(collection=SESSIONS, key="a", value=b"new")]),
    "remove": lambda store, long: store.remove(SESSIONS, "a"),
    "get": lambda store, long: store.get(SESSIONS, "a"),
    "scan": lambda store, long: store.scan(SESSIONS),
    "keys": lambda store, long: store.keys(SESSIONS),
    "revisions": lambda store, long: store.revisions(),
    "acquire": lambda store, long: store.acquire("lock", "one", long),
    "renew": lambda store, long: store.renew("lock", "held", long),
    "release": lambda store, long: store.release("lock", "held"),
    "take_slot": lambda store, long: store.take_slot("room", "one", slots=2, seconds=long, buckets=[minutely()]),
    "renew_slots": lambda store, long: store.renew_slots([("room", "one")], long),
    "release_slots": lambda store, long: store.release_slots([("room", "held")]),
    "now": lambda store, long: store.now(),
    "settle": lambda store, long: store.settle(),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_call_may_be_cancelled_at_any_point(open_store, name):
    store = await open_store()
    for steps in range(5):
        before = await store.put(SESSIONS, "a", b"old")
        await store.acquire("lock", "held", open_store.long)
        await store.take_slot("room", "held", slots=9, seconds=open_store.long)
        async with anyio.create_task_group() as group:
            group.start_soon(WRITES[name], store, open_store.long)
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        answers = await all_of(MANY, lambda number: store.put(SESSIONS, f"own-{number}", b"%d" % number))
        assert None not in answers
        for number in range(MANY):
            assert (await store.get(SESSIONS, f"own-{number}")).value == b"%d" % number
        record = await store.get(SESSIONS, "a")
        assert record is None or (record.value, record.version > before) in {(b"old", False), (b"new", True)}
        assert await store.count_slots("room") <= 2
        assert await store.count_slots("nobody's") == 0
        for number in range(MANY):
            await store.remove(SESSIONS, f"own-{number}")
        for key in ("a", "b"):
            await store.remove(SESSIONS, key)
        await store.release("lock", "held")
        await store.release("lock", "one")
        for holder in ("held", "one"):
            await store.release_slots([("room", holder)])


async def test_the_repr_of_a_record_hides_its_value(store):
    await store.put(SESSIONS, "a", b"secret")
    assert "secret" not in repr(await store.get(SESSIONS, "a"))
