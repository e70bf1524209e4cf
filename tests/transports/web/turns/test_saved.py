from pathlib import Path

import msgspec
import pytest

from transports.web.codec.batch import decode_batch
from transports.web.turns.saved import SavedChat, SavedTurn, decode_chats, decode_turns, delete_payload, turns_payload


def test_the_payloads_match_the_documentation():
    assert msgspec.json.decode(turns_payload("c_1")) == ["c_1", 10, None, 1, [1], [4], None, 1]
    assert msgspec.json.decode(delete_payload("c_1")) == ["c_1"]


def test_turns_are_read_newest_first_with_missing_fields():
    whole = [["c_1", "r_2"], None, [["second"]], [[["rc_2", ["text"]], ["rc_3", ["other"]]]]]
    newest, oldest = decode_turns([[whole, [["c_1", "r_1"]]]])
    assert (newest.rid, newest.prompt, newest.rcid, len(newest.candidates)) == ("r_2", "second", "rc_2", 2)
    assert (oldest.rid, oldest.prompt, oldest.rcid, oldest.candidates) == ("r_1", "", "", ())
    for odd in (None, [], [[]], "text", [None]):
        assert decode_turns(odd) == []


def test_chats_are_read_with_their_time_and_without_invalid_entries():
    payload = [None, None, [["c_1", "title", None, None, None, [17, 5]], ["c_2"], [None], "odd"]]
    assert decode_chats(payload) == [SavedChat(cid="c_1", seconds=17), SavedChat(cid="c_2", seconds=0)]
    assert decode_chats(None) == []


def test_the_last_turn_is_read_from_a_recorded_list():
    body = (Path(__file__).parents[3] / "captures" / "batch-MaZiqc.txt").read_bytes()
    assert decode_chats(decode_batch(body, 1 << 20).get("MaZiqc")) == [
        SavedChat(cid="c_da24e84ec005599a", seconds=1777601930),
        SavedChat(cid="c_90ca192406be80bb", seconds=1777501548, rid="r_bc98137b61ada92c"),
    ]


@pytest.mark.parametrize(
    ("read", "text", "same"), [("a  cat\n", "a cat", True), ("a cat", "acat", False), ("", "", True)]
)
def test_prompts_are_compared_without_white_space(read, text, same):
    assert SavedTurn(rid="r", prompt=read, candidates=()).has_prompt(text) is same


def test_turns_are_counted_from_the_first():
    turns = decode_turns([[[["c", f"r_{number}"], None, [[""]]] for number in (2, 1, 0)]])
    assert [(turn.rid, turn.index) for turn in turns] == [("r_2", 2), ("r_1", 1), ("r_0", 0)]
