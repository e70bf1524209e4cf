import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import (
    Capability,
    Certainty,
    DriftDetected,
    Finish,
    RateLimited,
    Text,
    Thought,
    Throttled,
    UpstreamFailed,
    Waiting,
)
from transports.simulator import encode
from transports.web.codec.decode import AnswerReader, decode_batch, decode_status
from transports.web.codec.events import MediaRefs
from transports.web.errors import RequestRejected, SessionRefused, StaleBuild, StaleToken

ANY_TEXT = st.text(st.characters(), max_size=80) | st.text(st.sampled_from("a`\\*\n\"'<>é😀\ud83d\ude00 "), max_size=80)
FLICKERS = st.sampled_from(["", "```", "\n```", "\\", "`"])
MAX_FRAME = 1 << 23
CAPTURES = Path(__file__).parents[3] / "captures"


def snapshot(text="", **fields):
    return encode.Snapshot(**{"cid": "c_1", "rid": "r_1", "rcid": "rc_1", "text": text, **fields})


def read(body, cuts=()):
    reader = AnswerReader(max_frame=MAX_FRAME, input_tokens=3)
    edges = [0, *sorted(cuts), len(body)]
    events = []
    for start, end in pairwise(edges):
        events += reader.feed(body[start:end])
    return [*events, *reader.end()], reader


def read_each(frames):
    """Read frames as they come one by one, each in a read of its own: none is passed over."""
    edges, place = [], 0
    for frame in frames:
        place += len(frame)
        edges.append(place)
    return read(b"".join(frames), edges[:-1])


def said(events, kind=Text):
    return "".join(event.text for event in events if isinstance(event, kind))


def normal(text):
    """Join surrogate pairs, as JSON decoders do."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT, st.data())
def test_any_text_through_any_growth_flicker_and_chunking_comes_out_whole(text, data):
    text = normal(text)
    body = encode.PREFIX
    for end in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8))):
        sparse = data.draw(st.booleans())
        body += encode.answer(snapshot(text[:end] + data.draw(FLICKERS), sparse=sparse))
    body += encode.answer(snapshot(text, complete=True)) + encode.end(1)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    events, reader = read(body, cuts)
    assert normal(said(events)) == text
    assert isinstance(events[-1], Finish)
    assert reader.complete


@settings(deadline=None, max_examples=60)
@given(ANY_TEXT, ANY_TEXT)
def test_thoughts_come_before_the_text_and_once(thoughts, text):
    text, thoughts = normal(text), normal(thoughts)
    half = len(thoughts) // 2
    body = encode.PREFIX + encode.answer(snapshot("", thoughts=thoughts[:half]))
    body += encode.answer(snapshot("", thoughts=thoughts, sparse=True))
    body += encode.answer(snapshot(text, thoughts=thoughts, complete=True)) + encode.end(1)
    events, _ = read(body)
    assert normal(said(events, Thought)) == thoughts
    assert normal(said(events)) == text


def test_a_hundred_kilobytes_in_many_frames_come_out_whole():
    text = "".join(f"line {number} `code` \\* ünïcödé 😀\n```\n" for number in range(2500))
    steps = range(0, len(text), 2000)
    body = b"".join([encode.PREFIX, *(encode.answer(snapshot(text[:end] + "\n```")) for end in steps)])
    body += encode.answer(snapshot(text, complete=True)) + encode.end(1)
    events, _ = read(body, range(0, len(body), 65536))
    assert said(events) == text


def test_what_the_last_frame_said_is_not_decoded_again(monkeypatch):
    from transports.web.codec import incremental_json as module

    decoded = []
    loads = module.loads

    def counting(text):
        decoded.append(len(text))
        return loads(text)

    monkeypatch.setattr(module, "loads", counting)
    monkeypatch.setattr("transports.web.codec.decode.loads", counting)
    text = "words and `code`\n\n* “quoted” and 😀 more words\n" * 400
    steps = range(0, len(text), 40)
    frames = [encode.PREFIX, *(encode.answer(snapshot(text[:end])) for end in steps)]
    frames.append(encode.answer(snapshot(text, complete=True)) + encode.end(1))
    events, _ = read_each(frames)
    assert said(events) == text
    assert sum(decoded) < 40 * len(text)
    assert sum(map(len, frames)) > 200 * len(text)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_escaped_unicode_takes_the_short_way_too(monkeypatch, ascii_only):
    text = "你好 “quotes” <b> 😀 " * 20
    frames = []
    for end in range(len(text) + 1):
        inner = [None, ["c", "r"], None, None, [["rc", [text[:end]], None, None, None, None, None, None, [2]]]]
        encoded = json.dumps(inner, ensure_ascii=ascii_only)
        body = "\n" + json.dumps([["wrb.fr", None, encoded]], ensure_ascii=ascii_only) + "\n"
        frames.append(f"{len(body.encode('utf-16-le')) // 2}{body}".encode())
    events, _ = read_each([encode.PREFIX, *frames, encode.end(1)])
    assert said(events) == text


def test_text_before_an_error_in_the_same_chunk_is_not_lost():
    reader = AnswerReader(max_frame=MAX_FRAME, input_tokens=0)
    feed = reader.feed(encode.PREFIX + encode.answer(snapshot("so far")) + encode.error(1037))
    assert next(feed) == Text(text="so far")
    with pytest.raises(RateLimited):
        next(feed)


def test_queue_states_are_waiting():
    events, _ = read(encode.PREFIX + encode.queued() + encode.answer(snapshot("x", complete=True)) + encode.end(1))
    assert isinstance(events[0], Waiting)


def turn(candidate=None, ids=("c_1", "r_1"), **fields):
    """Return a frame whose candidate and other fields stand exactly as given."""
    near = {1: list(ids), **({4: [candidate]} if candidate is not None else {})}
    inner = encode.layout(near | {int(place[1:]): value for place, value in fields.items()}, sparse=False)
    return encode.frame(["wrb.fr", None, json.dumps(inner)])


def failed(status):
    return encode.frame(["er", None, None, None, None, status, None, None, None, 3])


IDS = turn(f2={"18": "r_1", "21": ["token"], "44": True})
TITLE = turn(f2={"11": ["A title"], "44": True})
DONE = encode.answer(snapshot("all", complete=True))
HALF = encode.answer(snapshot("half"))


@pytest.mark.parametrize(
    "behind",
    [
        b"",
        encode.end(1),
        TITLE,
        TITLE + encode.error(1096) + encode.bookkeeping(1) + encode.end(1),
        encode.error(9999),
        failed(500) + encode.end(1),
        failed(400),
        encode.frame(["wrb.fr", None, '[{"37":[0]}]']),
        encode.frame(["wrb.fr", None, None, None, None, [13]]),
        encode.frame(["wrb.fr", None, "no JSON"]),
        DONE[:-9],
        b"no frame at all, and that is longer than any length is",
    ],
)
def test_nothing_behind_a_complete_candidate_undoes_the_answer(behind):
    events, _ = read(encode.PREFIX + IDS + DONE + behind)
    assert said(events) == "all"
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "stop"


def test_a_code_behind_an_answer_is_noted_as_ignored():
    _, reader = read(encode.PREFIX + DONE + encode.error(1096) + encode.end(1))
    assert (reader.code, reader.ignored) == (1096, True)
    _, reader = read(encode.PREFIX + DONE + encode.end(1))
    assert (reader.code, reader.ignored) == (None, False)


@pytest.mark.parametrize(
    "body",
    [
        HALF,
        HALF + encode.end(1),
        HALF + encode.frame(["wrb.fr", None, '[{"37":[0]}]']),
        DONE + HALF + encode.end(1),
        DONE + HALF,
        IDS,
        IDS + encode.end(1),
        turn(["rc_1", ["no state"]]),
    ],
)
def test_an_answer_that_was_still_running_at_its_end_broke_off(body):
    with pytest.raises(UpstreamFailed) as caught:
        read(encode.PREFIX + body)
    assert caught.value.code == "upstream_truncated"
    assert caught.value.certainty is Certainty.MAYBE_ACCEPTED


def test_without_a_state_the_closing_part_ends_the_answer():
    events, _ = read(encode.PREFIX + turn(["rc_1", ["all"]]) + encode.end(1))
    assert said(events) == "all"


@pytest.mark.parametrize("field", ["65", "73"])
@pytest.mark.parametrize("ending", [encode.end(1), b""])
def test_work_that_is_pending_does_not_break_an_answer_off(field, ending):
    candidate = ["rc_1", ["Making it."], *[None] * 6, [1], "en", None, None, [{field: [["chip"], "job"]}]]
    events, _ = read(encode.PREFIX + turn(candidate) + ending)
    assert said(events) == "Making it."
    assert isinstance(events[-1], Finish)


@pytest.mark.parametrize("capability", [Capability.VIDEO, Capability.DEEPSEARCH])
def test_a_turn_whose_work_is_polled_may_close_while_it_is_running(capability):
    reader = AnswerReader(max_frame=MAX_FRAME, input_tokens=0, refs=MediaRefs(capability=capability))
    events = [*reader.feed(encode.PREFIX + HALF + encode.end(1)), *reader.end()]
    assert isinstance(events[-1], Finish)


@pytest.mark.parametrize("body", [encode.end(1), encode.bookkeeping(9) + encode.end(1)])
def test_a_stream_of_bookkeeping_alone_lets_another_account_try(body):
    with pytest.raises(UpstreamFailed) as caught:
        read(encode.PREFIX + body)
    assert caught.value.certainty is Certainty.REFUSED


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, RequestRejected), (405, StaleBuild), (401, SessionRefused), (429, Throttled), (500, UpstreamFailed)],
)
def test_a_failed_part_is_the_error_of_its_status(status, kind):
    with pytest.raises(kind):
        read(encode.PREFIX + encode.bookkeeping(1) + failed(status) + encode.end(1))
    with pytest.raises(kind):
        decode_batch(encode.PREFIX + failed(status) + encode.end(1), MAX_FRAME)


def test_the_token_in_a_failed_part_is_kept_in_its_error():
    part = ["er", *[None] * 4, 400, None, None, None, 3, [{"48448350": ["xsrf", "AK:1", ["1"]]}]]
    body = encode.PREFIX + encode.frame(part)
    for reading in (read, lambda data: decode_batch(data, MAX_FRAME)):
        with pytest.raises(StaleToken) as caught:
            reading(body)
        assert caught.value.token == "AK:1"


def candidates(*texts, complete=False):
    """Return a frame of candidates: (id, text) each."""
    state = [2 if complete else 1]
    entries = [[rcid, [text], *[None] * 6, state] for rcid, text in texts]
    return encode.frame(["wrb.fr", None, json.dumps([None, ["c_1", "r_1"], None, None, entries])])


def test_the_first_candidate_is_followed_in_whatever_order_they_come():
    body = candidates(("a", "one"), ("b", "two")) + candidates(("b", "two more"), ("a", "one more"), complete=True)
    events, reader = read(encode.PREFIX + body)
    assert said(events) == "one more"
    assert reader.conversation.rcid == "a"


def test_when_the_followed_candidate_disappears_the_first_one_there_takes_its_place():
    body = candidates(("a", "one")) + candidates(("b", "one two"), ("c", "x"), complete=True)
    events, reader = read(encode.PREFIX + body)
    assert said(events) == "one two"
    assert reader.conversation.rcid == "b"


def test_a_candidate_without_an_id_is_an_answer():
    events, _ = read(encode.PREFIX + turn([None, ["all"], *[None] * 6, [2]]))
    assert said(events) == "all"


def test_an_answer_has_no_conversation_until_the_site_names_it():
    early = turn(ids=(None, "r_1"), f2={"18": "r_1", "44": True})
    _, reader = read(encode.PREFIX + early + encode.answer(snapshot("x", complete=True, rid="", context="ctx")) + TITLE)
    conversation = reader.conversation
    assert (conversation.cid, conversation.rid, conversation.context) == ("c_1", "r_1", "ctx")
    _, reader = read(encode.PREFIX + early + turn(["rc_1", ["x"], *[None] * 6, [2]], ids=(None, None)))
    assert reader.conversation is None


@pytest.mark.parametrize("place", ["f2", "f6"])
def test_a_running_tool_is_told_in_the_sites_words_for_people(place):
    def frame(words, state):
        tool = [None, ["data_analysis_tool", [None, None, words, ""], state]]
        return turn(**{place: {"7": tool} if place == "f2" else tool}, f8=None)

    body = frame("Creating your image", 1) + frame(None, 1) + frame("All done", 4) + DONE
    events, _ = read(encode.PREFIX + body)
    assert said(events, Thought) == "Creating your image\nRunning data_analysis_tool…\n"


def test_a_card_takes_its_text_from_the_other_place():
    inner = [
        None,
        ["c", "r"],
        None,
        None,
        [["rc", ["http://googleusercontent.com/card_content/0"], {"23": ["the card"]}]],
    ]
    body = encode.PREFIX + encode.frame(["wrb.fr", None, json.dumps(inner)]) + encode.end(1)
    events, _ = read(body)
    assert said(events) == "the card"


def test_the_conversation_is_remembered():
    _, reader = read(
        encode.PREFIX + encode.answer(snapshot("x", complete=True, context="ctx", sparse=True)) + encode.end(1)
    )
    conversation = reader.conversation
    assert (conversation.cid, conversation.rid, conversation.rcid) == ("c_1", "r_1", "rc_1")
    assert conversation.context == "ctx"


def test_deep_nesting_is_drift():
    with pytest.raises(DriftDetected):
        read(encode.PREFIX + encode.frame(["wrb.fr", None, "[" * 100_000]))


def test_a_batch_answer_is_read_by_id():
    body = encode.batch([encode.batch_part("otAQ7b", [1]), encode.batch_part("hNvQHb", None, 7)])
    answers = decode_batch(body, MAX_FRAME)
    assert answers.payloads == {"otAQ7b": [1], "hNvQHb": None}
    assert [answers.denied(rpc) for rpc in ("otAQ7b", "hNvQHb")] == [False, True]
    with pytest.raises(UpstreamFailed):
        decode_batch(body[:-20], MAX_FRAME)


@pytest.mark.parametrize("reason", [3, 5, 13])
def test_a_call_that_is_rejected_for_another_reason_is_not_denied(reason):
    part = ["wrb.fr", "otAQ7b", None, None, None, [reason], "generic"]
    answers = decode_batch(encode.PREFIX + encode.frame(part), MAX_FRAME)
    assert (answers.get("otAQ7b"), answers.denied("otAQ7b")) == (None, False)
    assert answers.rejections == {"otAQ7b": reason}


@pytest.mark.parametrize("rejected", [0, 1, 2])
def test_of_several_calls_of_one_kind_none_may_be_rejected(rejected):
    parts = [["wrb.fr", "GzXR5e", None if number == rejected else "[]"] for number in range(3)]
    assert decode_batch(encode.PREFIX + encode.frame(*parts), MAX_FRAME).payloads == {"GzXR5e": None}


@pytest.mark.parametrize(
    ("tiers", "flags", "plan"),
    [
        ([], [115], "plus"),
        ([16], [], "pro"),
        ([], [106], "pro"),
        ([8], [], "advanced"),
        ([], [19], "advanced"),
        ([], [], "free"),
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_plan_is_read_from_the_flags(tiers, flags, plan, sparse):
    payload = encode.layout({14: 1000, 15: [["id1", "flash"]], 16: tiers, 17: flags}, sparse=sparse)
    status = decode_status(payload, None)
    assert status.plan == plan
    assert [(model.id, model.family) for model in status.models] == [("id1", "flash")]


@pytest.mark.parametrize(
    ("tier", "ids", "tiers", "flags", "plan", "capacity"),
    [
        (None, [], [3, 0, 4, 5, 14, 38], [2, 3], "free", 1),
        (None, ["fbb127bbb056c959"], [3, 0, 4, 5, 14, 38], [2, 3], "free", 1),
        (None, ["fbb127bbb056c959", "e6fa609c3fa255c0"], [3, 0, 4, 5, 14, 38], [2, 3], "advanced", 2),
        (None, ["e6fa609c3fa255c0"], [], [115], "plus", 4),
        ("pro", ["e6fa609c3fa255c0"], [3, 0, 4, 5, 14, 38], [2, 3], "pro", 3),
        ("ultra", ["e6fa609c3fa255c0"], [8], [19], "ultra", 2),
        ("ultra", [], [], [], "ultra", 2),
        ("pro", [], [8], [], "pro", 2),
        ("free", ["fbb127bbb056c959"], [8], [], "free", 1),
        ("plus", [], [], [], "plus", 4),
    ],
)
def test_the_plan_is_that_of_the_usage_call_else_of_the_models_offered_else_of_the_flags(
    tier, ids, tiers, flags, plan, capacity
):
    payload = encode.layout({15: [[identifier] for identifier in ids], 16: tiers, 17: flags}, sparse=False)
    status = decode_status(payload, None, tier)
    assert (status.plan, status.capacity, status.field13) == (plan, capacity, False)


@pytest.mark.parametrize(("flag", "capacity"), [(21, 1), (22, 2)])
def test_flags_tell_that_the_capacity_stands_in_the_next_field(flag, capacity):
    status = decode_status(encode.layout({16: [8, flag], 17: [19]}, sparse=False), None, "pro")
    assert (status.capacity, status.field13) == (capacity, True)


def test_a_models_number_is_its_own_and_not_its_quotas():
    body = (CAPTURES / "batch-otAQ7b-2026-08-24.txt").read_bytes()
    status = decode_status(decode_batch(body, MAX_FRAME).get("otAQ7b"), None)
    assert [(model.id[:4], model.family, model.name, model.number) for model in status.models] == [
        ("8c46", "Flash-Lite", "3.5 Flash-Lite", 6),
        ("56fd", "Flash", "3.7 Flash", 1),
        ("e6fa", "Pro", "3.1 Pro", 3),
    ]
    assert status.plan == "advanced"
    entry = ["id", "Flash", "", [], 2, None, [], True, "", 20]
    assert decode_status(encode.layout({15: [entry]}, sparse=False), None).models[0].number is None


def work_of(monkeypatch, text, frames=200):
    """Return how much is decoded and looked at, in characters and pieces, while an answer grows to `text`."""
    from transports.web.codec import incremental_json as module

    counted = {"decoded": 0, "pieces": 0}
    loads, pattern = module.loads, module._PIECE

    class Counting:
        def match(self, frame, position):
            counted["pieces"] += 1
            return pattern.match(frame, position)

    def counting(piece):
        counted["decoded"] += len(piece)
        return loads(piece)

    steps = [len(text) * number // frames for number in range(1, frames + 1)]
    growing = [encode.PREFIX, *(encode.answer(snapshot(text[:end])) for end in steps)]
    growing.append(encode.answer(snapshot(text, complete=True)) + encode.end(1))
    with monkeypatch.context() as patched:
        patched.setattr(module, "loads", counting)
        patched.setattr("transports.web.codec.decode.loads", counting)
        patched.setattr(module, "_PIECE", Counting())
        events, _ = read_each(growing)
    assert said(events) == text
    return counted


@pytest.mark.parametrize("character", ['"', "\\", "\n", "`", "\\`", "<", "😀", "\t", '\n"'])
def test_an_answer_of_escapes_costs_about_what_plain_text_does(monkeypatch, character):
    size, frames = 20_000, 200
    assert work_of(monkeypatch, "x" * size, frames)["decoded"] < size / 10, "plain text is not decoded at all"
    text = (character * size)[:size]
    work = work_of(monkeypatch, text, frames)
    escaped = len(json.dumps(json.dumps(text))) / size
    assert work["decoded"] < 5 * escaped * size
    assert work["pieces"] < 2 * size + 400 * frames


def test_progress_and_tools_are_thoughts():
    inner = {1: ["c", "r"], 6: [None, ["data_analysis_tool"]], 4: [["rc", [""]]]}
    body = encode.PREFIX + encode.frame(["wrb.fr", None, json.dumps(encode.layout(inner, sparse=False))]) * 2
    body += encode.answer(snapshot("done", rcid="rc", complete=True)) + encode.end(1)
    events, _ = read(body)
    assert said(events, Thought) == "Running data_analysis_tool…\n"
    assert said(events) == "done"


def test_a_frame_whose_candidate_has_no_text_takes_nothing_back():
    body = encode.PREFIX + encode.answer(snapshot("what was said"))
    inner = [None, ["c_1", "r_1"], None, None, [["rc_1", None, None, None, None, None, None, None, [2]]]]
    body += encode.frame(["wrb.fr", None, json.dumps(inner)]) + encode.end(1)
    events, _ = read(body)
    assert said(events) == "what was said"


@pytest.mark.parametrize("sparse", [False, True])
def test_the_model_that_answers_is_read_from_both_forms(sparse):
    body = encode.PREFIX + encode.answer(snapshot("hi", model=("f1", "3.7 Flash"), sparse=sparse))
    reader = AnswerReader(max_frame=MAX_FRAME, input_tokens=3)
    list(reader.feed(body))
    assert (reader.model_id, reader.model_name) == ("f1", "3.7 Flash")


def test_a_later_frame_that_names_no_model_leaves_the_known_one_and_one_that_does_replaces_it():
    body = encode.PREFIX + encode.answer(snapshot("a", model=("f1", "3.7 Flash"))) + encode.answer(snapshot("ab"))
    reader = AnswerReader(max_frame=MAX_FRAME, input_tokens=3)
    list(reader.feed(body))
    assert (reader.model_id, reader.model_name) == ("f1", "3.7 Flash")
    list(reader.feed(encode.answer(snapshot("abc", model=("f1", "Nano Banana 2")))))
    assert (reader.model_id, reader.model_name) == ("f1", "Nano Banana 2")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("sg-answer-tail37-no-e", ("fbb127bbb056c959", "3.6 Flash")),
        ("sg-queued", ("fbb127bbb056c959", "3.6 Flash")),
        ("sg-image", ("56fdd199312815e2", "Nano Banana 2")),
    ],
)
def test_recorded_answers_tell_their_model(name, model):
    reader = AnswerReader(max_frame=MAX_FRAME, input_tokens=3)
    list(reader.feed((CAPTURES / f"{name}.txt").read_bytes()))
    assert (reader.model_id, reader.model_name) == model


def test_the_site_s_default_among_its_models_is_read():
    answer = (CAPTURES / "batch-otAQ7b-2026-08-24.txt").read_bytes()
    models = decode_status(decode_batch(answer, MAX_FRAME).get("otAQ7b"), None).models
    assert [(model.name, model.default) for model in models] == [
        ("3.5 Flash-Lite", False),
        ("3.7 Flash", True),
        ("3.1 Pro", False),
    ]
