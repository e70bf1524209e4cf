import pytest

from transports.simulator.answer import SimulatedAnswer
from transports.simulator.history import History, SavedHistoryTurn


def turn(number, **fields):
    answer = SimulatedAnswer(text=f"answer {number}", others=("another",))
    names = {"rid": f"r_{number}", "rcid": f"rc_{number}", "context": f"ctx{number}"}
    return SavedHistoryTurn(**names, prompt=f"prompt {number}", answer=answer, seconds=float(number), **fields)


@pytest.fixture
def history():
    history = History()
    history.save("c_1", turn(1))
    history.save("c_2", turn(2))
    history.save("c_1", turn(3))
    return history


def test_conversations_are_listed_by_their_last_turn_and_named_after_their_first(history):
    assert [(one.cid, one.title) for one in history.newest_first()] == [("c_1", "prompt 1"), ("c_2", "prompt 2")]
    assert [one.rid for one in history.find("c_1").turns] == ["r_1", "r_3"]


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (["c_1", "r_3", "rc_3", "ctx3"], True),
        (["c_1", "r_3", "rc_32", "ctx3"], True),
        (["c_1", "", "", ""], True),
        (["c_1", "r_1", "rc_1", "ctx1"], False),
        (["c_1", "r_3", "rc_9", "ctx3"], False),
        (["c_9", "", "", ""], False),
    ],
    ids=["all ids", "another candidate", "ids that were lost", "an earlier turn", "a wrong candidate", "unknown"],
)
def test_only_the_last_turn_of_a_conversation_can_be_continued(history, place, found):
    assert (history.find_last_turn(place) is not None) is found


def test_a_conversation_can_be_deleted_twice(history):
    history.delete("c_1")
    history.delete("c_1")
    assert history.find("c_1") is None


def test_a_thousand_conversations_are_kept_and_the_oldest_go_first(history):
    for number in range(1000):
        history.save(f"c_new{number}", turn(number))
    assert history.find("c_2") is None
    assert len(history.newest_first()) == 1000
