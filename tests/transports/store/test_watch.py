from tests.clock import ManualClock
from transports.store import MemoryStore, Watch
from transports.store.port import PAUSES, RESTS


async def test_who_is_called_may_ask_to_be_told_of_another_place():
    clock = ManualClock()
    store = MemoryStore(clock)
    watch, told = Watch(store, clock), []

    async def heed_rests():
        told.append("rests")

    async def heed_pauses():
        told.append("pauses")
        watch.on(RESTS, heed_rests)

    watch.on(PAUSES, heed_pauses)
    await watch.look()
    await watch.look()
    assert told == ["pauses", "rests"]


async def test_a_change_is_told_once_whoever_made_it():
    clock = ManualClock()
    store = MemoryStore(clock)
    watch, told = Watch(store, clock), []

    async def heed():
        told.append((await store.get(PAUSES, "one")) is not None)

    watch.on(PAUSES, heed)
    await watch.look()
    await store.put(PAUSES, "one", b"x")
    await watch.look()
    await watch.look()
    assert told == [False, True]
