import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import Citation, Text
from transports.web.codec.candidate import Cited, SourceLink
from transports.web.codec.text import Prose, TextDelta, link_to

TEXTS = st.text(st.sampled_from("ab `\\*_\n#😀é[]"), max_size=120) | st.text(
    st.characters(exclude_categories=["Cs"]),
    max_size=120,
)

FLICKERS = st.sampled_from(["", "```", "\n```", "`", "\\", "\\*", "\n\n```\n", "\\_"])


@given(TEXTS, st.data())
def test_any_growth_and_flicker_gives_the_last_snapshot(text, data):
    delta = TextDelta()
    said = ""
    for end in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12))):
        said += delta.push(text[:end] + data.draw(FLICKERS))
        assert text.startswith(said)
    assert said + delta.flush(text) == text


@given(st.text(st.sampled_from("ab `\\*\n"), min_size=40, max_size=400))
def test_all_text_but_the_end_is_returned_at_once(text):
    delta = TextDelta()
    assert len(delta.push(text)) >= len(text.rstrip("ab*")) - 400
    assert len(delta.push(text)) == 0


def test_plain_text_is_returned_at_once():
    delta = TextDelta()
    assert delta.push("plain words") == "plain words"
    assert delta.push("plain words and more") == " and more"


def test_returned_text_is_never_taken_back():
    delta = TextDelta()
    assert delta.push("one two three") == "one two three"
    assert delta.push("one TWO") == ""
    assert not delta.extended_by("one TWO")
    assert delta.push("one two three four") == " four"


@given(TEXTS, TEXTS)
def test_the_common_prefix_with_the_returned_text_is_counted(said, snapshot):
    delta = TextDelta()
    delta.flush(said)
    common = delta.common(snapshot)
    assert said[:common] == snapshot[:common]
    assert said[common : common + 1] != snapshot[common : common + 1] or common in (len(said), len(snapshot))


def test_half_a_surrogate_pair_waits_for_the_other_half():
    delta = TextDelta()
    assert delta.push("a\ud83d") == "a"
    assert delta.push("a😀") == "😀"
    assert delta.flush("a😀\ud83d") == "\ud83d"


ONE = SourceLink(url="https://a.example/1", title="One")

TWO = SourceLink(url="https://b.example/2?q=(x)", title="Two")

GROUPS = (
    Cited(marker=" [cite: 1]", sources=(ONE,)),
    Cited(marker=" [cite: 1, 2]", sources=(ONE, TWO)),
    Cited(marker="[7]", sources=(TWO,)),
)

LINKS = {
    "[cite: 1]": "[[1]](https://a.example/1)",
    "[cite: 1, 2]": "[[1]](https://a.example/1) [[2]](https://b.example/2?q=%28x%29)",
    "[7]": "[[7]](https://b.example/2?q=%28x%29)",
}

PIECES = st.sampled_from(
    [*LINKS, "[cite: 9]", "[cite", "[cite:", "[", "]", "a", " ", "\n", "😀", "[x]", "[cite: " + "1" * 300]
)


def replaced(text):
    return re.sub("|".join(map(re.escape, LINKS)), lambda found: LINKS[found.group()], text)


def said(events):
    return "".join(event.text for event in events if isinstance(event, Text))


def check_citations(events):
    text = said(events)
    for event in events:
        if isinstance(event, Citation):
            assert text[event.start : event.end].endswith(f"]({link_to(event.url)})")
            assert text[event.start] == "["


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES).map("".join), st.data())
def test_any_chunking_of_text_with_markers_gives_its_links(text, data):
    known_at = data.draw(st.integers(0, 8))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    prose = Prose()
    prose.learn(GROUPS[2:])
    events = []
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True)):
        if number == known_at:
            prose.learn(GROUPS)
        events += prose.push(text[start:end])
        assert replaced(text).startswith(said(events)) or known_at > number
    prose.learn(GROUPS)
    events += [*prose.push(""), *prose.flush()]
    assert said(events) == replaced(text)
    assert len([event for event in events if isinstance(event, Citation)]) == replaced(text).count("](")
    check_citations(events)


def test_only_an_unknown_marker_waits_for_its_sources():
    prose = Prose()
    assert said(prose.push("A fact [cite: 1, 2] and")) == "A fact "
    assert prose.push(" more") == []
    assert prose.holding
    prose.learn(GROUPS)
    assert said(prose.push("")) == LINKS["[cite: 1, 2]"] + " and more"
    assert not prose.holding


def test_an_unknown_marker_is_kept_at_the_end():
    prose = Prose()
    text = "A fact [cite: 5] and [cite: 6"
    assert said([*prose.push(text), *prose.flush()]) == text


def test_text_without_markers_is_not_held_back():
    prose = Prose()
    for text in ("a [link](https://x) ", "[", "x]", " [ ] [cite 1] "):
        events = prose.push(text)
    assert said(events).endswith("[cite 1] ")
    assert not prose.holding


def test_verbatim_text_follows_the_text_that_waited():
    prose = Prose()
    prose.learn(GROUPS)
    events = [*prose.push("see [cite"), *prose.verbatim("[cite: 1]"), *prose.push("[cite: 1]")]
    assert said(events) == "see [cite[cite: 1]" + LINKS["[cite: 1]"]
    check_citations(events)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "/path", ""])
def test_only_web_urls_become_links(url):
    prose = Prose()
    prose.learn([Cited(marker="[cite: 1]", sources=(SourceLink(url=url),))])
    events = prose.push("x [cite: 1] y")
    assert events == [Text(text="x "), Text(text="[1]"), Text(text=" y")]


def test_a_url_cannot_break_out_of_its_link():
    assert link_to('https://x/a b)(c<d>\\\n"e') == "https://x/a%20b%29%28c%3Cd%3E%5C%22e"


def test_waiting_text_is_not_scanned_again():
    prose = Prose()
    prose.push("[cite: 9]")
    pieces = ["word " * 10] * 2000
    assert not any(map(prose.push, pieces))
    assert said(prose.flush()) == "[cite: 9]" + "".join(pieces)
