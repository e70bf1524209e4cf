"""The grammar of calls on the site: whatever the text around them, and however the answer arrives in pieces."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import (
    CallArguments,
    CallMalformed,
    CallStarted,
    Finish,
    JsonOutput,
    Rewritten,
    Text,
    Tool,
    ToolChoice,
    Usage,
)
from tests.transports.conftest import request_for
from transports.web.turns.tool_calls import CallGrammar, digest

USAGE = Usage(input_tokens=1, output_tokens=1)
FINISH = Finish(reason="stop", usage=USAGE)
TOOLS = (
    Tool(name="get_weather", description="The weather.\nIn °C.", parameters={"type": "object", "title": "W"}),
    Tool(name="none"),
)


def grammar(model="gemini-3-pro", output=None, **choice):
    tools = ToolChoice(tools=TOOLS, **choice)
    request = request_for("x", model)
    return CallGrammar(msgspec.structs.replace(request, tools=tools, output=output, streamed=True))


def marker(of):
    return of.instructions().opening.partition("```")[2].partition(" ")[0]


async def each(events):
    for event in events:
        yield event


async def read(of, texts, finish=FINISH):
    """Return the words, the calls with their arguments, and the malformed calls of an answer."""
    words, calls, malformed = [], [], []
    async for event in of.events(each([*map(Text, texts), finish])):
        match event:
            case Text():
                words.append(event.text)
            case CallStarted():
                calls.append([event.name, ""])
            case CallArguments():
                calls[-1][1] += event.text
            case CallMalformed():
                malformed.append(event)
    return "".join(words), calls, malformed


def cut(text, cuts):
    ends = [0, *sorted({one % (len(text) + 1) for one in cuts}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(ends)]


CUTS = st.lists(st.integers(0, 2000), max_size=25)
ARGUMENTS = st.dictionaries(
    st.text(max_size=4),
    st.text(max_size=12)
    | st.sampled_from(["```", "\n```\n", "}", '"', "\\", "{[", "```json\n{}\n```"])
    | st.integers(),
    max_size=4,
)


@given(ARGUMENTS, ARGUMENTS, st.sampled_from(["", "Let me look.\n\n"]), st.booleans(), CUTS)
@settings(max_examples=150)
async def test_calls_are_read_in_any_pieces(first, second, before, indented, cuts):
    of = grammar()
    mark, indent = marker(of), 2 if indented else None
    blocks = [
        f"```{mark} {name}\n{json.dumps(arguments, ensure_ascii=False, indent=indent)}\n```"
        for name, arguments in (("get_weather", first), ("none", second))
    ]
    words, calls, malformed = await read(of, cut(before + "\n\n".join(blocks) + "\nThe result is 5.", cuts))
    assert words == before.rstrip()
    assert [(name, json.loads(text)) for name, text in calls] == [("get_weather", first), ("none", second)]
    assert malformed == []


TALK = st.lists(
    st.sampled_from(
        [
            "```tool_call_000000 get_weather\n{}\n```\n",
            "```tool_call_ab NAME\n",
            "tool_call_",
            "```json\n{}\n```",
            "\n",
            "    ",
            "`",
            "``",
            "```",
            "t",
            "tool",
            "a word ",
            '{"name": "get_weather"}',
            "é\u2028",
        ]
    ),
    max_size=12,
).map("".join)


@given(TALK, CUTS)
@settings(max_examples=200)
async def test_text_about_calls_is_text_and_comes_unchanged(text, cuts):
    assert await read(grammar(), cut(text, cuts)) == (text, [], [])


@given(TALK, st.sampled_from(["word", "a `b` c", "1. one", "| a | b |"]))
@settings(max_examples=100)
async def test_text_is_held_back_only_while_it_may_begin_a_call(text, line):
    of, seen = grammar(), []
    async for event in of.events(each([Text(text + "\n" + line), Text("!"), FINISH])):
        if isinstance(event, Text):
            seen.append(event.text)
    assert seen[0].endswith(line)


@pytest.mark.parametrize("line", ["-", "`", "> ", "```x ", "    ", "#*"])
async def test_a_long_line_of_marks_is_not_held_back(line):
    of, seen = grammar(), 0
    async for event in of.events(each([*[Text(line)] * 500, FINISH])):
        if isinstance(event, Text) and not seen:
            seen = len(event.text)
    assert 0 < seen < 80


@pytest.mark.parametrize(
    ("block", "name", "arguments"),
    [
        ('```{} get_weather\n{{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('````{} get_weather\n{{"a": 1}}\n````', "get_weather", '{"a": 1}'),
        ('  ``` {} get_weather\n\n{{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('{} get_weather\n{{"a": 1}}', "get_weather", '{"a": 1}'),
        ('```{} get_weather {{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('````{} get_weather (call call_ab)\n{{"a": 1}}\n````', "get_weather", '{"a": 1}'),
        ("```{} none\n```", "none", "{}"),
        ("```{} none", "none", "{}"),
        ('```{} get_weather\n{{"a": 1', "get_weather", '{"a": 1'),
        ('```json\n{} get_weather\n{{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('{} get_weather\n```json\n{{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('{} get_weather\n```\n{{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('```{} get_weather\n```json\n{{"a": 1}}\n```\n```', "get_weather", '{"a": 1}'),
        ('```{} get_weather\njson\n{{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('```{}: get_weather\r\n{{"a": 1}}\r\n```', "get_weather", '{"a": 1}'),
        ('```{} "get_weather":\n{{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('```{} get_weather({{"a": 1}})\n```', "get_weather", '{"a": 1}'),
        ('```{} default_api:get_weather\n{{"a": 1}}\n```', "get_weather", '{"a": 1}'),
        ('1. ```{} get_weather\n   {{"a": 1}}\n   ```', "get_weather", '{"a": 1}'),
        ('**{} get_weather**\n{{"a": 1}}', "get_weather", '{"a": 1}'),
        ('`{} get_weather`\n{{"a": 1}}', "get_weather", '{"a": 1}'),
        ('~~~{} get_weather\n{{"a": 1}}\n~~~', "get_weather", '{"a": 1}'),
        ("```{} none\n\n```\n{{1}}", "none", "{}"),
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
async def test_the_forms_in_which_models_write_a_call(block, name, arguments, escaped):
    of = grammar()
    mark = marker(of).replace("_", "\\_") if escaped else marker(of)
    text = block.format(mark).replace("get_weather", "get\\_weather" if escaped else "get_weather")
    for pieces in ([text], list(text)):
        assert await read(of, pieces) == ("", [[name, arguments]], [])


@given(
    st.sampled_from(["The marker is {}, {} get_weather", "{} is the marker.\nok", "{} get_weather is it", "a{} none"]),
    CUTS,
)
async def test_a_marker_within_a_sentence_is_text(sentence, cuts):
    of = grammar()
    text = sentence.replace("{}", marker(of))
    assert await read(of, cut(text, cuts)) == (text, [], [])


@pytest.mark.parametrize("body", ["city: Paris\n```", "[1]\n```", "x" * 3000, "(city='Paris')\n```"])
async def test_a_call_that_cannot_be_read_is_not_text(body):
    of = grammar()
    words, calls, malformed = await read(of, [f"```{marker(of)} get_weather\n{body}"])
    assert (words, calls, len(malformed)) == ("", [], 1)
    assert body.split("\n")[0] in malformed[0].text


@pytest.mark.parametrize("body", ['\n{"name": "none"}\n```', "\n```", ""])
async def test_a_call_without_a_name_cannot_be_read(body):
    of = grammar()
    _, calls, malformed = await read(of, [f"```{marker(of)}{body}"])
    assert (calls, len(malformed)) == ([], 1)


async def test_without_parallel_calls_the_first_one_counts():
    of = grammar(parallel=False)
    mark = marker(of)
    _, calls, _ = await read(of, [f"```{mark} none\n{{}}\n```\n```{mark} get_weather\n{{}}\n```"])
    assert calls == [["none", "{}"]]


async def test_the_marker_of_one_request_means_nothing_in_another():
    old, new = grammar(), grammar()
    text = f"```{marker(old)} none\n{{}}\n```"
    assert marker(old) != marker(new)
    assert await read(new, [text]) == (text, [], [])


@pytest.mark.parametrize("streamed", ["", "Let me "])
async def test_the_calls_of_a_rewritten_answer_count(streamed):
    of = grammar()
    final = Text(f"Let me see.\n```{marker(of)} none\n{{}}\n```")
    finish = Finish(reason="stop", usage=USAGE, rewritten=Rewritten(pieces=(final,), thoughts="", usage=USAGE))
    words, calls, _ = await read(of, [streamed], finish)
    assert calls == [["none", "{}"]]
    assert words == (streamed.rstrip() and streamed) or words == "Let me see."


async def test_of_a_rewritten_answer_that_is_not_streamed_only_the_final_form_counts():
    tools = ToolChoice(tools=TOOLS)
    of = CallGrammar(msgspec.structs.replace(request_for("x"), tools=tools, streamed=False))
    begun = ["I will look.\n", f"```{marker(of)} get_weather\n{{}}\n```"]
    for final, expected in ((f"```{marker(of)} none\n{{}}\n```", ("", [["none", "{}"]], [])), ("No.", ("No.", [], []))):
        whole = Rewritten(pieces=(Text(final),), thoughts="", usage=USAGE)
        finish = Finish(reason="stop", usage=USAGE, rewritten=whole)
        assert await read(of, begun, finish) == expected


def test_the_instructions_name_every_tool_once_and_not_their_titles():
    opening = grammar().instructions().opening
    assert opening.count("## get_weather\nThe weather.\nIn °C.\n") == 1
    assert opening.count("## none\n{}") == 1
    assert '"title"' not in opening
    assert grammar().instructions().closing == ""


def test_headings_in_a_description_stand_below_the_name_of_the_tool():
    about = "Runs it.\n\n## Resume\n### Again\n# Git\n#no heading"
    choice = ToolChoice(tools=(Tool(name="a", description=about, parameters={}),))
    opening = CallGrammar(msgspec.structs.replace(request_for("x"), tools=choice)).instructions().opening
    assert opening.endswith("## a\nRuns it.\n\n#### Resume\n##### Again\n### Git\n#no heading\n{}")


def test_a_member_named_title_stays_in_the_schema():
    schema = {"type": "object", "title": "T", "properties": {"title": {"type": "string", "title": "X"}}}
    choice = ToolChoice(tools=(Tool(name="a", parameters=schema),))
    opening = CallGrammar(msgspec.structs.replace(request_for("x"), tools=choice)).instructions().opening
    assert opening.endswith('{"type":"object","properties":{"title":{"type":"string"}}}')


def test_a_conversation_that_has_seen_the_tools_gets_the_new_marker_alone():
    of = grammar()
    of.shown = digest(ToolChoice(tools=TOOLS))
    instructions = of.instructions()
    assert instructions.opening == ""
    assert "get_weather" not in instructions.closing
    assert "```tool_call_" in instructions.closing
    assert of.seen == of.shown


def test_other_tools_are_listed_again():
    of = grammar()
    of.shown = digest(ToolChoice(tools=TOOLS[:1]))
    assert "## none" in of.instructions().opening


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"mode": "required"}, "must call a tool."),
        ({"mode": "required", "allowed": ("none",)}, "must call the tool none."),
        ({"allowed": ("none",)}, "Now call only: none."),
        ({"parallel": False}, "Call one tool at most."),
        ({}, "If no tool is needed"),
    ],
)
def test_the_instructions_contain_the_choice_of_the_client(choice, words):
    assert words in grammar(**choice).instructions().opening


def test_structured_output_is_described_last():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    closing = grammar(output=JsonOutput(schema=schema, name="Count")).instructions().closing
    assert closing.startswith("If you call no tool, answer with one JSON value")
    assert closing.endswith(json.dumps(schema, separators=(",", ":")))


@pytest.mark.parametrize("model", ["gemini-3-pro-imagen", "gemini-3-pro-canvas"])
def test_other_capabilities_than_chat_ignore_tools(model):
    of = grammar(model, output=JsonOutput())
    assert (of.instructions().opening, of.instructions().closing, of.seen) == ("", "", "")
