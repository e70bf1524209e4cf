import msgspec

from transports.web.turns import SavedChat, decode_chats, decode_turns, delete_payload, turns_payload


def test_the_payloads_are_the_pages():
    assert msgspec.json.decode(turns_payload("c_1")) == ["c_1", 10, None, 1, [1], [4], None, 1]
    assert msgspec.json.decode(delete_payload("c_1")) == ["c_1"]


def test_turns_are_read_newest_first_whatever_is_missing():
    whole = [["c_1", "r_2"], None, [["second"]], [[["rc_2", ["text"]], ["rc_3", ["other"]]]]]
    newest, oldest = decode_turns([[whole, [["c_1", "r_1"]]]])
    assert (newest.rid, newest.prompt, newest.rcid, len(newest.candidates)) == ("r_2", "second", "rc_2", 2)
    assert (oldest.rid, oldest.prompt, oldest.rcid, oldest.candidates) == ("r_1", "", "", ())
    for odd in (None, [], [[]], "text", [None]):
        assert decode_turns(odd) == []


def test_chats_are_read_with_their_time_and_without_what_is_none():
    payload = [None, None, [["c_1", "title", None, None, None, [17, 5]], ["c_2"], [None], "odd"]]
    assert decode_chats(payload) == [SavedChat(cid="c_1", seconds=17), SavedChat(cid="c_2", seconds=0)]
    assert decode_chats(None) == []
