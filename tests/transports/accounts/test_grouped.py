"""Changes that share a call of the store, each with a waiting caller."""

import anyio
import pytest

from tests.clock import ManualClock
from transports.accounts.grouped import GroupedWrites
from transports.store import MemoryStore, StoreDown
from transports.store.port import CONVERSATIONS


class Slow(MemoryStore):
    """A store whose writes wait for `go`, or fail."""

    def __init__(self):
        super().__init__(ManualClock())
        self.batches, self.down = [], False
        self.go = anyio.Event()
        self.go.set()

    async def write(self, changes):
        self.batches.append([change.key for change in changes])
        await self.go.wait()
        if self.down:
            raise StoreDown("the disk is full")
        return await super().write(changes)

    async def there(self):
        return await self.keys(CONVERSATIONS)


@pytest.fixture
def store():
    return Slow()


@pytest.fixture
async def writes(store):
    grouped = GroupedWrites(store)
    async with grouped.open():
        yield grouped


async def put(writes, key, expected=0):
    return await writes.put(CONVERSATIONS, key, b"x", expected=expected)


async def test_a_single_change_is_written_before_its_caller_continues(store, writes):
    version = await put(writes, "a")
    assert await store.there() == ["a"]
    assert await put(writes, "a") is None
    assert not await writes.remove(CONVERSATIONS, "a", expected=version + 1)
    assert await writes.remove(CONVERSATIONS, "a", expected=version)
    assert await store.there() == []
    assert store.batches == [["a"]] * 4


async def test_changes_during_a_call_share_the_next_call(store, writes):
    store.go, versions = anyio.Event(), {}

    async def keep(key):
        versions[key] = await put(writes, key)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep, "a")
        await anyio.wait_all_tasks_blocked()
        for key in "bcd":
            tasks.start_soon(keep, key)
        await anyio.wait_all_tasks_blocked()
        assert (store.batches, versions) == ([["a"]], {})
        store.go.set()
    assert store.batches == [["a"], ["b", "c", "d"]]
    assert len(set(versions.values())) == 4


async def test_a_caller_cancelled_before_the_call_withdraws_its_change(store, writes):
    store.go = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put, writes, "a")
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(put, writes, "b")
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        tasks.start_soon(put, writes, "c")
        await anyio.wait_all_tasks_blocked()
        store.go.set()
    assert await store.there() == ["a", "c"]


async def test_a_caller_cancelled_during_the_call_does_not_stop_it(store, writes):
    store.go = anyio.Event()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(put, writes, "a")
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    store.go.set()
    await put(writes, "b")
    assert await store.there() == ["a", "b"]


async def test_each_caller_gets_its_own_error(store, writes):
    store.go, store.down, errors = anyio.Event(), True, []

    async def fail(key):
        with pytest.raises(StoreDown, match="the disk is full") as caught:
            await put(writes, key)
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail, "a")
        await anyio.wait_all_tasks_blocked()
        for key in "bc":
            tasks.start_soon(fail, key)
        store.go.set()
    assert len({id(error) for error in errors}) == 3
    assert all(error.__cause__ is error.__context__ is None for error in errors)
    store.down = False
    await put(writes, "d")
    assert await store.there() == ["d"]


async def test_waiting_changes_are_written_at_the_end(store):
    writes = GroupedWrites(store)
    store.go = anyio.Event()
    async with anyio.create_task_group() as tasks:
        async with writes.open():
            tasks.start_soon(put, writes, "a")
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(put, writes, "b")
            await anyio.wait_all_tasks_blocked()
            store.go.set()
    assert await store.there() == ["a", "b"]
