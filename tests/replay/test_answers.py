"""Answers that no capture holds, of the kinds that captures show: other texts, orders, cuts, codes and markup."""

import gzip
import re
from dataclasses import dataclass

import pytest

from tests.replay import frames
from tests.replay.site import Answer, Scene

CHINESE = "从前有一只狐狸住在山里。它每天都去河边喝水、看见自己的影子。" * 5
EMOJI = "👩‍👩‍👧‍👦 family, 🇨🇭 flag, \U0001d518\U0001d52b, e\u0301 and \U0001f9ff end 😀"
LONG = "A sentence of an answer that goes on and on, number {}. "
LONG = "".join(LONG.format(number) for number in range(2000))
QUOTES = 'He said: "C:\\\\path\\n" and {"json": [1, 2]}, <b>&amp;</b>\n\n\ttab'
FIVE = ("c_5555555555555555", "r_5555555555555555")


@dataclass(frozen=True)
class Row:
    """An answer of the site, and the text that a client sees."""

    name: str
    body: bytes
    text: str
    streamed: tuple[str, ...] = ()
    """Texts that a stream may begin with, if a later frame replaces them."""


def rows_of_texts():
    for name, text in (("chinese", CHINESE), ("emoji", EMOJI), ("long", LONG), ("quotes", QUOTES)):
        half, third = text[: len(text) // 2], text[: len(text) // 3]
        yield Row(f"{name} in snapshots", frames.answer(third, half, text, cid=FIVE[0], rid=FIVE[1]), text)
        escaped = [frames.frame(*one, escaped=True) for one in frames.text_frames(third, half, text)]
        yield Row(f"{name} escaped", frames.body(*escaped, frames.END), text)


def rows_of_lengths():
    for name, text in (("chinese", CHINESE), ("emoji", EMOJI)):
        body = frames.answer(text[:20], text).decode()
        for by in (-7, -1, 1, 40):
            wrong = re.sub(r"(?m)^\d+$", lambda found, by=by: str(int(found[0]) + by), body)
            yield Row(f"{name}, lengths wrong by {by}", wrong.encode(), text)


def rows_of_ends():
    done = frames.text_frames("It is", "It is so.")
    model = ("56fdd199312815e2", "3.7 Flash")
    for code in (1013, 1037, 1053, 1060, 1095, 1096, 1097, 1100, 1155, 1157, 4242):
        body = frames.body(*done, [frames.title()], [frames.error(code)], frames.BOOKKEEPING, frames.END)
        yield Row(f"code {code} behind an answer", body, "It is so.")
    yield Row("code in the answer's own frame", frames.body(done[0], [*done[1], frames.error(1096)]), "It is so.")
    yield Row("code behind, no end", frames.body(*done, [frames.error(1096)]), "It is so.")
    yield Row("code in front of the title", frames.body(*done, [frames.error(1096)], [frames.title()]), "It is so.")
    yield Row("er behind an answer", frames.body(*done, [frames.failed_with(500)], frames.END), "It is so.")
    yield Row("no end", frames.body(*done), "It is so.")
    yield Row("state only, no end", frames.body(*done, frames.STATE_ONLY), "It is so.")
    yield Row("state first", frames.body(frames.STATE_ONLY, *done, frames.END), "It is so.")
    yield Row("ids and title", frames.body([frames.ids()], *done, [frames.title()], frames.END), "It is so.")
    dense = frames.text_frames("It is", "It is so.", model=model)
    yield Row("who answers, dense", frames.body(*dense, frames.END), "It is so.")
    sparse = frames.text_frames("It is", "It is so.", model=model, dense=False)
    yield Row("who answers, sparse", frames.body(*sparse, frames.END), "It is so.")
    waiting = [[frames.queued(4), ["di", 7]], [frames.queued(13)], [frames.queued(5)]]
    yield Row("queued", frames.body(*waiting, *done, frames.END), "It is so.")
    yield Row("one frame for all", frames.body([part for one in [*done, frames.END] for part in one]), "It is so.")
    card = frames.candidate("http://googleusercontent.com/card_content/0", f22=["The text of a card."])
    yield Row("card", frames.body([frames.snapshot(card)], frames.END), "The text of a card.")
    two = [[frames.snapshot(frames.candidate("It is"))], [frames.snapshot(frames.candidate("It is so."))], frames.END]
    yield Row("complete, and goes on", frames.body(*two), "It is so.")
    null = [[frames.snapshot(frames.candidate(None, done=False))], *done, frames.END]
    yield Row("no text at first", frames.body(*null), "It is so.")
    gone = [*done, [frames.snapshot(frames.candidate(None))], frames.END]
    yield Row("no text at last", frames.body(*gone), "It is so.")
    renamed = [done[0], [frames.snapshot(frames.candidate("It is so.", rcid="rc_00000000000000bb"))], frames.END]
    yield Row("another id of the candidate", frames.body(*renamed), "It is so.")
    thoughts = [
        [frames.snapshot(frames.candidate("It is", done=False, f37=[["First I think this, and then that."]]))],
        [frames.snapshot(frames.candidate("It is so.", f37=[["I think otherwise."]]))],
    ]
    yield Row("thoughts that are rewritten", frames.body(*thoughts, frames.END), "It is so.")
    other = frames.candidate("Another draft.", rcid="rc_00000000000000bb")
    two = [[frames.snapshot(frames.candidate("The first draft."), other)], frames.END]
    yield Row("two candidates", frames.body(*two), "The first draft.")


SYDNEY = "The capital of Australia is Sydney, which is a city on the east coast of the continent of that name."
CANBERRA = "The capital of Australia is Canberra."


def rows_of_rewrites():
    for name, before, after in (
        ("rewritten", SYDNEY, CANBERRA),
        ("shortened", SYDNEY, SYDNEY[:30]),
        ("another text", SYDNEY, "I cannot say."),
        ("chinese", CHINESE, CHINESE[:20] + "完全不同的结尾。"),
        ("emoji", EMOJI, "👩‍👩‍👧 family"),
        ("inside a character", "One 😀 two three four five six seven.", "One 😁 two three."),
    ):
        answer = frames.answer(before[: len(before) // 2], before, after)
        yield Row(f"{name}", answer, after, (before, after))
        coded = frames.body(*frames.text_frames(before, after), [frames.error(1096)])
        yield Row(f"{name}, code behind", coded, after, (before, after))
        back = frames.answer(before, after, before)
        yield Row(f"{name} and back", back, before, (before, after))


FOLLOW = '<FollowUp label="Tell me more" query="What else is there to say about foxes?"/>'
ELICIT = '<ElicitationsGroup message="Which?">\n<Elicitation label="A" query="a"/>\n</ElicitationsGroup>'
WIDGET = '<GenerateWidget height="400px">{"widgetSpec": {"prompt": "a chart"}}</GenerateWidget>'


def rows_of_markup():
    for name, markup in (("FollowUp", FOLLOW), ("Elicitations", ELICIT), ("Widget", WIDGET)):
        text = f"A fox is a fox.\n\n{markup}"
        yield Row(f"{name} at the end", frames.answer(text), "A fox is a fox.")
        cuts = [text[:at] for at in range(15, len(text), 7)]
        yield Row(f"{name} cut by frames", frames.answer(*cuts, text), "A fox is a fox.")
        block = f"See:\n\n```html\n{markup}\n```\n\nThat is all."
        cuts = [block[:at] for at in range(5, len(block), 7)]
        yield Row(f"{name} in a code block", frames.answer(*cuts, block), block)
    for query in ("?code_reference&code_event_index=2", "?code_stdout&code_event_index=2", "?code_stderr"):
        text = f"Look:\n\n```python{query}\nprint(1)\n```\n\nDone."
        cuts = [text[:at] for at in range(5, len(text), 3)]
        yield Row(f"fence {query}", frames.answer(*cuts, text), text.replace(query, ""))
    for path in ("image_generation_content/0", "image_collection/image_retrieval/12345", "video_gen_chip/0"):
        text = f"Here:\nhttp://googleusercontent.com/{path}\n\n"
        cuts = [text[:at] for at in range(3, len(text), 4)]
        yield Row(f"placeholder {path}", frames.answer(*cuts, text), "Here:")
        yield Row(f"https placeholder {path}", frames.answer(text.replace("http:", "https:")), "Here:")


ROWS = [*rows_of_texts(), *rows_of_lengths(), *rows_of_ends(), *rows_of_rewrites(), *rows_of_markup()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_answer_is_decoded_to_its_text(stand, row):
    cut = "whole" if len(row.body) > 20_000 else ("chunks", "inside", "bytes")[len(row.body) % 3]
    stand.begin(Scene(generate=[Answer(row.body, cut=cut)]))
    seen = stand.chat()
    assert (seen.status, seen.reason) == (200, "stop")
    assert seen.text.strip() == row.text.strip()
    seen = stand.chat(stream=True)
    assert (seen.status, seen.reason) == (200, "stop")
    if row.streamed:
        assert any(text.startswith(seen.text.rstrip()) for text in row.streamed)
        assert len(seen.text.strip()) > 5
    else:
        assert seen.text.strip() == row.text.strip()
    assert len(stand.site.asked("generate")) == 2


URL = "https://example.org/fox#:~:text=a%20red%20fox"
SOURCE = ["https://www.gstatic.com/favicon.ico", URL, "Foxes"]
CITED = "Foxes are red. [cite: 1] They live in woods."


def cited_in_rich_content():
    group = [[" [cite: 1]"], [[None, None, None, [SOURCE]]]]
    return frames.candidate(CITED, rich={43: [group]}), CITED.replace(" [cite: 1]", "")


def cited_in_sources():
    text = "Foxes are red. They live in woods."
    claim = ["Foxes are red.", None, None, [[0, 14]]]
    group = [claim, None, [[URL, "Foxes", SOURCE[0], "Foxes are red", None, None, "example.org"]], 1]
    return frames.candidate(text, f2=[None, [group]]), text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("made", [cited_in_rich_content, cited_in_sources])
def test_citations_become_annotations(stand, made, stream):
    candidate, _ = made()
    body = frames.body([frames.snapshot(candidate)], frames.END)
    stand.begin(Scene(generate=[Answer(body)]))
    seen = stand.chat(stream=stream)
    assert seen.text.startswith("Foxes are red.")
    assert "[cite" not in seen.text
    if stream:
        found = [
            one
            for chunk in seen.whole
            for choice in chunk.choices
            for one in (choice.delta.model_extra or {}).get("annotations") or []
        ]
    else:
        found = [one.model_dump() for one in seen.whole.choices[0].message.annotations]
    [cited] = [one["url_citation"] for one in found]
    assert (cited["url"], cited["title"]) == ("https://example.org/fox", "Foxes")
    assert 0 <= cited["start_index"] <= cited["end_index"] <= len(seen.text)
    assert "Foxes" in seen.text[: cited["end_index"]]


BROKEN = frames.body(*[[frames.snapshot(frames.candidate("It is", done=False))]])


@pytest.mark.parametrize("behind", [b"", frames.frame(*frames.END).encode(), frames.frame(frames.error(1155)).encode()])
def test_an_answer_that_ends_before_it_is_complete_is_an_error(stand, behind):
    stand.begin(Scene(generate=[Answer(BROKEN + behind)]))
    assert stand.chat().status >= 500
    seen = stand.chat(stream=True)
    assert seen.reason is None


def test_an_answer_without_content_is_an_error(stand):
    stand.begin(Scene(generate=[Answer(frames.body(frames.BOOKKEEPING, frames.END))]))
    assert stand.chat().status >= 429


def test_a_connection_lost_after_a_complete_answer_is_ignored(stand):
    stand.begin(Scene(generate=[Answer(frames.answer("All of it.", end=None), broken=True)]))
    assert stand.chat().text == "All of it."
    assert stand.chat(stream=True).text == "All of it."


def test_a_compressed_answer_is_read(stand):
    headers = (("Content-Type", "application/json; charset=utf-8"), ("Content-Encoding", "gzip"))
    stand.begin(
        Scene(generate=[Answer(gzip.compress(frames.answer("It is", "It is so.")), headers=headers, cut="chunks")])
    )
    assert stand.chat().text == "It is so."
    assert stand.chat(stream=True).text == "It is so."


def test_cookies_that_an_answer_sets_are_sent_from_then_on(stand):
    cookie = ("Set-Cookie", "SIDCC=fresh; Domain=.google.com; Path=/")
    answer = Answer(frames.answer("It is so."), headers=(("Content-Type", "application/json"), cookie))
    stand.begin(Scene(generate=[answer]), cookies="; SIDCC=old")
    assert stand.chat().text == "It is so."
    assert stand.site.asked("generate")[0].cookies["SIDCC"] == "old"
    stand.poll(lambda: stand.chat() and stand.site.asked("generate")[-1].cookies["SIDCC"] == "fresh")


@pytest.mark.parametrize("parts", [[frames.ids()], [frames.title()], [frames.queued()]], ids=["ids", "title", "queued"])
def test_a_code_without_a_candidate_is_a_refusal(stand, parts):
    refused = Answer(frames.body(parts, [frames.error(1096)], frames.END))
    stand.begin(Scene(generate=[refused, refused, Answer(frames.answer("It is so."))]), accounts=2)
    assert stand.chat(stream=True).text == "It is so."
    first, again, other = [call.account for call in stand.site.asked("generate")]
    assert first == again != other


def test_frames_written_here_have_the_lengths_of_the_sites_own():
    real = frames.error(1096)
    assert frames.frame(real).startswith("122\n")
    assert frames.frame(*frames.END).startswith("25\n")


HALF = "\ud83d"


def halves():
    """Return answers in which half of a surrogate pair stands in a text, an id or an address."""
    film = frames.candidate("A text.", rich=frames.film(f"https://contribution.usercontent.google.com/{HALF}"))
    group = [["[cite: 1]"], [[None, None, None, [["https://a.example/f.ico", f"https://a.example/{HALF}", HALF]]]]]
    return {
        "text": frames.snapshot(frames.candidate(f"A text.{HALF}"), more={25: "kept"}),
        "conversation": frames.snapshot(frames.candidate("A text."), cid=f"c_{HALF}", more={25: "kept"}),
        "turn": frames.snapshot(frames.candidate("A text."), rid=f"r_{HALF}", more={25: "kept"}),
        "candidate": frames.snapshot(frames.candidate("A text.", rcid=f"rc_{HALF}"), more={25: "kept"}),
        "context": frames.snapshot(frames.candidate("A text."), more={25: HALF}),
        "source": frames.snapshot(frames.candidate("A text.[cite: 1]", rich={43: [group]})),
        "picture": frames.snapshot(frames.candidate("A text.", rich=frames.images(f"https://lh3.google.com/{HALF}"))),
        "film": frames.snapshot(film),
    }


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", halves())
def test_half_of_a_surrogate_pair_breaks_no_answer(stand, name, stream):
    part = halves()[name]
    stand.begin(Scene(generate=[Answer(frames.body(frames.frame(part, escaped=True), frames.END))]))
    seen = stand.chat(stream=stream)
    assert (seen.status, seen.reason) == (200, "stop")
    assert seen.text.startswith("A text.")
