from contextlib import ExitStack
from types import SimpleNamespace

import msgspec
import pytest

from protocol.model import UpstreamFailed
from transports.simulator import encode, rich_content
from transports.web.codec.answer import SiteConversation
from transports.web.long_running.search import TurnSearch
from transports.web.long_running.work import Phase, shows_work
from transports.web.session.claims import ConversationClaims
from transports.web.turns.saved import SavedChat, SavedTurn

HERE = SiteConversation(cid="c_1", rid="r_1", rcid="rc_1", context="ctx")
RESET = UpstreamFailed("reset")


async def nothing(*_):
    """Wait for nothing; no conversation is watched."""
    return False


class Listed:
    """An account's conversations: cid to (seconds, turns); each of a turn's rid and prompt, the newest first.

    A turn may have a candidate, too.
    """

    def __init__(self, chats, *, named=False, from_look=1):
        self.chats, self.failures = chats, []
        self.named, self.from_look, self.looks, self.read = named, from_look, 0, []

    async def latest(self):
        if self.failures:
            raise self.failures.pop()
        found = [SavedChat(cid=cid, seconds=seconds) for cid, (seconds, _) in self.chats.items()]
        self.looks += 1
        newest = {cid: turns[0][0] for cid, (_, turns) in self.chats.items()}
        found = [msgspec.structs.replace(chat, rid=newest[chat.cid] if self.named else "") for chat in found]
        return found if self.looks >= self.from_look else []

    async def turns(self, cid):
        self.read.append(cid)
        turns = self.chats[cid][1]
        return [SavedTurn(rid=rid, prompt=prompt, candidates=tuple(more)) for rid, prompt, *more in turns]


NOW = 1_900_000_000
OURS = (NOW, [("r_ours", "another text")])


def searching(chats, *, turn="r_ours", now=None, claims=None, **more):
    sender = SimpleNamespace(turn=turn, conversation=now)
    options = {"is_watched": nothing, "wait": nothing, **more}
    return TurnSearch(sender, chats, ConversationClaims() if claims is None else claims, **options)


async def taken(chats, turn="r_ours", **more):
    return await searching(chats, turn=turn, **more).refused("a cat", NOW, shows_work(Phase.VIDEO))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("seconds", [NOW, NOW - 5000])
async def test_a_refused_turn_that_the_site_stored_is_found_by_its_id(named, seconds):
    other = (NOW + 1, [("r_other", "a cat")])
    chats = Listed({"c_other": other, "c_ours": (seconds, OURS[1])}, named=named)
    assert await taken(chats) == "c_ours"
    assert chats.read == ([] if named else ["c_other", "c_ours"])


@pytest.mark.parametrize(("from_look", "found"), [(1, "c_ours"), (3, "c_ours"), (4, None)])
async def test_a_conversation_listed_late_is_searched_a_limited_number_of_times(from_look, found):
    chats = Listed({"c_ours": OURS}, from_look=from_look)
    assert await taken(chats) == found
    assert chats.looks == min(from_look, 3)


@pytest.mark.parametrize("turn", ["", "r_ours"])
async def test_a_refused_turn_without_an_id_is_found_by_its_prompt(turn):
    chats = {
        "c_old": (NOW - 5000, [("r_1", "a cat")]),
        "c_new": (NOW, [("r_2", "a  cat")]),
        "c_dog": (NOW, [("r_3", "a dog")]),
    }
    assert await taken(Listed(chats), turn) == "c_new"
    assert await taken(Listed({"c_dog": chats["c_dog"]}), turn) is None


@pytest.mark.parametrize("turn", ["", "r_ours"])
async def test_two_matching_conversations_are_an_unknown_outcome(turn):
    chats = {f"c_{number}": (NOW, [(f"r_{number}", "a cat")]) for number in range(2)}
    with pytest.raises(UpstreamFailed) as caught:
        await taken(Listed(chats), turn)
    assert caught.value.code == "upstream_outcome_unknown"


@pytest.mark.parametrize(("turn", "failures", "found"), [("", 1, None), ("r_ours", 2, "c_ours"), ("r_ours", 3, None)])
async def test_a_failed_last_search_leaves_the_outcome_unknown(turn, failures, found):
    chats = Listed({"c_ours": OURS})
    chats.failures = [RESET] * failures
    if found is not None:
        assert await taken(chats, turn) == found
        return
    with pytest.raises(UpstreamFailed) as caught:
        await taken(chats, turn)
    assert caught.value.code == "upstream_outcome_unknown"


async def test_a_turn_refused_in_a_known_conversation_is_searched_there():
    chats = Listed({"c_1": (0, [("r_9", "a cat"), ("r_1", "hello")])})
    assert await taken(chats, turn="", now=HERE) == "c_1"
    chats = Listed({"c_1": (0, [("r_1", "hello")])})
    assert await taken(chats, turn="", now=HERE) is None


def shown(*, complete=True, **rich):
    """Return the first candidate of an answer with these rich fields."""
    fields = {getattr(rich_content, name.upper()): value for name, value in rich.items()}
    snapshot = encode.Snapshot(cid="c", rid="r", rcid="rc_1", text="Here it is.", complete=complete, rich=fields)
    return encode.candidates(snapshot)[0]


PICTURE = rich_content.images([("http://127.0.0.1/1", "token")])
FILM = rich_content.video("http://127.0.0.1/1", "")
PLAN = rich_content.plan("Research", [("a", "b")], "soon", "Start")


@pytest.mark.parametrize(
    ("phase", "candidate", "found"),
    [
        (Phase.VIDEO, shown(images=PICTURE), False),
        (Phase.VIDEO, shown(images=PICTURE, complete=False), False),
        (Phase.VIDEO, shown(), False),
        (Phase.VIDEO, shown(plan=PLAN), False),
        (Phase.VIDEO, shown(complete=False), True),
        (Phase.VIDEO, shown(video=FILM), True),
        (Phase.VIDEO, shown(video_pending=rich_content.video_pending("http://127.0.0.1/1", "job")), True),
        (Phase.PLAN, shown(video=FILM), False),
        (Phase.PLAN, shown(), False),
        (Phase.PLAN, shown(plan=PLAN), True),
        (Phase.PLAN, shown(complete=False), True),
    ],
)
async def test_an_answer_with_other_content_is_to_another_request(phase, candidate, found):
    search = searching(Listed({"c_1": (NOW, [("r_1", "a cat", candidate)])}), turn="")
    assert await search.refused("a cat", NOW, shows_work(phase)) == ("c_1" if found else None)


@pytest.mark.parametrize("turn", ["", "r_ours"])
async def test_a_conversation_of_another_turn_is_not_taken(turn):
    claims = ConversationClaims()
    claims.add("c_other")
    chats = Listed({"c_other": (NOW, [("r_1", "a cat")])})
    assert await taken(chats, turn, claims=claims) is None
    chats = Listed({"c_other": (NOW, [("r_1", "a cat")]), "c_new": (NOW, [("r_2", "a cat")])})
    assert await taken(chats, turn, claims=claims) == "c_new"


async def test_a_conversation_that_another_process_watches_is_not_taken():
    async def is_watched(cid):
        return cid == "c_other"

    chats = Listed({"c_other": (NOW, [("r_1", "a cat")]), "c_new": (NOW, [("r_2", "a cat")])})
    assert await taken(chats, "", is_watched=is_watched) == "c_new"


async def test_a_match_is_not_taken_while_another_turn_with_this_prompt_has_no_conversation():
    claims, looks = ConversationClaims(), []
    chats = Listed({"c_1": (NOW, [("r_1", "a cat")])})
    with claims.unplaced("a  cat"), pytest.raises(UpstreamFailed) as caught:
        await taken(chats, "", claims=claims)
    assert caught.value.code == "upstream_outcome_unknown"
    with ExitStack() as other:
        other.enter_context(claims.unplaced("a cat"))

        async def wait():
            looks.append(chats.looks)
            claims.add("c_1")
            other.close()

        assert await taken(chats, "", claims=claims, wait=wait) is None
    assert len(looks) == 1


@pytest.mark.parametrize("named", [True, False])
async def test_a_turn_that_is_found_by_its_id_is_taken_in_any_case(named):
    claims = ConversationClaims()
    claims.add("c_ours")
    with claims.unplaced("a cat"):
        assert await taken(Listed({"c_ours": OURS}, named=named), claims=claims) == "c_ours"
