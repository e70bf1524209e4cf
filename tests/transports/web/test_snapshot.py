import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import DriftDetected, Finish, Text
from transports.simulator import emit
from transports.web import snapshot as module
from transports.web import wire
from transports.web.decode import AnswerReader

TEXTS = st.text(st.sampled_from("ab`\\*\n\"'<é你😀 "), max_size=60)
FLICKERS = st.sampled_from(["", "```", "\\"])


def frame_of(text, **fields):
    return emit.answer(emit.Snapshot(cid="c_1", rid="r_1", rcid="rc_1", text=text, **fields))


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
    said, reader = fed(emit.PREFIX + b"".join(frames), frame_of(text, complete=True) + emit.end(1))
    assert said == text
    assert reader.frames == len(frames) + 2
    assert len(decoded) < 15 < len(frames)


def test_a_frame_that_says_more_than_text_is_decoded_though_another_follows_at_once():
    first, then, last = (
        frame_of("one"),
        frame_of("one two", model=("m1", "Flash")),
        frame_of("one two three", complete=True),
    )
    _, reader = fed(emit.PREFIX + first + then + frame_of("one two t") + last + emit.end(1))
    assert reader.model_id == "m1"


def test_an_error_behind_frames_of_the_same_read_does_not_hide_their_text():
    reader = AnswerReader(max_frame=1 << 23, input_tokens=0)
    events = reader.feed(
        emit.PREFIX + frame_of("one") + frame_of("one two") + frame_of("one two three") + b"no frame\n"
    )
    assert [next(events), next(events)] == [Text(text="one"), Text(text=" two three")]
    with pytest.raises(DriftDetected):
        next(events)


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.data())
def test_frames_say_the_same_in_one_read_and_each_in_its_own(text, data):
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=1, max_size=8)))
    frames = [frame_of(text[:end] + data.draw(FLICKERS)) for end in ends]
    frames.append(frame_of(text, complete=True) + emit.end(1))
    assert fed(emit.PREFIX, *frames)[0] == text
    assert fed(emit.PREFIX + b"".join(frames))[0] == text


def test_a_frame_that_differs_in_its_text_alone_costs_what_is_new(monkeypatch):
    decoded = []
    loads = module.loads
    text = "words, `code` and 😀\n" * 50
    frames = [frame_of(text[:end]) for end in range(10, len(text), 10)]
    with monkeypatch.context() as patched:
        patched.setattr(module, "loads", lambda piece: decoded.append(len(piece)) or loads(piece))
        said, _ = fed(emit.PREFIX, *frames, frame_of(text, complete=True) + emit.end(1))
    assert said == text
    assert sum(decoded) < 3 * len(frames[0]) + 100 * len(frames)


def test_a_text_that_becomes_a_card_s_is_read_as_a_card():
    reader = AnswerReader(max_frame=1 << 23, input_tokens=0)
    first = wire.CARD_TEXT_PREFIXES[0]
    events = list(reader.feed(emit.PREFIX + frame_of(first[:1])))
    events += reader.feed(frame_of(first + "0"))
    events += reader.feed(frame_of("the card's words", card=True, complete=True) + emit.end(1))
    assert not any(first in event.text for event in events if isinstance(event, Text))


def test_another_candidate_s_growth_is_not_the_followed_one_s():
    frames = [frame_of("one"), frame_of("one", others=("two",)), frame_of("one", others=("two and more",))]
    assert fed(emit.PREFIX, *frames, frame_of("one and all", complete=True) + emit.end(1))[0] == "one and all"
