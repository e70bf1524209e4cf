import anyio
import pytest

from transports.accounts.write_behind import WriteBehind
from transports.store import MemoryStore, StoreDown
from transports.store.port import CONVERSATIONS


class CountingStore(MemoryStore):
    """Records the keys of each call of `write`, and fails while it is down."""

    def __init__(self, clock):
        super().__init__(clock)
        self.calls, self.down = [], False

    async def write(self, changes):
        if self.down:
            raise StoreDown("down")
        self.calls.append([change.key for change in changes])
        return await super().write(changes)


@pytest.fixture
def store(clock):
    return CountingStore(clock)


@pytest.fixture
def written():
    """List the names and versions of the changes that were written."""
    return []


@pytest.fixture
def behind(store, clock, written):
    async def note(name, pending, version):
        written.append((name, pending.value, version))

    return WriteBehind(store, clock, note)


async def pass_time(clock, seconds=0.1):
    """Let the hold time, or the time between two attempts, pass."""
    await clock.until_asleep()
    clock.advance(seconds)
    await anyio.wait_all_tasks_blocked()


async def test_changes_are_written_in_one_call_without_the_cancelled_ones(behind, store, clock, written):
    async with behind.open():
        behind.put("a", b"1", clock.now + 60)
        behind.put("b", b"2", clock.now + 60)
        behind.cancel("a")
        assert (behind.find("a"), behind.find("b").value) == (None, b"2")
        await pass_time(clock)
        assert behind.find("b") is None
    assert store.calls == [["b"]]
    assert [(name, value) for name, value, _ in written] == [("b", b"2")]


async def test_a_cancelled_change_of_a_stored_record_removes_it(behind, store, clock):
    version = await store.put(CONVERSATIONS, "a", b"old")
    async with behind.open():
        behind.put("a", b"new", clock.now + 60, expected=version)
        behind.cancel("a")
        assert behind.find("a").value is None
    assert await store.get(CONVERSATIONS, "a") is None


async def test_a_second_put_replaces_the_first_and_keeps_its_expected_version(behind, store, clock):
    version = await store.put(CONVERSATIONS, "a", b"old")
    async with behind.open():
        behind.put("a", b"1", clock.now + 60, expected=version)
        behind.put("a", b"2", clock.now + 60)
        assert behind.find("a").expected == version
    assert (await store.get(CONVERSATIONS, "a")).value == b"2"


async def test_a_change_that_did_not_apply_is_reported_without_a_version(behind, store, clock, written):
    await store.put(CONVERSATIONS, "a", b"of another process")
    async with behind.open():
        behind.put("a", b"1", clock.now + 60)
    assert written == [("a", b"1", None)]


async def test_changes_are_held_while_the_store_is_down(behind, store, clock):
    store.down = True
    async with behind.open():
        behind.put("a", b"1", clock.now + 60)
        await pass_time(clock)
        assert (behind.works, behind.find("a").value) == (False, b"1")
        store.down = False
        await pass_time(clock, 1.0)
        await pass_time(clock)
        assert (behind.works, behind.find("a")) == (True, None)
    assert store.calls == [["a"]]


async def test_the_rest_is_written_at_the_end(behind, store, clock):
    async with behind.open():
        behind.put("a", b"1", clock.now + 60)
    assert (await store.get(CONVERSATIONS, "a")).value == b"1"
