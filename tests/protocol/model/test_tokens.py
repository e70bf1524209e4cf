"""Estimated tokens, compared with counts of Gemma 3's tokenizer: `texts.json` has the texts and their counts."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.model import (
    FilePart,
    JsonOutput,
    MediaKind,
    MediaPart,
    MediaRef,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Turn,
    estimate_tokens,
    prompt_tokens,
    tokens_of,
    weight_limit,
    weight_of,
    within_tokens,
)
from protocol.model.tokens import FILE_TOKENS
from tests.protocol.http.test_stream import REQUEST

TEXTS = json.loads((Path(__file__).parent / "texts.json").read_text())
DEVIATION = 0.1


@pytest.mark.parametrize("name", TEXTS)
def test_an_estimate_is_close_to_the_count_of_the_tokenizer(name):
    counted = TEXTS[name]["tokens"]
    assert abs(estimate_tokens(TEXTS[name]["text"]) - counted) <= DEVIATION * counted


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("hello", 1), ("1234", 5), ("0", 1), ("\ud800", 1)])
def test_the_tokens_of_a_short_text_are_rounded(text, tokens):
    assert estimate_tokens(text) == tokens


@given(st.lists(st.text(st.characters())))
def test_pieces_weigh_as_much_as_the_whole(pieces):
    assert sum(map(weight_of, pieces)) == weight_of("".join(pieces))


@given(st.text(st.characters()), st.integers(0, 9))
def test_the_longest_beginning_within_a_limit_is_found(text, tokens):
    limit = weight_limit(tokens)
    kept = within_tokens(text, limit)
    assert text.startswith(kept)
    assert tokens_of(weight_of(kept)) <= tokens
    assert bool(kept) == bool(text and tokens)
    assert kept == text or weight_of(text[: len(kept) + 1]) > limit


def tokens(*parts, calls=(), **fields):
    turn = Turn(role=Role.USER, parts=parts, tool_calls=calls)
    return prompt_tokens(msgspec.structs.replace(REQUEST, turns=(turn,), **fields))


def test_a_prompt_counts_texts_calls_files_tools_and_the_schema():
    words = TextPart(text="word " * 100)
    alone = tokens(words)
    assert alone == estimate_tokens(words.text)
    assert tokens(words, words) == estimate_tokens(words.text * 2)
    assert tokens(words, calls=(ToolCall(id="1", name="f", arguments=words.text),)) > 2 * alone - 1
    tool = Tool(name="f", description=words.text)
    assert tokens(words, tools=ToolChoice(tools=(tool,))) > 2 * alone
    assert tokens(words, output=JsonOutput(schema={"description": words.text})) > 2 * alone


@pytest.mark.parametrize("name", TEXTS)
def test_a_long_prompt_is_sampled(name):
    long = TEXTS[name]["text"] * 30
    assert abs(tokens(TextPart(text=long)) - estimate_tokens(long)) <= 0.05 * estimate_tokens(long)


def test_a_file_counts_by_its_kind():
    picture = FilePart(data=b"x" * 9999, mime="image/png", name="a.png")
    drawn = MediaPart(ref=MediaRef(transport="t", account="a", kind=MediaKind.IMAGE, url="https://x"))
    assert tokens(picture) == tokens(drawn) == FILE_TOKENS
    assert tokens(FilePart(data=b"x" * 401, mime="text/plain; charset=latin-1", name="a.txt")) == 101


def test_a_prompt_that_another_request_counts_has_no_tokens():
    assert tokens(TextPart(text="words"), counted=True) == 0
