import json

import pytest

from protocol.anthropic import read, wire
from protocol.anthropic.read import MessageReader
from protocol.anthropic.tool_fields import json_output, tool_choice
from protocol.http.conversation import Source
from protocol.model import BadRequest, Caller, Catalogue, Role

BILLING = "x-anthropic-billing-header: cc_version=2.1.36; cch=ab12c;"


def body(*messages, **fields):
    given = {"model": "m", "max_tokens": 5, "messages": list(messages) or [{"role": "user", "content": "hi"}], **fields}
    return wire.decode_create(json.dumps(given).encode())


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def text(said):
    return {"type": "text", "text": said}


def messages(*given, **fields):
    return MessageReader().messages(body(*given, **fields))


@pytest.mark.parametrize(
    ("system", "parts"),
    [
        ("Be brief.", ("Be brief.",)),
        ([text("a"), text(""), text("b")], ("a", "b")),
        ([text(BILLING), text("a")], ("a",)),
        (f"{BILLING}\nYou are an agent.", ("You are an agent.",)),
        (f"About {BILLING}", (f"About {BILLING}",)),
    ],
)
def test_a_system_prompt_is_without_the_line_that_differs_in_every_request(system, parts):
    first, _ = messages(system=system)
    assert (first.role, first.parts) == (Role.SYSTEM, parts)


@pytest.mark.parametrize("system", ["", [], [text(BILLING)], None])
def test_an_empty_system_prompt_is_none(system):
    assert [message.role for message in messages(system=system)] == [Role.USER]


def test_results_of_tools_come_before_the_words_of_their_message():
    results = [{"type": "tool_result", "tool_use_id": name, "content": name * 2} for name in "ab"]
    found = messages(user(results[0], text("words"), results[1]))
    assert [(one.role, one.tool_call_id, one.parts) for one in found] == [
        (Role.TOOL, "a", ("aa",)),
        (Role.TOOL, "b", ("bb",)),
        (Role.USER, None, ("words",)),
    ]


def test_a_result_may_be_empty_or_an_error():
    empty = {"type": "tool_result", "tool_use_id": "a"}
    assert [one.parts for one in messages(user(empty))] == [("",)]
    assert [one.parts for one in messages(user({**empty, "is_error": True}))] == [("The tool failed:", "")]


def test_the_texts_around_thoughts_are_one_text():
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"ü": [1]}}
    (answer,) = messages({"role": "assistant", "content": [thought, text("one "), hidden, text("two"), call]})
    assert answer.parts == ("one two",)
    assert [(one.id, one.name, one.arguments) for one in answer.tool_calls] == [("t", "f", '{"ü":[1]}')]


@pytest.mark.parametrize(
    "kind",
    [
        *(f"{name}_tool_result" for name in ("web_search", "web_fetch", "tool_search", "advisor", "mcp")),
        *(f"{name}code_execution_tool_result" for name in ("", "bash_", "text_editor_")),
        *("server_tool_use", "mcp_tool_use", "mcp_tool_listing", "fallback"),
    ],
)
def test_what_servers_of_anthropic_did_is_left_out(kind):
    block = {"type": kind, "id": "a", "tool_use_id": "a", "name": "n", "input": {}, "content": [{"type": "x"}]}
    (answer,) = messages({"role": "assistant", "content": [text("one "), block, text("two")]})
    assert (answer.parts, answer.tool_calls) == (("one two",), ())


def test_the_summary_of_a_longer_conversation_is_text():
    blocks = [{"type": "compaction", "content": "They met."}, {"type": "compaction", "content": None}]
    assert [one.parts for one in messages({"role": "assistant", "content": blocks})] == [("They met.",)]


def test_files_keep_their_names_and_forms():
    data = {"type": "base64", "media_type": "any", "data": "AAAA"}
    url = {"type": "url", "url": "https://x.example/a"}
    found = messages(
        user(
            {"type": "image", "source": data},
            {"type": "image", "source": url},
            {"type": "document", "source": data, "title": "A", "context": "about A"},
            {"type": "document", "source": url, "title": "b.pdf"},
        )
    )
    assert [part if isinstance(part, str) else part.source for part in found[0].parts] == [
        Source(form="image_data", text="AAAA"),
        Source(form="image", text="https://x.example/a"),
        "about A",
        Source(form="file", text="AAAA", name="A.pdf"),
        Source(form="link", text="https://x.example/a", name="b.pdf"),
    ]


def test_texts_that_a_client_gives_as_documents_are_part_of_the_prompt():
    plain = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "body"}}
    nested = {"type": "document", "source": {"type": "content", "content": [text("a"), text("b")]}}
    found = {"type": "search_result", "title": "S", "source": "https://s.example", "content": [text("c")]}
    assert messages(user(plain, nested, found))[0].parts == ("T\nbody", "a", "b", "S\nhttps://s.example\nc")


def test_a_text_that_was_taken_for_base64_is_refused():
    block = {"type": "document", "source": {"type": "text", "data": "file-0"}}
    with pytest.raises(BadRequest, match="is too long") as failed:
        MessageReader({"file-0"}).messages(body(user(block)))
    assert failed.value.param == "messages[0].content[0].source.data"


TOOL = {"name": "f", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20260318", "name": "web_search"}


@pytest.mark.parametrize(
    ("tools", "choice", "wanted"),
    [
        ([TOOL], None, ("auto", (), True)),
        ([TOOL], {"type": "any"}, ("required", (), True)),
        ([TOOL], {"type": "tool", "name": "f"}, ("required", ("f",), True)),
        ([TOOL], {"type": "auto", "disable_parallel_tool_use": True}, ("auto", (), False)),
        ([TOOL, SEARCH], {"type": "any"}, ("required", (), True)),
        ([TOOL, SEARCH], {"type": "tool", "name": "web_search"}, ("auto", (), True)),
        ([SEARCH], {"type": "tool", "name": "web_search"}, None),
        ([SEARCH], {"type": "any"}, None),
        ([TOOL], {"type": "none"}, None),
        ([], {"type": "auto"}, None),
        ([{"name": "f" * 128}], None, ("auto", (), True)),
    ],
)
def test_tools_are_chosen(tools, choice, wanted):
    found = tool_choice(body(tools=tools, tool_choice=choice))
    assert (found and (found.mode, found.allowed, found.parallel)) == wanted


def test_structured_output_is_read_in_both_forms():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    assert json_output(body()) is None
    for fields in ({"output_config": {"format": form}}, {"output_format": form}):
        assert json_output(body(**fields)).schema == {"type": "object"}
    with pytest.raises(BadRequest, match=r"output_config\.format\.schema"):
        json_output(body(output_config={"format": {**form, "schema": {"type": 5}}}))


def test_an_empty_stop_sequence_counts_as_none():
    bounds = read.bounds(body(stop_sequences=["", "a"]))
    assert (bounds.stops, bounds.tokens) == (("a",), 5)


@pytest.mark.parametrize(
    ("fields", "models", "wanted"),
    [
        ({}, ("*",), "gemini-3-pro"),
        ({"thinking": {"type": "adaptive"}}, ("*",), "gemini-3-pro"),
        ({"output_config": {"effort": "high"}}, ("*",), "gemini-3-pro"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, ("*",), "gemini-3-pro-extended"),
        ({"output_config": {"effort": "max"}}, ("*",), "gemini-3-pro-extended"),
        ({"output_config": {"effort": "max"}}, ("gemini-3-pro",), "gemini-3-pro"),
        ({"output_config": {"effort": "max"}, "model": "gemini-3-pro-imagen"}, ("*",), "gemini-3-pro-imagen"),
    ],
)
def test_much_thinking_chooses_extended_thinking(fields, models, wanted):
    given = body(**{"model": "gemini-3-pro", **fields})
    assert read.select(given, Catalogue.build(), Caller(id="me", models=models)).id == wanted


def test_fields_that_would_change_the_answer_are_named():
    given = body(temperature=1, top_p=0.5, top_k=0, mcp_servers=[], metadata={"user_id": "u"})
    assert read.IGNORED.sent(given) == ["top_p"]
