import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import DriftDetected, Finish, GatewayError, Text, Thought, Waiting
from transports.simulator import encode
from transports.web import wire
from transports.web.codec import decode
from transports.web.codec import incremental_json as module
from transports.web.codec.decode import AnswerReader
from transports.web.codec.frames import FrameParser, Shared
from transports.web.codec.incremental_json import SnapshotReader
from transports.web.errors import drift

TEXTS = st.text(st.sampled_from("ab`\\*\n\"'<é你😀 "), max_size=60)
FLICKERS = st.sampled_from(["", "```", "\\"])


def frame_of(text, **fields):
    return encode.answer(encode.Snapshot(cid="c_1", rid="r_1", rcid="rc_1", text=text, **fields))


def fed(*reads):
    """Return the text of an answer that comes in these reads, and its reader."""
    reader = AnswerReader(max_frame=1 << 23, input_tokens=0)
    events = [event for data in reads for event in reader.feed(data)] + list(reader.end())
    assert isinstance(events[-1], Finish)
    return "".join(event.text for event in events if isinstance(event, Text)), reader


def test_of_frames_that_come_in_one_read_the_last_is_decoded(monkeypatch):
    decoded = []
    loads = module.loads
    monkeypatch.setattr(module, "loads", lambda text: decoded.append(text) or loads(text))
    text = "words, `code` and 😀\n" * 50
    frames = [frame_of(text[:end]) for end in range(10, len(text), 10)]
    said, reader = fed(encode.PREFIX + b"".join(frames), frame_of(text, complete=True) + encode.end(1))
    assert said == text
    assert reader.frames == len(frames) + 2
    assert len(decoded) < 15 < len(frames)


def test_a_frame_that_says_more_than_text_is_decoded_though_another_follows_at_once():
    first, then, last = (
        frame_of("one"),
        frame_of("one two", model=("m1", "Flash")),
        frame_of("one two three", complete=True),
    )
    _, reader = fed(encode.PREFIX + first + then + frame_of("one two t") + last + encode.end(1))
    assert reader.model_id == "m1"


def test_an_error_behind_frames_of_the_same_read_does_not_hide_their_text():
    reader = AnswerReader(max_frame=1 << 23, input_tokens=0)
    events = reader.feed(
        encode.PREFIX + frame_of("one") + frame_of("one two") + frame_of("one two three") + b"no frame\n"
    )
    assert [next(events), next(events)] == [Text(text="one"), Text(text=" two three")]
    with pytest.raises(DriftDetected):
        next(events)


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.data())
def test_frames_say_the_same_in_one_read_and_each_in_its_own(text, data):
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=8)))
    frames = [frame_of(text[:end] + data.draw(FLICKERS)) for end in ends]
    frames.append(frame_of(text, complete=True) + encode.end(1))
    assert fed(encode.PREFIX, *frames)[0] == text
    assert fed(encode.PREFIX + b"".join(frames))[0] == text


def test_a_frame_that_differs_in_its_text_alone_costs_what_is_new(monkeypatch):
    decoded = []
    loads = module.loads
    text = "words, `code` and 😀\n" * 50
    frames = [frame_of(text[:end]) for end in range(10, len(text), 10)]
    with monkeypatch.context() as patched:
        patched.setattr(module, "loads", lambda piece: decoded.append(len(piece)) or loads(piece))
        said, _ = fed(encode.PREFIX, *frames, frame_of(text, complete=True) + encode.end(1))
    assert said == text
    assert sum(decoded) < 3 * len(frames[0]) + 100 * len(frames)


def test_a_text_that_becomes_a_card_s_is_read_as_a_card():
    reader = AnswerReader(max_frame=1 << 23, input_tokens=0)
    first = wire.CARD_TEXT_PREFIXES[0]
    events = list(reader.feed(encode.PREFIX + frame_of(first[:1])))
    events += reader.feed(frame_of(first + "0"))
    events += reader.feed(frame_of("the card's words", card=True, complete=True) + encode.end(1))
    assert not any(first in event.text for event in events if isinstance(event, Text))


def test_another_candidate_s_growth_is_not_the_followed_one_s():
    frames = [frame_of("one"), frame_of("one", others=("two",)), frame_of("one", others=("two and more",))]
    assert fed(encode.PREFIX, *frames, frame_of("one and all", complete=True) + encode.end(1))[0] == "one and all"


MAX_FRAME = 1 << 20
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


class PlainReader:
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


def read(reads, reader):
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
        patched.setattr(SnapshotReader, "covers", PlainReader.covers)
        found = read(reads, AnswerReader(max_frame=MAX_FRAME, input_tokens=3))
        patched.setattr(decode, "SnapshotReader", PlainReader)
        plain = read(reads, AnswerReader(max_frame=MAX_FRAME, input_tokens=3))
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
def test_what_an_answer_says_does_not_depend_on_what_its_frames_share(frames, cuts, monkeypatch_module):
    body = encode.PREFIX + b"".join(frames)
    found, plain = read_both(body, places(cuts, body), monkeypatch_module)
    assert found == plain


def whole(text, thoughts, others, *known):
    """Return what an answer is as a whole: what it said, unless its end says otherwise."""
    rewritten = others[-1].rewritten if others and isinstance(others[-1], Finish) else None
    if rewritten is None:
        return text, thoughts, known
    return "".join(piece.text for piece in rewritten.pieces), rewritten.thoughts, known


@settings(max_examples=200, deadline=None)
@given(frames=answers(), cuts=CUTS)
def test_a_whole_answer_is_the_same_where_frames_are_passed_over(frames, cuts, monkeypatch_module):
    complete = encode.Snapshot(cid="c_1", rid="r_1", rcid="rc_1", text="The end.", complete=True)
    going_on = b"".join(frame for frame in frames if frame != encode.end(1))
    body = encode.PREFIX + going_on + encode.answer(complete) + encode.end(1)
    _, plain = read_both(body, (), monkeypatch_module)
    reads = [body[start:end] for start, end in pairwise([0, *sorted(places(cuts, body)), len(body)])]
    found = read(reads, AnswerReader(max_frame=MAX_FRAME, input_tokens=3))
    assert whole(*found) == whole(*plain)


@settings(max_examples=200, deadline=None)
@given(frames=answers(), cuts=CUTS, place=st.floats(0, 1), byte=st.sampled_from([0xFF, 0x80, 0xC3, 0xED, 0x22, 0x0A]))
def test_a_byte_that_is_wrong_is_as_wrong_for_both(frames, cuts, place, byte, monkeypatch_module):
    body = bytearray(encode.PREFIX + b"".join(frames))
    body[min(round(place * len(body)), len(body) - 1)] = byte
    found, plain = read_both(bytes(body), places(cuts, body), monkeypatch_module)
    assert found == plain


@settings(max_examples=200, deadline=None)
@given(frames=answers(), cuts=CUTS, data=st.data())
def test_a_wrong_length_is_as_wrong_for_both(frames, cuts, data, monkeypatch_module):
    wrong = data.draw(st.integers(0, len(frames) - 1))
    length, newline, rest = frames[wrong].partition(b"\n")
    frames[wrong] = b"%d" % max(1, int(length) + data.draw(st.integers(-40, 40))) + newline + rest
    body = encode.PREFIX + b"".join(frames)
    found, plain = read_both(body, places(cuts, body), monkeypatch_module)
    assert found == plain


def test_every_cut_and_every_pace_of_an_answer_says_the_same(monkeypatch):
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
def test_frames_are_whole_whatever_is_shared_and_wherever_the_bytes_are_cut(frames, cuts, data):
    body = encode.PREFIX + b"".join(frames)
    expected = [frame.encode() for frame in cut_plainly(body.decode().encode("utf-16-le"))]
    parser, found = FrameParser(MAX_FRAME), []
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
    assert not parser.inside
    assert found == expected


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patched:
        yield patched
