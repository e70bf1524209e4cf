from hypothesis import given
from hypothesis import strategies as st

from transports.web.codec.delta import TextDelta

TEXTS = st.text(st.sampled_from("ab `\\*_\n#😀é[]"), max_size=120) | st.text(
    st.characters(exclude_categories=["Cs"]),
    max_size=120,
)
FLICKERS = st.sampled_from(["", "```", "\n```", "`", "\\", "\\*", "\n\n```\n", "\\_"])


@given(TEXTS, st.data())
def test_any_growth_with_any_flicker_adds_up_to_the_last_snapshot(text, data):
    delta = TextDelta()
    said = ""
    for end in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12))):
        said += delta.push(text[:end] + data.draw(FLICKERS))
        assert text.startswith(said)
    assert said + delta.flush(text) == text


@given(st.text(st.sampled_from("ab `\\*\n"), min_size=40, max_size=400))
def test_all_but_the_end_is_said_at_once(text):
    delta = TextDelta()
    assert len(delta.push(text)) >= len(text.rstrip("ab*")) - 400
    assert len(delta.push(text)) == 0


def test_plain_text_is_not_held_back():
    delta = TextDelta()
    assert delta.push("plain words") == "plain words"
    assert delta.push("plain words and more") == " and more"


def test_what_was_said_is_never_taken_back():
    delta = TextDelta()
    assert delta.push("one two three") == "one two three"
    assert delta.push("one TWO") == ""
    assert not delta.extended_by("one TWO")
    assert delta.push("one two three four") == " four"


@given(TEXTS, TEXTS)
def test_what_a_snapshot_has_in_common_with_what_was_said_is_counted(said, snapshot):
    delta = TextDelta()
    delta.flush(said)
    common = delta.common(snapshot)
    assert said[:common] == snapshot[:common]
    assert said[common : common + 1] != snapshot[common : common + 1] or common in (len(said), len(snapshot))


def test_half_a_surrogate_pair_waits_for_the_other():
    delta = TextDelta()
    assert delta.push("a\ud83d") == "a"
    assert delta.push("a😀") == "😀"
    assert delta.flush("a😀\ud83d") == "\ud83d"
