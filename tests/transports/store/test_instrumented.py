import anyio
import pytest

from tests.clock import ManualClock
from tests.servers import RecordingStoreObserver
from transports.store import MemoryStore, StoreDown
from transports.store.instrumented import instrumented
from transports.store.port import SESSIONS


class Troubled(MemoryStore):
    async def settle(self):
        raise StoreDown("down")

    async def now(self):
        await anyio.sleep_forever()

    async def epoch(self):
        raise OSError("what the store does not expect")


async def test_each_call_is_reported_with_its_outcome():
    observer, clock = RecordingStoreObserver(), ManualClock()
    store = instrumented(Troubled(clock), clock, observer)
    version = await store.put(SESSIONS, "a", b"1", expected=0)
    assert (await store.get(SESSIONS, "a")).version == version
    with pytest.raises(StoreDown):
        await store.settle()
    with pytest.raises(OSError, match="expect"):
        await store.epoch()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.now()
    assert observer.calls == [
        ("put", "ok"),
        ("get", "ok"),
        ("settle", "broken"),
        ("epoch", "error"),
        ("now", "cancelled"),
    ]
