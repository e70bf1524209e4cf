from transports.store import ChangeFeed
from transports.store.port import COOLDOWNS, PAUSES


async def test_a_handler_may_subscribe_to_another_collection(clock, store):
    change_feed, calls = ChangeFeed(store, clock), []

    async def cooldowns_changed():
        calls.append("cooldowns")

    async def pauses_changed():
        calls.append("pauses")
        change_feed.subscribe(COOLDOWNS, cooldowns_changed)

    change_feed.subscribe(PAUSES, pauses_changed)
    await change_feed.poll()
    await change_feed.poll()
    assert calls == ["pauses", "cooldowns"]


async def test_a_handler_is_called_once_per_change_of_any_process(clock, store):
    change_feed, calls = ChangeFeed(store, clock), []

    async def pauses_changed():
        calls.append((await store.get(PAUSES, "one")) is not None)

    change_feed.subscribe(PAUSES, pauses_changed)
    await change_feed.poll()
    await store.put(PAUSES, "one", b"x")
    await change_feed.poll()
    await change_feed.poll()
    assert calls == [False, True]
