"""Answers that the site rewrites, marks up or was recorded with, from their bytes to their events."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import Citation, Finish, Media, Thought, Unsupported, estimate_tokens
from tests.transports.web.codec.test_answer import CAPTURES, FLICKERS, MAX_FRAME, read, said, snapshot
from transports.simulator import encode
from transports.web.codec.answer import AnswerReader
from transports.web.codec.codes import ImageRefused, TokenRefused
from transports.web.codec.events import MediaRefs
from transports.web.codec.markup import clean

CANBERRA = (
    "The capital of Australia is Canberra, in the Australian Capital Territory,"
    " known for its parliament house and lake."
)
PENDING = "正在生成视频，这可能需要几分钟时间，请稍后回来查看完成状态。\n\n"  # noqa: RUF001 -- as captured


def captured(name, **teller):
    reader = AnswerReader(max_frame=MAX_FRAME, refs=MediaRefs(**teller))
    body = (CAPTURES / f"{name}.txt").read_bytes()
    for position in range(0, len(body), 7):
        yield from reader.feed(body[position : position + 7])
    yield from reader.end()


def whole(events):
    """Return all that a whole answer says."""
    last = events[-1]
    return said(events if last.rewritten is None else last.rewritten.pieces)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sg-answer-then-1096", "probe ok"),
        ("sg-answer-tail37-no-e", "probe ok"),
        ("sg-queued", "probe ok"),
        ("sg-rewrite", CANBERRA),
        ("sg-image", "Here you are.\n\n\n"),
        ("sg-video-pending", PENDING),
    ],
)
def test_a_captured_answer_is_read(name, text):
    events = list(captured(name))
    assert whole(events) == text
    assert events[-1].reason == "stop"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sg-rejected-1096", TokenRefused), ("sg-rejected-1003", ImageRefused), ("sg-video-1053", Unsupported)],
)
def test_a_captured_refusal_raises_its_error(name, kind):
    with pytest.raises(kind):
        list(captured(name))


def test_a_captured_picture_has_its_original_and_no_file_name():
    events = list(captured("sg-image", transport="web", account="one"))
    (media,) = [event for event in events if isinstance(event, Media)]
    assert media.ref.url == "https://lh3.googleusercontent.com/gg-dl/ABS2GS-token"
    assert json.loads(media.ref.original)[:3] == ["r_0000000000000003", "rc_0000000000000003", "c_0000000000000003"]
    assert media.alt == ""
    assert said(events, Thought) == "Creating your image\nLoading Nano Banana Pro...\n"


WORDS = st.lists(st.sampled_from(["one ", "two ", "`x` ", "\\* ", "😀 ", "你好 ", "\n\n", "```\n"]), max_size=30).map(
    "".join
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(WORDS, st.booleans(), FLICKERS), min_size=1, max_size=6), WORDS, st.data())
def test_a_rewritten_answer_streams_the_common_part_and_ends_with_the_last_snapshot(versions, last, data):
    body, text = encode.PREFIX, ""
    for words, goes_on, flicker in versions:
        text = text + words if goes_on else words
        body += encode.answer(snapshot(text + flicker, thoughts=words))
    if data.draw(st.booleans()):
        last = text[: data.draw(st.integers(0, len(text)))] + last
    body += encode.answer(snapshot(last, thoughts="last", complete=True)) + encode.end(1)
    events, _ = read(body, data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    finish = events[-1]
    assert (type(finish), finish.reason) == (Finish, "stop")
    assert whole(events) == last
    streamed = said(events)
    same = (streamed, said(events, Thought)) == (last, "last")
    assert same is (finish.rewritten is None)
    assert streamed == last or not last.startswith(streamed)
    assert finish.rewritten is None or finish.rewritten.thoughts == "last"


def test_a_change_of_withheld_text_is_not_a_rewrite():
    body = encode.PREFIX + encode.answer(snapshot("`" * 40)) + encode.answer(snapshot("Words.", complete=True))
    events, _ = read(body)
    assert said(events) == "Words."
    assert events[-1].rewritten is None


@settings(max_examples=100, deadline=None)
@given(WORDS, WORDS, WORDS)
def test_a_stream_stops_where_the_rewritten_text_differs(common, first, second):
    body = encode.PREFIX + encode.answer(snapshot(common + "!" * 40 + "x" + first)) * 2
    body += encode.answer(snapshot(common + "!" * 40 + "y" + second, complete=True))
    events, _ = read(body)
    assert said(events).startswith(common + "!" * 40)
    assert (common + "!" * 40 + "x" + first).startswith(said(events))
    assert whole(events) == common + "!" * 40 + "y" + second


def test_usage_counts_what_was_delivered():
    body = encode.PREFIX + encode.answer(snapshot("x" * 40)) + encode.answer(snapshot("y" * 80, complete=True))
    finish = read(body)[0][-1]
    assert finish.usage.output_tokens == estimate_tokens("x" * 40)
    assert finish.rewritten.usage.output_tokens == estimate_tokens("y" * 80)


FOLLOW = '<FollowUp label="Tell me `more`" query="What is > next?"/>'
MARKED = st.lists(
    st.sampled_from(
        ["a ", "`", "`x`", "\n", "\n```py?code_reference&code_event_index=1\n", "\n```\n", FOLLOW, "<b>", "😀", "\\",
         "http://googleusercontent.com/image_generation_content/0", "<GenerateWidget a='1'>x</GenerateWidget>", " "]
    ),
    max_size=20,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(MARKED, st.data())
def test_markup_split_between_frames_is_removed(text, data):
    body = encode.PREFIX
    for end in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10))):
        body += encode.answer(snapshot(text[:end] + data.draw(FLICKERS)))
    body += encode.answer(snapshot(text, complete=True)) + encode.end(1)
    events, _ = read(body)
    assert events[-1].rewritten is None
    assert said(events) == clean(text)
    assert "<FollowUp" not in clean(f"x\n\n{FOLLOW}")


SOURCE = ["https://page.example/1#:~:text=one", "One", "https://icon", "snippet", None, None, "Publisher"]


def cited(text, *claims, places=lambda text, index: len(text[:index].encode("utf-16-le", "surrogatepass")) // 2):
    """Return a complete answer whose claims stand at its `[2][1]`: each its words, found in the text."""
    groups = []
    for words in claims:
        start = text.index(words)
        ends = [places(text, start), places(text, start + len(words))]
        groups.append([[words, None, None, [ends]], None, [SOURCE], "id"])
    candidate = ["rc_1", [text], [None, groups], *[None] * 5, [2]]
    return encode.frame(["wrb.fr", None, json.dumps([None, ["c_1", "r_1"], None, None, [candidate]])])


def annotated(events):
    """Return what is annotated in the text, and with which address."""
    text = said(events)
    return [(text[one.start : one.end], one.url, one.title) for one in events if isinstance(one, Citation)]


@pytest.mark.parametrize("before", ["", "plain ", "你好 😀😀 ", f"a {FOLLOW} b ", "```py?code_reference&x\n1\n```\n"])
@pytest.mark.parametrize("counting", ["utf-16", "characters", "bytes"])
def test_a_claim_is_annotated_at_its_position_in_the_delivered_text(before, counting):
    text = f"{before}The **sky** is 😀 blue. Grass is green."
    claims = ("The **sky** is 😀 blue.", "Grass is green.")
    countings = {"characters": lambda _, index: index, "bytes": lambda text, index: len(text[:index].encode())}
    places = {"places": countings[counting]} if counting in countings else {}
    body = (
        encode.PREFIX + encode.answer(snapshot(text[: len(text) // 2])) + cited(text, *claims, **places) + encode.end(1)
    )
    events, _ = read(body)
    assert annotated(events) == [(claim, "https://page.example/1", "One") for claim in claims]
    assert said(events) == clean(text)


def test_a_claim_that_does_not_fit_the_text_is_left_out():
    wrong = cited("The sky is blue.", "sky", places=lambda _, index: index + 1)
    beyond = cited("The sky is blue.", "blue.", places=lambda _, index: index + 9)
    for body in (wrong, beyond):
        assert annotated(read(encode.PREFIX + body)[0]) == []


def test_claims_of_a_rewritten_text_are_annotated_where_it_was_delivered():
    first = "The sky is blue, and so is the sea as far as anyone can tell."
    last = "The sky is blue, and grass is green."
    events, _ = read(encode.PREFIX + encode.answer(snapshot(first)) + cited(last, "The sky is blue", "grass is green"))
    assert annotated(events) == [("The sky is blue", "https://page.example/1", "One")]
    found = annotated(events[-1].rewritten.pieces)
    assert [words for words, *_ in found] == ["The sky is blue", "grass is green"]


def test_claims_and_markers_are_annotated_together():
    text = "Known [cite: 1] and claimed."
    marker = [[" [cite: 1]"], [[None, None, None, [["https://icon", "https://page.example/2#:~:text=x", "Two"]]]]]
    group = [["Known [cite: 1] and claimed", None, None, [[0, 27]]], None, [SOURCE], "id"]
    rich = [None] * 43 + [[marker]]
    candidate = ["rc_1", [text], [None, [group]], *[None] * 5, [2], "en", None, None, rich]
    body = encode.frame(["wrb.fr", None, json.dumps([None, ["c_1", "r_1"], None, None, [candidate]])])
    events, _ = read(encode.PREFIX + body + encode.end(1))
    link = "[[1]](https://page.example/2)"
    assert said(events) == f"Known {link} and claimed."
    assert annotated(events) == [
        (link, "https://page.example/2", "Two"),
        (f"Known {link} and claimed", "https://page.example/1", "One"),
    ]


CLAIMS = st.sampled_from(["one 1.", "**two** 2.", "三 3.", "😀 4."])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(CLAIMS, MARKED), min_size=1, max_size=5), st.data())
def test_an_annotation_covers_its_claim_without_markup(parts, data):
    text = "".join(f"{claim}\n\n{marked}\n\n" for claim, marked in parts)
    claims = {claim for claim, _ in parts}
    cut = data.draw(st.integers(0, len(text)))
    events, _ = read(encode.PREFIX + encode.answer(snapshot(text[:cut])) + cited(text, *claims) + encode.end(1))
    assert {words for words, *_ in annotated(events)} <= claims
    assert said(events) == clean(text)
