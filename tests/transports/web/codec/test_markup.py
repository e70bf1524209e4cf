import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transports.web.codec.markup import Cleaner, clean

LINK = "http://googleusercontent.com/image_generation_content/0"
FOLLOW = '<FollowUp label="Tell me > more" query="What\'s `next`?"/>'
GROUP = '<ElicitationsGroup message="Pick">\n  <Elicitation label="A" query="b"/>\n\n</ElicitationsGroup>'
WIDGET = "<GenerateWidget height='2>1'>{\"a\": [1]}</GenerateWidget>"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (f"Done.\n\n{FOLLOW}", "Done.\n\n"),
        (f"Done.{FOLLOW}\n{FOLLOW}", "Done.\n"),
        ("a <FollowUp/> b", "a  b"),
        ('a <FollowUp label="x">Label</FollowUp> b', "a  b"),
        ('a <FollowUp label="x">\nb', "a \nb"),
        (f"a {GROUP} b", "a  b"),
        (f"a {WIDGET} b", "a  b"),
        ("a <GenerateWidget src='x' /> b", "a  b"),
        ("a <GenerateWidget>x<GenerateWidget>y</GenerateWidget>z</GenerateWidget> b", "a  b"),
        ("a <GenerateWidget>x<GenerateWidget a='1'/>z</GenerateWidget> b", "a  b"),
        ("a <GenerateWidget>x\n\nnever closed", "a "),
        ('a <FollowUp label="never clo', "a "),
        ("a </GenerateWidget> b", "a  b"),
        (f"see {LINK} and https://googleusercontent.com/a/b/12. done", "see  and . done"),
        (f"{LINK}Here you are. {LINK}https://x.org {LINK}'s", "Here you are. https://x.org 's"),
        (f"看{LINK}图", "看图"),
        ("```python?code_reference&code_event_index=2\nx = 1\n```\n", "```python\nx = 1\n```\n"),
        ("```text?code_stdout&code_event_index=1\n1\n```", "```text\n1\n```"),
        ("- a\n  ```?code_stderr\n  1\n  ```\n", "- a\n  ```\n  1\n  ```\n"),
        ("~~~py?code_reference title=x\n1\n~~~", "~~~py title=x\n1\n~~~"),
        (f"a stray ` backtick\n\n{FOLLOW}", "a stray ` backtick\n\n"),
        (f"a stray ` backtick {LINK}", "a stray ` backtick "),
        (f"a stray ` and ``code {LINK}`` {LINK}", f"a stray ` and ``code {LINK}`` "),
        (f"an escaped \\` backtick {LINK} and \\`", "an escaped \\` backtick  and \\`"),
        (f"```\ncode\n```\n{FOLLOW}", "```\ncode\n```\n"),
        (f"> ```\n> code\n> ```\n{FOLLOW}", "> ```\n> code\n> ```\n"),
        (f"```inline``` at a line's start {LINK}", "```inline``` at a line's start "),
        (f"words\n    {FOLLOW}", "words\n    "),
        (f"- item\n\n    {LINK}\n", "- item\n\n    \n"),
        (f"1. item\n\n       more\n\n    {FOLLOW}", "1. item\n\n       more\n\n    "),
        (f"   {FOLLOW}", "   "),
    ],
)
def test_the_sites_markup_is_removed(text, cleaned):
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        f"```html\n{FOLLOW}\n{LINK}\n{GROUP}\n```\n",
        f"~~~\n{FOLLOW}\n```\n{LINK}\n~~~\n",
        f"````md\n```python?code_reference\n{FOLLOW}\n```\n{WIDGET}\n````\n",
        'Write `<FollowUp label="x"/>` there.',
        f"Write ``{LINK} ` `` there.",
        "Write `<FollowUp\nlabel='x'/>` there.",
        f"```js\n{FOLLOW}",
        "1. a\n   ```html\n   <GenerateWidget>\n   ```\n",
        f"Write:\n\n    {FOLLOW}\n    {LINK}\n\n    {WIDGET}\n\nthere.",
        f"- item\n\nwords\n\n\t{FOLLOW}",
        f"    {FOLLOW}",
        "a < b, <Follow>, <FollowUps/>, <followup/>, <FollowUp",
        "http://google.com/a/1 http://googleusercontent.com/ https://lh3.googleusercontent.com/a/1 h",
        "http://googleusercontent.com/a/1/b http://googleusercontent.com/a/1_b http://googleusercontent.com/1",
        f"http://googleusercontent.com/{'a' * 300}/1",
        "What is ?code_reference in ```a?code_reference b``` text",
        "\\`\\` `` ` ``` ~~ ~~~",
    ],
)
def test_text_that_resembles_markup_is_kept(text):
    assert clean(text) == text


PIECES = st.lists(
    st.sampled_from(
        [
            FOLLOW,
            GROUP,
            WIDGET,
            LINK,
            "<FollowUp>",
            "<GenerateWidget>",
            "</GenerateWidget>",
            "<GenerateWidget",
            '="',
            "'",
            "/>",
            "`",
            "``",
            "```",
            "```py?code_reference&x=1\n",
            "?code_stdout",
            "~~~",
            "\n",
            "\n\n",
            "\n```\n",
            "  ",
            "\n\n    ",
            "\t",
            "- ",
            "> ",
            "\\",
            "a",
            " b ",
            "<",
            "http",
            "你",
            "😀",
            " " * 199,
            "x" * 260,
        ]
    ),
    max_size=14,
).map("".join)


@settings(max_examples=500, deadline=None)
@given(PIECES, st.data())
def test_any_chunking_gives_the_same_cleaned_text(text, data):
    cleaner = Cleaner()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    out = "".join(cleaner.push(text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True))
    assert out + cleaner.flush() == clean(text)
    assert not cleaner.holding


@settings(max_examples=300, deadline=None)
@given(PIECES)
def test_single_characters_give_the_same_cleaned_text(text):
    cleaner = Cleaner()
    assert "".join(map(cleaner.push, text)) + cleaner.flush() == clean(text)


@settings(max_examples=500, deadline=None)
@given(PIECES)
def test_indexes_map_to_the_text_without_markup(text):
    cleaner = Cleaner()
    out = cleaner.push(text) + cleaner.flush()
    kept = [index for index in range(len(text)) if cleaner.map_index(index + 1) > cleaner.map_index(index)]
    assert "".join(text[index] for index in kept) == out
    assert [cleaner.map_index(index) for index in kept] == list(range(len(out)))


@given(st.text(st.characters(exclude_characters="<`~"), max_size=100).filter(lambda text: "googleuser" not in text))
def test_text_without_markup_is_unchanged_and_hardly_delayed(text):
    cleaner = Cleaner()
    assert len(cleaner.push(text)) >= len(text.rstrip("\\")) - len("https://googleusercontent.com")
    assert clean(text) == text
