"""Answers that no capture holds, of the kinds that captures show: other texts, orders, cuts, codes and markup."""

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
    """An answer of the site, and what is seen of it."""

    name: str
    body: bytes
    text: str
    streamed: tuple[str, ...] = ()
    """What the streamed text may be a beginning of, where a later frame takes it back."""


def rows_of_texts():
    for name, text in (("chinese", CHINESE), ("emoji", EMOJI), ("long", LONG), ("quotes", QUOTES)):
        half, third = text[: len(text) // 2], text[: len(text) // 3]
        yield Row(f"{name} in snapshots", frames.answer(third, half, text, cid=FIVE[0], rid=FIVE[1]), text)
        escaped = [frames.frame(*one, escaped=True) for one in frames.text_frames(third, half, text)]
        yield Row(f"{name} escaped", frames.body(*escaped, frames.END), text)


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
    other = frames.candidate("Another draft.", rcid="rc_00000000000000bb")
    two = [[frames.snapshot(frames.candidate("The first draft."), other)], frames.END]
    yield Row("two candidates", frames.body(*two), "The first draft.")


ROWS = [*rows_of_texts(), *rows_of_ends()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_answer_is_seen_as_its_text(stand, row):
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


BROKEN = frames.body(*[[frames.snapshot(frames.candidate("It is", done=False))]])


@pytest.mark.parametrize("behind", [b"", frames.frame(*frames.END).encode(), frames.frame(frames.error(1155)).encode()])
def test_an_answer_that_ends_before_it_is_complete_is_an_error(stand, behind):
    stand.begin(Scene(generate=[Answer(BROKEN + behind)]))
    assert stand.chat().status >= 500
    seen = stand.chat(stream=True)
    assert seen.reason is None


def test_an_answer_of_bookkeeping_alone_is_no_answer(stand):
    stand.begin(Scene(generate=[Answer(frames.body(frames.BOOKKEEPING, frames.END))]))
    assert stand.chat().status >= 429


def test_a_connection_that_breaks_behind_a_complete_answer_does_no_harm(stand):
    stand.begin(Scene(generate=[Answer(frames.answer("All of it.", end=None), broken=True)]))
    assert stand.chat().text == "All of it."
    assert stand.chat(stream=True).text == "All of it."


def test_frames_written_here_have_the_lengths_of_the_sites_own():
    real = frames.error(1096)
    assert frames.frame(real).startswith("122\n")
    assert frames.frame(*frames.END).startswith("25\n")
