"""Restoration of an emptied shared store from the local replicas of its machines."""

import pytest

from transports.accounts.registry import AccountRecord, AccountRegistry
from transports.clock import SystemClock
from transports.store import ChangeFeed, MemoryStore, ReplicatedRecords, StoreDown
from transports.store.local_replica import REPLICATED
from transports.store.port import ACCOUNTS, KEYS, LICENSES, MARKS, PAUSES, SESSIONS
from transports.store.sqlite import SqliteStore


class Shared:
    """A server that all machines use, until another one, or none, is in its collection."""

    def __init__(self, clock):
        self._clock, self._servers = clock, 0
        self.empty()

    def empty(self):
        self._servers += 1
        self.server = MemoryStore(self._clock)
        self.server._versions = self._servers * 1000  # versions grow, as a Redis' do

    def __getattr__(self, name):
        return getattr(self.server, name)


class Broken:
    """A disk that fails."""

    def __getattr__(self, name):
        async def fail(*_, **__):
            raise StoreDown("broken")

        return fail


class Machine:
    """One machine: its copy, and the process that runs there."""

    def __init__(self, shared, clock):
        self._shared, self._clock, self.copy = shared, clock, MemoryStore(clock)
        self.start()

    def start(self):
        """Start again with the existing local replica."""
        self.store = ReplicatedRecords(self._shared, self.copy, self._clock)
        self.registry, self.change_feed = AccountRegistry(self.store, self._clock), ChangeFeed(self.store, self._clock)
        self.reported = []
        self.change_feed.subscribe(ACCOUNTS, self._report)

    async def _report(self):
        self.reported.append([entry.id for entry in await self.registry.records()])

    async def ids(self):
        return [entry.id for entry in await self.registry.records()]


def entry(name, secret="s"):
    return AccountRecord(id=name, transport="web", secret=secret, created=1.0, by="me")


@pytest.fixture
def shared(clock):
    return Shared(clock)


@pytest.fixture
def machine(shared, clock):
    return lambda: Machine(shared, clock)


async def test_an_emptied_store_is_restored_before_a_change_is_reported(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.registry.pause("a", by="me")
    await one.store.put(LICENSES, "b", b"license")
    await one.store.put(KEYS, "media", b"key")
    await one.change_feed.poll()
    shared.empty()
    await one.change_feed.poll()
    assert one.reported == [["a"], ["a"]]
    assert list(await one.registry.pauses()) == ["a"]
    assert (await shared.get(LICENSES, "b")).value == b"license"
    assert (await shared.get(KEYS, "media")).value == b"key"


@pytest.mark.parametrize("how", ["scan", "keys", "get"])
async def test_a_read_between_two_polls_restores_an_emptied_store(machine, shared, how):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    shared.empty()
    assert await (one.store.get(ACCOUNTS, "a") if how == "get" else getattr(one.store, how)(ACCOUNTS))


async def test_a_gateway_that_starts_after_the_loss_restores_records_only_its_replica_has(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    shared.empty()
    one.start()
    assert await one.ids() == ["a"]
    other = machine()
    await other.change_feed.poll()
    assert other.reported == [["a"]]


@pytest.mark.parametrize("first", [0, 1])
async def test_the_later_change_of_two_replicas_wins_in_either_order(machine, shared, first):
    machines = [machine(), machine()]
    for name in ("changed", "removed", "kept"):
        await machines[0].registry.add(entry(name))
    for one in machines:
        await one.change_feed.poll()
    await machines[1].registry.add(entry("changed", "new"), replace=True)
    await machines[1].registry.remove("removed")
    await machines[1].registry.add(entry("added"))
    await machines[1].change_feed.poll()
    shared.empty()
    await machines[first].change_feed.poll()
    await machines[1 - first].change_feed.poll()
    await machines[first].change_feed.poll()
    for one in machines:
        assert {found.id: found.secret for found in await one.registry.records()} == {
            "added": "s", "changed": "new", "kept": "s",
        }  # fmt: skip
        assert one.reported[-1] == ["added", "changed", "kept"]


async def test_a_removed_record_is_removed_from_the_replica(machine, shared):
    one = machine()
    await one.registry.add(entry("a", "secret-of-a"))
    await one.copy.put(SESSIONS, "a", b"secret-session")
    await one.change_feed.poll()
    assert b"secret-of-a" in (await one.copy.get(ACCOUNTS, "a")).value
    await AccountRegistry(shared, one._clock).remove("a")
    await one.change_feed.poll()
    assert b"secret-of-a" not in (await one.copy.get(ACCOUNTS, "a")).value
    assert await one.copy.get(SESSIONS, "a") is None
    shared.empty()
    await one.change_feed.poll()
    assert one.reported[-1] == []


async def test_changes_after_the_loss_win_over_a_late_replica(machine, shared):
    one, late = machine(), machine()
    for name in ("a", "b"):
        await one.registry.add(entry(name))
    await one.change_feed.poll()
    await late.change_feed.poll()
    shared.empty()
    await one.change_feed.poll()
    await one.registry.remove("a")
    await one.registry.add(entry("b", "new"), replace=True)
    await late.change_feed.poll()
    assert [found.secret for found in await late.registry.records()] == ["new"]
    assert late.reported[-1] == ["b"]


async def test_changes_after_the_restoration_win_over_a_newer_replica(machine, shared):
    one, late = machine(), machine()
    for name in ("a", "b"):
        await one.registry.add(entry(name))
    await one.change_feed.poll()
    for name in ("a", "b"):
        await one.registry.add(entry(name, "newer"), replace=True)
    await late.change_feed.poll()
    shared.empty()
    await one.change_feed.poll()
    assert [found.secret for found in await one.registry.records()] == ["s", "s"]
    await one.registry.remove("a")
    await one.registry.add(entry("b", "newest"), replace=True)
    await late.change_feed.poll()
    assert [(found.id, found.secret) for found in await late.registry.records()] == [("b", "newest")]


async def test_a_record_restored_before_a_crash_is_replaced_by_a_newer_replica(machine, shared):
    one, late = machine(), machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    await one.registry.add(entry("a", "newer"), replace=True)
    await late.change_feed.poll()
    shared.empty()
    real, puts = shared.server.put, []

    async def put(*arguments, **options):
        puts.append(arguments)
        if len(puts) == 2:
            raise StoreDown("the process ends here")
        return await real(*arguments, **options)

    shared.server.put = put
    await one.change_feed.poll()
    assert await shared.keys(ACCOUNTS) == ["a"]
    assert await shared.keys(MARKS) == []
    one.start()
    await one.change_feed.poll()
    await late.change_feed.poll()
    assert [found.secret for found in await one.registry.records()] == ["newer"]


async def test_a_loss_during_copying_is_not_taken_for_a_removal(machine, shared):
    one = machine()
    await one.store.put(LICENSES, "a", b"license")
    await one.change_feed.poll()
    await one.store.put(LICENSES, "b", b"license")
    real = shared.server.keys

    async def keys(collection, *arguments, **options):
        if collection is LICENSES:
            shared.empty()
            return []
        return await real(collection, *arguments, **options)

    shared.server.keys = keys
    await one.store.revisions()
    await one.store.revisions()
    assert await one.store.keys(LICENSES) == ["a"]


async def test_records_added_to_the_emptied_store_win_over_replicas(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    shared.empty()
    await AccountRegistry(shared, one._clock).add(entry("a", "new"))
    await one.change_feed.poll()
    assert [found.secret for found in await one.registry.records()] == ["new"]


async def test_repeated_losses_are_restored(machine, shared):
    one, other = machine(), machine()
    await one.registry.add(entry("a"))
    for _ in range(3):
        await one.change_feed.poll()
        await other.change_feed.poll()
        shared.empty()
    await other.change_feed.poll()
    await other.registry.add(entry("b"))
    await one.change_feed.poll()
    shared.empty()
    await one.change_feed.poll()
    assert await one.ids() == await other.ids() == ["a", "b"]


async def test_a_new_machine_that_finds_the_store_empty_discards_no_replica(machine, shared, clock):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    clock.advance(5.0)
    shared.empty()
    newcomer = machine()
    await newcomer.change_feed.poll()
    await one.change_feed.poll()
    await newcomer.change_feed.poll()
    assert (one.reported[-1], newcomer.reported[-1]) == (["a"], ["a"])


async def test_a_replica_is_not_restored_into_another_store(machine, shared, clock):
    other = Shared(clock)
    await Machine(other, clock).change_feed.poll()
    clock.advance(5.0)
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    one._shared = other
    one.start()
    await one.change_feed.poll()
    assert one.reported == [[]]
    assert await one.copy.keys(ACCOUNTS) == []


async def test_a_poll_without_changes_is_one_call(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    for _ in range(3):
        await one.change_feed.poll()
    calls = []

    class Counted:
        def __getattr__(self, name):
            calls.append(name)
            return getattr(shared, name)

    one.store._store = one.store._replica._store = Counted()
    await one.change_feed.poll()
    assert calls == ["revisions"]


async def test_no_change_is_reported_while_an_emptied_store_cannot_be_restored(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    shared.empty()
    shared.server.put = Broken().put
    await one.change_feed.poll()
    with pytest.raises(StoreDown):
        await one.ids()
    assert one.reported == [["a"]]
    del shared.server.put
    await one.change_feed.poll()
    assert one.reported == [["a"], ["a"]]


async def test_an_interrupted_restoration_is_completed_by_the_next_poll(machine, shared):
    one, other = machine(), machine()
    for name in ("a", "b", "c"):
        await one.registry.add(entry(name))
        await one.store.put(PAUSES, name, b"{}")
    for each in (one, other):
        await each.change_feed.poll()
    for number in range(14):
        shared.empty()
        server, real, writes = shared.server, shared.server.put, []

        async def put(*arguments, number=number, real=real, writes=writes, **options):
            writes.append(arguments)
            if len(writes) > number:
                raise StoreDown("broken off")
            return await real(*arguments, **options)

        server.put = put
        await one.change_feed.poll()
        del server.put
        await other.change_feed.poll()
        await one.change_feed.poll()
        assert await other.ids() == await one.ids() == ["a", "b", "c"]
        assert await other.store.keys(PAUSES) == ["a", "b", "c"]


async def test_a_failing_replica_only_stops_restoration(shared, clock):
    one = Machine(shared, clock)
    await one.change_feed.poll()
    one.copy = Broken()
    one.start()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    assert one.reported == [["a"]]
    shared.empty()
    await one.change_feed.poll()
    assert one.reported == [["a"]]


async def test_a_damaged_replica_is_ignored(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    await one.copy.put(ACCOUNTS, "b", b"\xff")
    await one.copy.put(PAUSES, "a", b"")
    shared.empty()
    one.start()
    assert await one.ids() == ["a"]
    await one.copy.put(MARKS, "mark", b"\xff")
    one.start()
    assert await one.ids() == ["a"]


async def test_processes_of_one_machine_share_its_replica(tmp_path, shared):
    clock = SystemClock()
    copies = [SqliteStore(tmp_path / "copy.sqlite3", clock) for _ in range(2)]
    one, two = [ReplicatedRecords(shared, copy, clock) for copy in copies]
    await one.put(LICENSES, "a", b"license")
    for _ in range(2):
        await one.revisions()
        await two.revisions()
        shared.empty()
    assert await two.keys(LICENSES) == await one.keys(LICENSES) == ["a"]
    for copy in copies:
        copy.close()


def test_all_collections_that_commands_write_are_replicated():
    assert {ACCOUNTS, PAUSES, LICENSES, KEYS} <= set(REPLICATED)
