"""What a shared store loses is put back from the machines' copies, and nothing else is."""

import pytest

from tests.clock import ManualClock
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
        """Begin anew, with the copy that is there."""
        self.store = ReplicatedRecords(self._shared, self.copy, self._clock)
        self.registry, self.change_feed = AccountRegistry(self.store, self._clock), ChangeFeed(self.store, self._clock)
        self.heard = []
        self.change_feed.subscribe(ACCOUNTS, self._heed)

    async def _heed(self):
        self.heard.append([entry.id for entry in await self.registry.records()])

    async def ids(self):
        return [entry.id for entry in await self.registry.records()]


def entry(name, secret="s"):
    return AccountRecord(id=name, transport="web", secret=secret, created=1.0, by="me")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def shared(clock):
    return Shared(clock)


@pytest.fixture
def machine(shared, clock):
    return lambda: Machine(shared, clock)


async def test_all_that_lasts_is_there_again_before_anybody_hears_of_a_change(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.registry.pause("a", by="me")
    await one.store.put(LICENSES, "b", b"license")
    await one.store.put(KEYS, "media", b"key")
    await one.change_feed.poll()
    shared.empty()
    await one.change_feed.poll()
    assert one.heard == [["a"], ["a"]]
    assert list(await one.registry.pauses()) == ["a"]
    assert (await shared.get(LICENSES, "b")).value == b"license"
    assert (await shared.get(KEYS, "media")).value == b"key"


@pytest.mark.parametrize("how", ["scan", "keys", "get"])
async def test_who_reads_between_two_looks_misses_nothing_either(machine, shared, how):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    shared.empty()
    assert await (one.store.get(ACCOUNTS, "a") if how == "get" else getattr(one.store, how)(ACCOUNTS))


async def test_a_gateway_that_starts_after_the_loss_puts_back_what_its_copy_alone_knows(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    shared.empty()
    one.start()
    assert await one.ids() == ["a"]
    other = machine()
    await other.change_feed.poll()
    assert other.heard == [["a"]]


@pytest.mark.parametrize("first", [0, 1])
async def test_of_two_copies_the_later_change_holds_whoever_comes_first(machine, shared, first):
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
        assert one.heard[-1] == ["added", "changed", "kept"]


async def test_a_removal_is_no_loss_and_the_copy_forgets_what_was_removed(machine, shared):
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
    assert one.heard[-1] == []


async def test_what_was_removed_or_changed_after_the_loss_stays_so_though_a_copy_comes_back_late(machine, shared):
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
    assert late.heard[-1] == ["b"]


async def test_what_was_put_back_and_then_changed_or_removed_holds_over_a_copy_that_knew_more(machine, shared):
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


async def test_what_was_put_back_just_before_a_crash_still_gives_way_to_a_copy_that_knew_more(machine, shared):
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


async def test_what_is_lost_while_it_is_copied_is_not_taken_for_removed(machine, shared):
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


async def test_what_was_added_to_the_empty_store_holds_over_the_copies(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    shared.empty()
    await AccountRegistry(shared, one._clock).add(entry("a", "new"))
    await one.change_feed.poll()
    assert [found.secret for found in await one.registry.records()] == ["new"]


async def test_it_is_lost_again_and_again_and_nothing_is_lost(machine, shared):
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


async def test_a_newcomer_who_finds_the_store_empty_takes_nothing_from_the_others(machine, shared, clock):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    clock.advance(5.0)
    shared.empty()
    newcomer = machine()
    await newcomer.change_feed.poll()
    await one.change_feed.poll()
    await newcomer.change_feed.poll()
    assert (one.heard[-1], newcomer.heard[-1]) == (["a"], ["a"])


async def test_the_copy_of_one_store_is_not_put_into_another(machine, shared, clock):
    other = Shared(clock)
    await Machine(other, clock).change_feed.poll()
    clock.advance(5.0)
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    one._shared = other
    one.start()
    await one.change_feed.poll()
    assert one.heard == [[]]
    assert await one.copy.keys(ACCOUNTS) == []


async def test_while_nothing_changes_a_look_is_one_call(machine, shared):
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


async def test_nobody_hears_of_a_change_while_a_store_that_was_emptied_cannot_be_made_whole(machine, shared):
    one = machine()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    shared.empty()
    shared.server.put = Broken().put
    await one.change_feed.poll()
    with pytest.raises(StoreDown):
        await one.ids()
    assert one.heard == [["a"]]
    del shared.server.put
    await one.change_feed.poll()
    assert one.heard == [["a"], ["a"]]


async def test_what_is_broken_off_at_any_write_is_done_by_the_next_look(machine, shared):
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


async def test_a_copy_that_cannot_be_kept_stops_nothing_but_what_would_be_lost(shared, clock):
    one = Machine(shared, clock)
    await one.change_feed.poll()
    one.copy = Broken()
    one.start()
    await one.registry.add(entry("a"))
    await one.change_feed.poll()
    assert one.heard == [["a"]]
    shared.empty()
    await one.change_feed.poll()
    assert one.heard == [["a"]]


async def test_a_garbled_copy_is_passed_over(machine, shared):
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


async def test_processes_of_one_machine_share_its_copy(tmp_path, shared):
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


def test_every_collection_that_commands_write_is_copied():
    assert {ACCOUNTS, PAUSES, LICENSES, KEYS} <= set(REPLICATED)
