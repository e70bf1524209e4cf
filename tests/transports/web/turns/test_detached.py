import anyio
import pytest

from protocol.model import Text, UpstreamFailed
from tests.clock import ManualClock
from transports.web.session.background import open_background_work
from transports.web.turns.detached import detached_turn

FIRST, SECOND = Text(text="first"), Text(text="second")


class Turn:
    """A turn: events, errors, events of anyio to wait for; notes how it ended."""

    def __init__(self, *steps):
        self.steps = steps
        self.ended, self.cut = anyio.Event(), False

    async def say(self):
        try:
            for step in self.steps:
                if isinstance(step, anyio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        except anyio.get_cancelled_exc_class():
            self.cut = True
            raise
        finally:
            self.ended.set()


@pytest.fixture
async def background():
    async with open_background_work(ManualClock()) as opened:
        yield opened


async def test_a_reader_that_stays_gets_all_events(background):
    async with detached_turn(background, Turn(FIRST, SECOND).say()) as said:
        assert [event async for event in said] == [FIRST, SECOND]


@pytest.mark.parametrize("error", [UpstreamFailed("broke"), KeyError("a bug of ours")])
async def test_a_reader_that_stays_gets_the_error(background, error):
    received = []
    with pytest.raises(type(error)) as caught:
        async with detached_turn(background, Turn(FIRST, error).say()) as said:
            async for event in said:
                received.append(event)
    assert caught.value is error
    assert received == [FIRST]


async def test_a_kept_turn_runs_to_its_end_without_a_reader(background):
    go = anyio.Event()
    turn = Turn(FIRST, go, SECOND, UpstreamFailed("broke"))
    async with detached_turn(background, turn.say()) as said:
        assert await anext(said) == FIRST
        said.keep_running()
    assert not turn.ended.is_set()
    go.set()
    with anyio.fail_after(60):
        await turn.ended.wait()
    assert not turn.cut


async def test_a_turn_without_a_known_conversation_is_cancelled(background):
    turn = Turn(FIRST, anyio.Event())
    async with detached_turn(background, turn.say()) as said:
        assert await anext(said) == FIRST
    with anyio.fail_after(60):
        await turn.ended.wait()
    assert turn.cut


async def test_a_kept_turn_that_never_ends_is_cancelled_after_a_limit(background, monkeypatch):
    monkeypatch.setattr("transports.web.turns.detached.TURN_SECONDS", 0.01)
    turn = Turn(FIRST, anyio.Event())
    async with detached_turn(background, turn.say()) as said:
        said.keep_running()
    with anyio.fail_after(60):
        await turn.ended.wait()
    assert turn.cut


async def test_shutdown_waits_for_a_running_turn():
    go = anyio.Event()
    turn = Turn(FIRST, go, SECOND)
    async with anyio.create_task_group() as tasks:
        async with open_background_work(ManualClock()) as background:
            async with detached_turn(background, turn.say()) as said:
                await anext(said)
                said.keep_running()

            async def soon():
                await anyio.lowlevel.checkpoint()
                go.set()

            tasks.start_soon(soon)
    assert turn.ended.is_set()
    assert not turn.cut
