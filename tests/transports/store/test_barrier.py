import pytest

from transports.store import MemoryStore, StoreDown
from transports.store.barrier import Barrier

LOCK_SECONDS = 45.0


class Server(MemoryStore):
    """A store whose server a test can change."""

    def __init__(self, clock):
        super().__init__(clock)
        self.server, self.changes_after_looks = "first", False
        self.down = False

    async def epoch(self):
        if self.down:
            raise StoreDown("down")
        server = self.server
        if self.changes_after_looks:
            self.server = "another"
        return server

    async def acquire(self, name, owner, seconds, epoch=None):
        if self.down:
            raise StoreDown("down")
        return await super().acquire(name, owner, seconds) if epoch == self.server else None


@pytest.fixture
def server(clock):
    return Server(clock)


@pytest.fixture
def barrier(server, clock):
    return Barrier(server, clock, LOCK_SECONDS)


async def test_a_store_without_an_epoch_needs_no_wait(clock):
    barrier = Barrier(MemoryStore(clock), clock, LOCK_SECONDS)
    assert await barrier.passed()
    assert await barrier.acquire("lock", "owner", LOCK_SECONDS) is not None


async def test_locks_are_granted_after_the_first_wait(barrier, clock):
    assert not await barrier.passed()
    assert await barrier.acquire("lock", "owner", LOCK_SECONDS) is None
    clock.advance(LOCK_SECONDS - 0.1)
    assert not await barrier.passed()
    clock.advance(0.1)
    assert await barrier.passed()
    assert await barrier.acquire("lock", "owner", LOCK_SECONDS) is not None


async def test_each_change_of_the_server_starts_the_wait_again(barrier, server, clock):
    await barrier.passed()
    clock.advance(LOCK_SECONDS)
    assert await barrier.passed()
    for other in ("second", "first"):
        server.server = other
        assert not await barrier.passed()
        clock.advance(LOCK_SECONDS)
        assert await barrier.passed()


@pytest.mark.parametrize("call", ["look", "lock"])
async def test_an_outage_starts_the_wait_again(barrier, server, clock, call):
    await barrier.passed()
    clock.advance(LOCK_SECONDS)
    assert await barrier.passed()
    server.down = True
    with pytest.raises(StoreDown):
        await (barrier.passed() if call == "look" else barrier.acquire("lock", "owner", LOCK_SECONDS))
    server.down = False
    assert not await barrier.passed()
    clock.advance(LOCK_SECONDS)
    assert await barrier.passed()


async def test_a_server_that_changed_after_the_check_grants_no_lock(barrier, server, clock):
    await barrier.passed()
    clock.advance(LOCK_SECONDS)
    server.changes_after_looks = True
    assert await barrier.acquire("lock", "owner", LOCK_SECONDS) is None
    assert not await barrier.passed()
