from tests.clock import ManualClock
from transports.store import ChangeFeed, MemoryStore
from transports.store.port import COOLDOWNS, PAUSES


async def test_who_is_called_may_ask_to_be_told_of_another_place():
    clock = ManualClock()
    store = MemoryStore(clock)
    watch, told = ChangeFeed(store, clock), []

    async def cooldowns_changed():
        told.append("rests")

    async def pauses_changed():
        told.append("pauses")
        watch.on(COOLDOWNS, cooldowns_changed)

    watch.on(PAUSES, pauses_changed)
    await watch.look()
    await watch.look()
    assert told == ["pauses", "rests"]


async def test_a_change_is_told_once_whoever_made_it():
    clock = ManualClock()
    store = MemoryStore(clock)
    watch, told = ChangeFeed(store, clock), []

    async def heed():
        told.append((await store.get(PAUSES, "one")) is not None)

    watch.on(PAUSES, heed)
    await watch.look()
    await store.put(PAUSES, "one", b"x")
    await watch.look()
    await watch.look()
    assert told == [False, True]
