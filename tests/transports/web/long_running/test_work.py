import msgspec
import pytest

from protocol.model import (
    BadRequest,
    Certainty,
    Handle,
    RateLimited,
    Text,
    UpstreamFailed,
    WorkStarted,
)
from tests.clock import ManualClock
from transports.web.codec.answer import SiteConversation
from transports.web.config import Tools
from transports.web.long_running.search import TurnSearch
from transports.web.long_running.work import LongRunningWork, Phase, Prompt, WorkLocation, WorkSettings, location_of
from transports.web.session.background import open_background_work
from transports.web.session.claims import ConversationClaims
from transports.web.turns.saved import SavedChat, SavedTurn

HERE = SiteConversation(cid="c_1", rid="r_1", rcid="rc_1", context="ctx")
RESET = UpstreamFailed("reset")


class Sender:
    """Says nothing; answers with steps: a conversation to be in, an event, an error."""

    def __init__(self, *steps):
        self.conversation = None
        self.turn = ""
        self.steps = steps
        self.said = []

    async def send(self, text, slots, files=()):
        self.said.append(text)
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, SiteConversation):
                self.conversation = step
            else:
                yield step


class Chats:
    """An account's conversations: cid to (seconds, prompts)."""

    def __init__(self, **chats):
        self.chats = chats
        self.failures = []

    async def latest(self):
        if self.failures:
            raise self.failures.pop()
        return [SavedChat(cid=cid, seconds=seconds) for cid, (seconds, _) in self.chats.items()]

    async def turns(self, cid):
        if self.failures:
            raise self.failures.pop()
        _, prompts = self.chats.get(cid, (0, []))
        return [SavedTurn(rid="r", prompt=prompt, candidates=()) for prompt in prompts]


class Patient(ManualClock):
    """A clock that advances automatically."""

    async def sleep(self, seconds):
        self.advance(seconds)


async def nothing(*_):
    """Wait for nothing; no conversation is watched."""
    return False


def search_of(sender, chats):
    return TurnSearch(sender, chats, ConversationClaims(), nothing, nothing)


@pytest.fixture
async def work_with():
    settings = WorkSettings(
        transport="web", account="one", poll_seconds=10.0, delete=True, delete_seconds=0.0, tools=Tools()
    )
    async with open_background_work(Patient()) as background:
        yield lambda sender, chats: LongRunningWork(sender, search_of(sender, chats), background, Patient(), settings)


async def begun(work, text="a cat"):
    events = [event async for event in work.begin(Prompt(text), {}, Phase.VIDEO)]
    return [location_of(event.handle).cid for event in events if isinstance(event, WorkStarted)]


async def test_the_location_of_the_work_is_announced_as_soon_as_it_is_known(work_with):
    work = work_with(Sender(HERE, Text(text="soon"), Text(text="…")), Chats())
    events = [event async for event in work.begin(Prompt("a cat"), {}, Phase.VIDEO)]
    assert [type(event) for event in events] == [WorkStarted, Text, Text, WorkStarted]
    assert (events[0].settled, events[-1].settled) == (False, True)
    assert events[0].handle == events[-1].handle
    place = location_of(events[0].handle)
    assert (place.cid, place.phase, place.context) == ("c_1", Phase.VIDEO, "ctx")
    assert (events[0].handle.transport, events[0].handle.account) == ("web", "one")


async def test_a_truncated_answer_is_searched_in_its_conversation(work_with):
    sender = Sender(HERE, Text(text="soon"), RESET)
    assert await begun(work_with(sender, Chats())) == ["c_1", "c_1"]
    assert sender.said == ["a cat"]


async def test_a_lost_answer_is_found_by_its_prompt_and_time(work_with):
    now = int(Patient().wall())
    chats = Chats(
        c_old=(now - 1000, ["a cat"]),
        c_other=(now, ["a dog"]),
        c_longer=(now, ["a cat", "hello"]),
        c_ours=(now, ["a  cat"]),
    )
    sender = Sender(RESET)
    assert await begun(work_with(sender, chats)) == ["c_ours"]
    assert sender.said == ["a cat"]


async def test_a_failed_search_is_repeated(work_with):
    chats = Chats(c_ours=(int(Patient().wall()), ["a cat"]))
    chats.failures = [RESET, RateLimited("slow")]
    assert await begun(work_with(Sender(RESET), chats)) == ["c_ours"]


@pytest.mark.parametrize("alike", [0, 2])
async def test_no_match_or_two_matches_are_an_unknown_outcome_without_a_new_turn(work_with, alike):
    now = int(Patient().wall())
    sender = Sender(RESET)
    with pytest.raises(UpstreamFailed) as caught:
        await begun(work_with(sender, Chats(**{f"c_{number}": (now, ["a cat"]) for number in range(alike)})))
    assert caught.value.code == "upstream_outcome_unknown"
    assert sender.said == ["a cat"]


async def test_a_refusal_of_the_site_is_raised_unchanged(work_with):
    refused = UpstreamFailed("no", certainty=Certainty.REFUSED)
    with pytest.raises(UpstreamFailed) as caught:
        await begun(work_with(Sender(refused), Chats()))
    assert caught.value is refused


async def test_reading_may_fail_only_a_limited_number_of_times(work_with):
    chats = Chats(c_1=(0, ["a cat"]))
    work = work_with(Sender(), chats)
    work.move_to(WorkLocation(cid="c_1", phase=Phase.VIDEO))
    chats.failures = [RESET] * 29
    for _ in range(29):
        assert await work.read_turns() == []
    assert len(await work.read_turns()) == 1
    work.reset_misses()
    chats.failures = [RateLimited("slow")] * 30
    for _ in range(29):
        assert await work.read_turns() == []
    with pytest.raises(RateLimited):
        await work.read_turns()


async def test_a_deleted_conversation_leaves_the_outcome_unknown(work_with):
    work = work_with(Sender(), Chats())
    work.move_to(WorkLocation(cid="c_gone", phase=Phase.VIDEO))
    for _ in range(29):
        assert await work.read_turns() == []
    with pytest.raises(UpstreamFailed) as caught:
        await work.read_turns()
    assert caught.value.code == "upstream_outcome_unknown"


@pytest.mark.parametrize("token", ["", "{}", '{"cid": 1}', msgspec.json.encode({"cid": "c", "phase": "x"}).decode()])
def test_an_invalid_handle_is_a_bad_request(token):
    with pytest.raises(BadRequest):
        location_of(Handle(transport="web", account="one", token=token))
