from tests.clock import ManualClock
from transports.store import ChangeFeed, MemoryStore
from transports.store.port import COOLDOWNS, PAUSES


async def test_who_is_called_may_ask_to_be_told_of_another_place():
    clock = ManualClock()
    store = MemoryStore(clock)
    change_feed, told = ChangeFeed(store, clock), []

    async def cooldowns_changed():
        told.append("rests")

    async def pauses_changed():
        told.append("pauses")
        change_feed.subscribe(COOLDOWNS, cooldowns_changed)

    change_feed.subscribe(PAUSES, pauses_changed)
    await change_feed.poll()
    await change_feed.poll()
    assert told == ["pauses", "rests"]


async def test_a_change_is_told_once_whoever_made_it():
    clock = ManualClock()
    store = MemoryStore(clock)
    change_feed, told = ChangeFeed(store, clock), []

    async def heed():
        told.append((await store.get(PAUSES, "one")) is not None)

    change_feed.subscribe(PAUSES, heed)
    await change_feed.poll()
    await store.put(PAUSES, "one", b"x")
    await change_feed.poll()
    await change_feed.poll()
    assert told == [False, True]
