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
    GatewayError,
    RateLimited,
    Text,
    Thought,
    Throttled,
    UpstreamFailed,
    Usage,
    Waiting,
)
from transports.simulator import encode
from transports.web import wire
from transports.web.codec import answer as module
from transports.web.codec.answer import AnswerReader, SnapshotReader
from transports.web.codec.batch import decode_batch
from transports.web.codec.events import MediaRefs
from transports.web.codec.frames import FrameParser, Shared
from transports.web.errors import RequestRejected, SessionRefused, StaleBuild, StaleToken, drift

ANY_TEXT = st.text(st.characters(), max_size=80) | st.text(st.sampled_from("a`\\*\n\"'<>é😀\ud83d\ude00 "), max_size=80)

FLICKERS = st.sampled_from(["", "```", "\n```", "\\", "`"])

MAX_FRAME = 1 << 23

PROMPT = Usage(input_tokens=3, output_tokens=0)

CAPTURES = Path(__file__).parents[3] / "captures"


def snapshot(text="", **fields):
    return encode.Snapshot(**{"cid": "c_1", "rid": "r_1", "rcid": "rc_1", "text": text, **fields})


def read(body, cuts=()):
    reader = AnswerReader(max_frame=MAX_FRAME, prompt=PROMPT)
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
def test_any_growth_flicker_and_chunking_gives_the_whole_text(text, data):
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


def test_a_hundred_kilobytes_in_many_frames_are_read_completely():
    text = "".join(f"line {number} `code` \\* ünïcödé 😀\n```\n" for number in range(2500))
    steps = range(0, len(text), 2000)
    body = b"".join([encode.PREFIX, *(encode.answer(snapshot(text[:end] + "\n```")) for end in steps)])
    body += encode.answer(snapshot(text, complete=True)) + encode.end(1)
    events, _ = read(body, range(0, len(body), 65536))
    assert said(events) == text


def test_content_of_the_last_frame_is_not_decoded_again(monkeypatch):
    from transports.web.codec import answer as module

    decoded = []
    loads = module.loads

    def counting(text):
        decoded.append(len(text))
        return loads(text)

    monkeypatch.setattr(module, "loads", counting)
    text = "words and `code`\n\n* “quoted” and 😀 more words\n" * 400
    steps = range(0, len(text), 40)
    frames = [encode.PREFIX, *(encode.answer(snapshot(text[:end])) for end in steps)]
    frames.append(encode.answer(snapshot(text, complete=True)) + encode.end(1))
    events, _ = read_each(frames)
    assert said(events) == text
    assert sum(decoded) < 40 * len(text)
    assert sum(map(len, frames)) > 200 * len(text)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_escaped_unicode_is_decoded_incrementally_too(monkeypatch, ascii_only):
    text = "你好 “quotes” <b> 😀 " * 20
    frames = []
    for end in range(len(text) + 1):
        inner = [None, ["c", "r"], None, None, [["rc", [text[:end]], None, None, None, None, None, None, [2]]]]
        encoded = json.dumps(inner, ensure_ascii=ascii_only)
        body = "\n" + json.dumps([["wrb.fr", None, encoded]], ensure_ascii=ascii_only) + "\n"
        frames.append(f"{len(body.encode('utf-16-le')) // 2}{body}".encode())
    events, _ = read_each([encode.PREFIX, *frames, encode.end(1)])
    assert said(events) == text


def test_text_before_an_error_in_the_same_chunk_is_delivered():
    reader = AnswerReader(max_frame=MAX_FRAME)
    feed = reader.feed(encode.PREFIX + encode.answer(snapshot("so far")) + encode.error(1037))
    assert next(feed) == Text(text="so far")
    with pytest.raises(RateLimited):
        next(feed)


def test_queue_states_become_waiting_events():
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
def test_parts_after_a_complete_candidate_do_not_change_the_answer(behind):
    events, _ = read(encode.PREFIX + IDS + DONE + behind)
    assert said(events) == "all"
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "stop"


def test_a_code_after_a_complete_answer_is_marked_as_ignored():
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
def test_an_answer_that_ends_while_running_is_truncated(body):
    with pytest.raises(UpstreamFailed) as caught:
        read(encode.PREFIX + body)
    assert caught.value.code == "upstream_truncated"
    assert caught.value.certainty is Certainty.MAYBE_ACCEPTED


def test_without_a_state_the_closing_part_ends_the_answer():
    events, _ = read(encode.PREFIX + turn(["rc_1", ["all"]]) + encode.end(1))
    assert said(events) == "all"


@pytest.mark.parametrize("field", ["65", "73"])
@pytest.mark.parametrize("ending", [encode.end(1), b""])
def test_pending_work_does_not_truncate_an_answer(field, ending):
    candidate = ["rc_1", ["Making it."], *[None] * 6, [1], "en", None, None, [{field: [["chip"], "job"]}]]
    events, _ = read(encode.PREFIX + turn(candidate) + ending)
    assert said(events) == "Making it."
    assert isinstance(events[-1], Finish)


@pytest.mark.parametrize("capability", [Capability.VIDEO, Capability.DEEPSEARCH])
def test_a_turn_with_polled_work_may_end_while_running(capability):
    reader = AnswerReader(max_frame=MAX_FRAME, refs=MediaRefs(capability=capability))
    events = [*reader.feed(encode.PREFIX + HALF + encode.end(1)), *reader.end()]
    assert isinstance(events[-1], Finish)


@pytest.mark.parametrize("body", [encode.end(1), encode.bookkeeping(9) + encode.end(1)])
def test_a_stream_without_content_allows_failover(body):
    with pytest.raises(UpstreamFailed) as caught:
        read(encode.PREFIX + body)
    assert caught.value.certainty is Certainty.REFUSED


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, RequestRejected), (405, StaleBuild), (401, SessionRefused), (429, Throttled), (500, UpstreamFailed)],
)
def test_a_failure_part_raises_the_error_of_its_status(status, kind):
    with pytest.raises(kind):
        read(encode.PREFIX + encode.bookkeeping(1) + failed(status) + encode.end(1))
    with pytest.raises(kind):
        decode_batch(encode.PREFIX + failed(status) + encode.end(1), MAX_FRAME)


def test_the_token_of_a_failure_part_is_in_its_error():
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


def test_the_first_candidate_is_followed_in_any_order():
    body = candidates(("a", "one"), ("b", "two")) + candidates(("b", "two more"), ("a", "one more"), complete=True)
    events, reader = read(encode.PREFIX + body)
    assert said(events) == "one more"
    assert reader.conversation.rcid == "a"


def test_the_first_candidate_replaces_a_followed_one_that_disappears():
    body = candidates(("a", "one")) + candidates(("b", "one two"), ("c", "x"), complete=True)
    events, reader = read(encode.PREFIX + body)
    assert said(events) == "one two"
    assert reader.conversation.rcid == "b"


def test_a_candidate_without_an_id_is_an_answer():
    events, _ = read(encode.PREFIX + turn([None, ["all"], *[None] * 6, [2]]))
    assert said(events) == "all"


def test_an_answer_has_no_conversation_before_the_site_names_it():
    early = turn(ids=(None, "r_1"), f2={"18": "r_1", "44": True})
    _, reader = read(encode.PREFIX + early + encode.answer(snapshot("x", complete=True, rid="", context="ctx")) + TITLE)
    conversation = reader.conversation
    assert (conversation.cid, conversation.rid, conversation.context) == ("c_1", "r_1", "ctx")
    _, reader = read(encode.PREFIX + early + turn(["rc_1", ["x"], *[None] * 6, [2]], ids=(None, None)))
    assert reader.conversation is None


@pytest.mark.parametrize("place", ["f2", "f6"])
def test_a_running_tool_is_reported_in_the_text_of_the_site(place):
    def frame(words, state):
        tool = [None, ["data_analysis_tool", [None, None, words, ""], state]]
        return turn(**{place: {"7": tool} if place == "f2" else tool}, f8=None)

    body = frame("Creating your image", 1) + frame(None, 1) + frame("All done", 4) + DONE
    events, _ = read(encode.PREFIX + body)
    assert said(events, Thought) == "Creating your image\nRunning data_analysis_tool…\n"


def test_a_card_has_its_text_in_another_field():
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


def work_of(monkeypatch, text, frames=200):
    """Return how much is decoded and looked at, in characters and pieces, while an answer grows to `text`."""
    from transports.web.codec import answer as module

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
        patched.setattr(module, "_PIECE", Counting())
        events, _ = read_each(growing)
    assert said(events) == text
    return counted


@pytest.mark.parametrize("character", ['"', "\\", "\n", "`", "\\`", "<", "😀", "\t", '\n"'])
def test_an_answer_of_escapes_costs_about_as_much_as_plain_text(monkeypatch, character):
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


def test_a_candidate_without_text_keeps_the_earlier_text():
    body = encode.PREFIX + encode.answer(snapshot("what was said"))
    inner = [None, ["c_1", "r_1"], None, None, [["rc_1", None, None, None, None, None, None, None, [2]]]]
    body += encode.frame(["wrb.fr", None, json.dumps(inner)]) + encode.end(1)
    events, _ = read(body)
    assert said(events) == "what was said"


@pytest.mark.parametrize("sparse", [False, True])
def test_the_model_that_answers_is_read_from_both_forms(sparse):
    body = encode.PREFIX + encode.answer(snapshot("hi", model=("f1", "3.7 Flash"), sparse=sparse))
    reader = AnswerReader(max_frame=MAX_FRAME, prompt=PROMPT)
    list(reader.feed(body))
    assert (reader.model_id, reader.model_name) == ("f1", "3.7 Flash")


def test_only_a_frame_that_names_a_model_replaces_the_known_one():
    body = encode.PREFIX + encode.answer(snapshot("a", model=("f1", "3.7 Flash"))) + encode.answer(snapshot("ab"))
    reader = AnswerReader(max_frame=MAX_FRAME, prompt=PROMPT)
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
def test_the_model_is_read_from_recorded_answers(name, model):
    reader = AnswerReader(max_frame=MAX_FRAME, prompt=PROMPT)
    list(reader.feed((CAPTURES / f"{name}.txt").read_bytes()))
    assert (reader.model_id, reader.model_name) == model


TEXTS = st.text(st.sampled_from("ab`\\*\n\"'<é你😀 "), max_size=60)

ENDINGS = st.sampled_from(["", "```", "\\"])


def frame_of(text, **fields):
    return encode.answer(encode.Snapshot(cid="c_1", rid="r_1", rcid="rc_1", text=text, **fields))


def fed(*reads):
    """Return the text of an answer that comes in these reads, and its reader."""
    reader = AnswerReader(max_frame=1 << 23)
    events = [event for data in reads for event in reader.feed(data)] + list(reader.end())
    assert isinstance(events[-1], Finish)
    return "".join(event.text for event in events if isinstance(event, Text)), reader


def test_of_several_frames_in_one_chunk_only_the_last_is_decoded(monkeypatch):
    decoded = []
    loads = module.loads
    monkeypatch.setattr(module, "loads", lambda text: decoded.append(text) or loads(text))
    text = "words, `code` and 😀\n" * 50
    frames = [frame_of(text[:end]) for end in range(10, len(text), 10)]
    said, reader = fed(encode.PREFIX + b"".join(frames), frame_of(text, complete=True) + encode.end(1))
    assert said == text
    assert reader.frames == len(frames) + 2
    assert len(decoded) < 15 < len(frames)


def test_a_frame_with_more_than_text_is_decoded_even_if_another_follows():
    first, then, last = (
        frame_of("one"),
        frame_of("one two", model=("m1", "Flash")),
        frame_of("one two three", complete=True),
    )
    _, reader = fed(encode.PREFIX + first + then + frame_of("one two t") + last + encode.end(1))
    assert reader.model_id == "m1"


def test_an_error_after_frames_of_the_same_chunk_keeps_their_text():
    reader = AnswerReader(max_frame=1 << 23)
    events = reader.feed(
        encode.PREFIX + frame_of("one") + frame_of("one two") + frame_of("one two three") + b"no frame\n"
    )
    assert [next(events), next(events)] == [Text(text="one"), Text(text=" two three")]
    with pytest.raises(DriftDetected):
        next(events)


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.data())
def test_frames_give_the_same_events_in_one_chunk_or_several(text, data):
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=8)))
    frames = [frame_of(text[:end] + data.draw(ENDINGS)) for end in ends]
    frames.append(frame_of(text, complete=True) + encode.end(1))
    assert fed(encode.PREFIX, *frames)[0] == text
    assert fed(encode.PREFIX + b"".join(frames))[0] == text


def test_a_frame_with_only_more_text_decodes_only_the_new_text(monkeypatch):
    decoded = []
    loads = module.loads
    text = "words, `code` and 😀\n" * 50
    frames = [frame_of(text[:end]) for end in range(10, len(text), 10)]
    with monkeypatch.context() as patched:
        patched.setattr(module, "loads", lambda piece: decoded.append(len(piece)) or loads(piece))
        said, _ = fed(encode.PREFIX, *frames, frame_of(text, complete=True) + encode.end(1))
    assert said == text
    assert sum(decoded) < 3 * len(frames[0]) + 100 * len(frames)


def test_a_text_that_becomes_a_card_is_read_as_a_card():
    reader = AnswerReader(max_frame=1 << 23)
    first = wire.CARD_TEXT_PREFIXES[0]
    events = list(reader.feed(encode.PREFIX + frame_of(first[:1])))
    events += reader.feed(frame_of(first + "0"))
    events += reader.feed(frame_of("the card's words", card=True, complete=True) + encode.end(1))
    assert not any(first in event.text for event in events if isinstance(event, Text))


def test_growth_of_another_candidate_is_ignored():
    frames = [frame_of("one"), frame_of("one", others=("two",)), frame_of("one", others=("two and more",))]
    assert fed(encode.PREFIX, *frames, frame_of("one and all", complete=True) + encode.end(1))[0] == "one and all"


SMALL_FRAME = 1 << 20

WORDS = st.lists(
    st.sampled_from(
        [
            "one ",
            "two ",
            "`x` ",
            "\\* ",
            "😀",
            "你好",
            "é",
            '"',
            "\\",
            "\n",
            "```\n",
            "`",
            "<",
            "\t",
            "\ud83d",
            "\ude00",
        ]
    ),
    max_size=12,
).map("".join)

LONG = st.sampled_from(["plain words " * 30, "日月山川" * 60, "😀🚀" * 90, 'a "quoted" word\n' * 25, "\\" * 300])


def units(text):
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class UnsharedReader:
    """Decodes each whole frame with `json`, and remembers nothing: in place of SnapshotReader."""

    def __init__(self, frames):
        pass

    def behind(self, frame):
        return None

    def covers(self, frame, following):
        return False

    def read(self, frame, fresh):
        try:
            parts = json.loads(frame.whole().decode())
        except ValueError:
            raise drift("it is not JSON") from None
        if not isinstance(parts, list):
            raise drift("a frame is not an array")
        return Plain(parts)

    def learn(self, read, rcid, text):
        return False


class Plain:
    known = ""

    def __init__(self, parts):
        self.parts = parts


def read_with(reads, reader):
    """Return all that an answer in these reads said, with its end or error, and what is known of it."""
    events, error = [], None
    try:
        for data in reads:
            events.extend(reader.feed(data))
        events.extend(reader.end())
    except GatewayError as raised:
        error = type(raised)
    others = [event for event in events if not isinstance(event, Text | Thought | Waiting)]
    text, thoughts = ("".join(event.text for event in events if isinstance(event, kind)) for kind in (Text, Thought))
    return text, thoughts, others, error, reader.conversation, reader.model_id, reader.complete, reader.code


def read_both(body, cuts, monkeypatch):
    """Read an answer with and without short cuts; each frame is decoded, also where the next says all of it."""
    reads = [body[start:end] for start, end in pairwise([0, *sorted(cuts), len(body)])]
    with monkeypatch.context() as patched:
        patched.setattr(SnapshotReader, "covers", UnsharedReader.covers)
        found = read_with(reads, AnswerReader(max_frame=SMALL_FRAME, prompt=PROMPT))
        patched.setattr(module, "SnapshotReader", UnsharedReader)
        plain = read_with(reads, AnswerReader(max_frame=SMALL_FRAME, prompt=PROMPT))
    return found, plain


@st.composite
def written(draw, inner, *, lines):
    """Return a frame as some JSON encoder may write it, perhaps on several lines."""
    text = json.dumps(inner, ensure_ascii=draw(st.booleans()) or "\\ud" in json.dumps(inner), separators=(",", ":"))
    indent = draw(st.sampled_from([None, None, 1])) if lines else None
    separators = (",", ":") if indent is None else None
    body = json.dumps([["wrb.fr", None, text]], ensure_ascii=draw(st.booleans()), separators=separators, indent=indent)
    body = f"\n{body}\n"
    return f"{units(body)}{body}".encode()


@st.composite
def answers(draw):
    """Return an answer's frames: its text grows, is rewritten or shortened, and flickers; other fields change."""
    frames, text, fields = [], "", {}
    lines = draw(st.integers(0, 9)) == 0
    for _ in range(draw(st.integers(1, 7))):
        change = draw(st.sampled_from(["grow", "grow", "grow", "long", "shorten", "rewrite", "same", "field"]))
        match change:
            case "grow":
                text += draw(WORDS)
            case "long":
                text += draw(LONG)
            case "shorten":
                text = text[: draw(st.integers(0, len(text)))]
            case "rewrite":
                place = draw(st.integers(0, len(text)))
                text = text[:place] + draw(WORDS) + text[place + draw(st.integers(0, 3)) :]
            case "field":
                key = draw(st.sampled_from(["thoughts", "model", "others", "tool", "rcid"]))
                word = draw(st.sampled_from(["a", "b", "é"]))
                fields[key] = {"model": (word, word), "others": (word,)}.get(key, word)
            case _:
                pass
        flicker = draw(st.sampled_from(["", "", "```", "\\", "`"]))
        now = encode.Snapshot(**{"cid": "c_1", "rid": "r_1", "rcid": "rc_1", "text": text + flicker, **fields})
        frames.append(draw(written(inner_of(now), lines=lines)))
    if draw(st.booleans()):
        last = encode.Snapshot(**{"cid": "c_1", "rid": "r_1", "rcid": "rc_1", "text": text, "complete": True, **fields})
        frames.append(draw(written(inner_of(last), lines=lines)))
    return [*frames, encode.end(1)] if draw(st.booleans()) else frames


def inner_of(now):
    frame = encode.answer(now)
    return json.loads(json.loads(frame.partition(b"\n")[2])[0][2])


CUTS = st.lists(st.floats(0, 1), max_size=12)


def places(cuts, body):
    return [round(cut * len(body)) for cut in cuts]


@settings(max_examples=400, deadline=None)
@given(frames=answers(), cuts=CUTS)
def test_events_do_not_depend_on_the_shared_prefix(frames, cuts, monkeypatch_module):
    body = encode.PREFIX + b"".join(frames)
    found, plain = read_both(body, places(cuts, body), monkeypatch_module)
    assert found == plain


def whole_answer(text, thoughts, others, *known):
    """Return what an answer is as a whole: what it said, unless its end says otherwise."""
    rewritten = others[-1].rewritten if others and isinstance(others[-1], Finish) else None
    if rewritten is None:
        return text, thoughts, known
    return "".join(piece.text for piece in rewritten.pieces), rewritten.thoughts, known


@settings(max_examples=200, deadline=None)
@given(frames=answers(), cuts=CUTS)
def test_skipped_frames_do_not_change_the_answer(frames, cuts, monkeypatch_module):
    complete = encode.Snapshot(cid="c_1", rid="r_1", rcid="rc_1", text="The end.", complete=True)
    going_on = b"".join(frame for frame in frames if frame != encode.end(1))
    body = encode.PREFIX + going_on + encode.answer(complete) + encode.end(1)
    _, plain = read_both(body, (), monkeypatch_module)
    reads = [body[start:end] for start, end in pairwise([0, *sorted(places(cuts, body)), len(body)])]
    found = read_with(reads, AnswerReader(max_frame=SMALL_FRAME, prompt=PROMPT))
    assert whole_answer(*found) == whole_answer(*plain)


@settings(max_examples=200, deadline=None)
@given(frames=answers(), cuts=CUTS, place=st.floats(0, 1), byte=st.sampled_from([0xFF, 0x80, 0xC3, 0xED, 0x22, 0x0A]))
def test_a_wrong_byte_fails_with_and_without_a_shared_prefix(frames, cuts, place, byte, monkeypatch_module):
    body = bytearray(encode.PREFIX + b"".join(frames))
    body[min(round(place * len(body)), len(body) - 1)] = byte
    found, plain = read_both(bytes(body), places(cuts, body), monkeypatch_module)
    assert found == plain


@settings(max_examples=200, deadline=None)
@given(frames=answers(), cuts=CUTS, data=st.data())
def test_a_wrong_length_fails_with_and_without_a_shared_prefix(frames, cuts, data, monkeypatch_module):
    wrong = data.draw(st.integers(0, len(frames) - 1))
    length, newline, rest = frames[wrong].partition(b"\n")
    frames[wrong] = b"%d" % max(1, int(length) + data.draw(st.integers(-40, 40))) + newline + rest
    body = encode.PREFIX + b"".join(frames)
    found, plain = read_both(body, places(cuts, body), monkeypatch_module)
    assert found == plain


def test_every_chunking_and_pace_gives_the_same_events(monkeypatch):
    texts = [
        "A ",
        "A 😀",
        "A 😀你",
        'A 😀你 "b',
        'A 😀你 "b\n`',
        'A 😀你 "b\n`c` \ud83d',
        'A 😀你 "b\n`c` \ud83d\ude00.',
    ]
    frames = [encode.answer(encode.Snapshot(cid="c", rid="r", rcid="rc", text=text)) for text in texts]
    last = encode.Snapshot(cid="c", rid="r", rcid="rc", text=texts[-1], complete=True)
    body = encode.PREFIX + b"".join(frames) + encode.answer(last) + encode.end(1)
    whole, plain = read_both(body, (), monkeypatch)
    assert whole == plain
    assert isinstance(whole[2][-1], Finish)
    for size in range(1, len(body)):
        assert read_both(body, range(size, len(body), size), monkeypatch) == (whole, whole)
        assert read_both(body, [size], monkeypatch) == (whole, whole)


def cut_plainly(body):
    """Return the JSON of the frames in a body whose lengths are right."""
    text = body.decode("utf-16-le", "surrogatepass")
    frames = []
    position = text.index("\n\n") + 2
    while position < len(text):
        digits, _, rest = text[position:].partition("\n")
        wide = ("\n" + rest).encode("utf-16-le", "surrogatepass")[: 2 * int(digits)]
        frames.append(wide.decode("utf-16-le", "surrogatepass"))
        position += len(digits) + len(frames[-1])
    return frames


@settings(max_examples=200, deadline=None)
@given(frames=answers(), cuts=CUTS, data=st.data())
def test_frames_are_complete_for_any_shared_prefix_and_chunking(frames, cuts, data):
    body = encode.PREFIX + b"".join(frames)
    expected = [frame.encode() for frame in cut_plainly(body.decode().encode("utf-16-le"))]
    parser, found = FrameParser(SMALL_FRAME), []
    for start, end in pairwise([0, *sorted(places(cuts, body)), len(body)]):
        parser.push(body[start:end])
        while (frame := parser.find()) is not None:
            found.append(frame.whole())
            shared = bytes(parser.shared.data)
            assert frame.behind(parser.shared) == (found[-1][len(shared) :] if found[-1].startswith(shared) else None)
            if data.draw(st.booleans()):
                place = data.draw(st.integers(0, len(found[-1]) - 1))
                if found[-1].startswith(shared) and place > len(shared):
                    parser.shared.extend(found[-1][len(shared) : place])
                else:
                    parser.shared = Shared(found[-1][:place])
    assert not parser.broken
    assert not parser.in_frame
    assert found == expected


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patched:
        yield patched
