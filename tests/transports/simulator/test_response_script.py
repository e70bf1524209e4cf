import anyio
import pytest

from protocol.model import Text, Waiting
from tests.clock import ManualClock
from transports.simulator.answer import SimulatedAnswer
from transports.simulator.config import Pace
from transports.simulator.frame_forms import FrameForm, Ids
from transports.simulator.prompt_directives import PromptScript
from transports.simulator.response_script import ResponseScript
from transports.web.codec.answer import AnswerReader

AT_ONCE = Pace(first_token_seconds=0, tokens_per_second=0)
IDS = Ids(cid="c", rid="r", rcid="rc")


def course(script, pace=AT_ONCE, clock=None, **answer):
    whole = SimulatedAnswer(text=script.text, thoughts=script.thoughts, **answer)
    return ResponseScript(script, whole, FrameForm(IDS, sparse=script.sparse), pace, clock or ManualClock())


async def body(script, pace=AT_ONCE, clock=None):
    return [piece async for piece in course(script, pace, clock).chunks()]


def events(pieces):
    reader = AnswerReader(max_frame=1 << 22)
    return [event for piece in pieces for event in reader.feed(piece)]


@pytest.mark.parametrize("frames", [1, 7, 1000])
async def test_any_number_of_frames_gives_the_same_answer(frames):
    text = "some words, `code`, and more " * 10
    pieces = await body(PromptScript(text=text, frames=frames))
    assert "".join(event.text for event in events(pieces) if isinstance(event, Text)) == text
    assert len(pieces) >= min(frames, len(text))


async def test_flicker_shows_in_the_frames_and_not_when_switched_off():
    text = "plain words and nothing else in here at all"
    assert "```" in b"".join(await body(PromptScript(text=text, frames=8))).decode()
    assert "```" not in b"".join(await body(PromptScript(text=text, frames=8, flicker=False))).decode()


async def test_queue_states_come_first():
    seen = events(await body(PromptScript(text="x", queue=3)))
    assert [type(event) for event in seen[:4]] == [Waiting, Waiting, Waiting, Text]


async def test_chunks_have_the_requested_size():
    pieces = await body(PromptScript(text="é😀" * 50, chunk=3))
    assert max(map(len, pieces)) == 3


async def test_the_connection_breaks_at_the_requested_frame():
    pieces = await body(PromptScript(text="some words to say", frames=5, drop_after=2))
    assert pieces[-1] is None
    assert sum(b"wrb.fr" in (piece or b"") for piece in pieces) == 3


async def seconds_of(script, pace):
    """Return how long an answer takes on a clock that moves in small steps."""
    clock = ManualClock(0.0)
    done = False

    async def run():
        nonlocal done
        await body(script, pace, clock)
        done = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not done:
            await anyio.wait_all_tasks_blocked()
            if not done:
                clock.advance(0.01)
    return clock.now


async def test_the_configured_pace_is_kept():
    pace = Pace(first_token_seconds=2.0, tokens_per_second=10.0, max_seconds=0.0)
    assert 11.0 <= await seconds_of(PromptScript(text="x" * 400), pace) <= 15.0


async def test_a_long_answer_speeds_up():
    pace = Pace(first_token_seconds=0.0, tokens_per_second=10.0, max_seconds=2.0)
    assert await seconds_of(PromptScript(text="x" * 40_000), pace) == pytest.approx(2.0, rel=0.5)
    assert await seconds_of(PromptScript(text="x" * 400, tokens_per_second=10), pace) == pytest.approx(10.0, rel=0.5)
