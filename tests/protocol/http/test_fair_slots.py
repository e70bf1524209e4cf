import anyio
import pytest

from protocol.http.fair_slots import FairSlots

pytestmark = pytest.mark.anyio


class Crowd:
    """Work of licenses that holds a slot until the test ends it."""

    def __init__(self, slots, tasks):
        self._slots, self._tasks, self.holding, self.scopes = slots, tasks, [], []

    async def come(self, name, count=1):
        for _ in range(count):
            self._tasks.start_soon(self._work, name)
        await anyio.wait_all_tasks_blocked()

    async def end(self, name, count=1):
        for _ in range(count):
            one = next(one for one in self.holding if one[0] == name)
            one[1].set()
            await anyio.wait_all_tasks_blocked()

    def held(self, name):
        return sum(one[0] == name for one in self.holding)

    async def _work(self, name):
        with anyio.CancelScope() as scope:
            self.scopes.append(scope)
            async with self._slots.of(name):
                end = (name, anyio.Event())
                self.holding.append(end)
                try:
                    await end[1].wait()
                finally:
                    self.holding.remove(end)


@pytest.fixture
async def crowd():
    async with anyio.create_task_group() as tasks:
        yield Crowd(FairSlots(16), tasks)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("most", "licenses", "taken"), [(16, 2, 12), (8, 2, 6), (4, 2, 3), (2, 2, 2), (1, 9, 1), (16, 1, 16)]
)
async def test_one_of_several_licenses_leaves_slots_free(most, licenses, taken):
    async with anyio.create_task_group() as tasks:
        crowd = Crowd(FairSlots(most, lambda: licenses), tasks)
        await crowd.come("a", 40)
        assert crowd.held("a") == taken
        tasks.cancel_scope.cancel()


async def test_another_license_finds_a_slot_at_once_again_and_again(crowd):
    await crowd.come("a", 40)
    for _ in range(5):
        await crowd.come("b")
        assert crowd.held("b") == 1
        await crowd.end("b")
        assert crowd.held("a") == 12


async def test_freed_slots_go_to_the_license_that_holds_the_fewest(crowd):
    await crowd.come("a", 40)
    await crowd.come("b", 10)
    assert (crowd.held("a"), crowd.held("b")) == (12, 3)
    await crowd.end("a", 6)
    assert (crowd.held("a"), crowd.held("b")) == (7, 7)


async def test_cancelled_work_keeps_no_slot(crowd):
    await crowd.come("a", 40)
    for scope in crowd.scopes[:20]:
        scope.cancel()
    await anyio.wait_all_tasks_blocked()
    assert crowd.held("a") == 12
    for scope in crowd.scopes:
        scope.cancel()
    await anyio.wait_all_tasks_blocked()
    await crowd.come("b", 40)
    assert crowd.held("b") == 12
