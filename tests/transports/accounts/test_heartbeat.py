import anyio

from transports.accounts import Heartbeat
from transports.accounts.records import AccountLoad, read_processes
from transports.store.port import PROCESSES


async def test_a_running_process_is_listed_with_its_open_requests(store, clock):
    presence, carried = Heartbeat(store, clock, "one"), {"a": AccountLoad(in_flight=1)}
    presence.add_accounts(lambda: carried)
    async with presence.open():
        await anyio.wait_all_tasks_blocked()
        (seen,) = await read_processes(store)
        assert (seen.id, seen.accounts) == ("one", {"a": AccountLoad(in_flight=1)})
        carried = {"a": AccountLoad(in_flight=2)}
        clock.advance(2)
        await anyio.wait_all_tasks_blocked()
        assert (await read_processes(store))[0].accounts["a"].in_flight == 2
    assert await read_processes(store) == []


async def test_an_unchanged_heartbeat_is_renewed_before_it_expires(store, clock):
    presence = Heartbeat(store, clock, "one")
    async with presence.open():
        written = []
        for _ in range(6):
            await anyio.wait_all_tasks_blocked()
            written.append((await store.revisions())["process"])
            clock.advance(2)
    assert written == [1, 1, 2, 2, 3, 3]


async def test_a_dead_process_is_no_longer_listed_or_counted(store, clock):
    one, other = Heartbeat(store, clock, "one", least=1), Heartbeat(store, clock, "other", least=3)
    await one.beat()
    await other.beat()
    await one.beat()
    assert (one.processes(), other.processes()) == (1, 3)
    clock.advance(5)
    await one.beat()
    assert one.processes() == 2
    clock.advance(11)
    await one.beat()
    assert one.processes() == 1
    assert await store.keys(PROCESSES) == ["one"]
