"""Tools and structured output with the official `openai` SDK, against a gateway over the simulated site."""

import json

import openai
import pytest
from pydantic import BaseModel

MODEL = "gemini-3-pro"
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": CITY}},
    {"type": "function", "function": {"name": "ping"}},
]
CALL = '<call name="get_weather">{"city": "Zürich \\"ZH\\"", "days": 2}</call>'
PING = '<call name="ping">{}</call>'
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def user(text):
    return {"role": "user", "content": text}


def ask(client, *messages, model=MODEL, **fields):
    """Return the streamed and the whole answer, as lists of one choice each; the streamed one put together."""
    whole = client.chat.completions.create(model=model, messages=list(messages), **fields).choices[0]
    with client.chat.completions.stream(model=model, messages=list(messages), **fields) as stream:
        streamed = stream.get_final_completion().choices[0]
    return whole, streamed


def calls_of(choice):
    return [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]


@pytest.mark.parametrize("model", [MODEL, "gemini-2.5-flash-free"])
def test_calls_come_without_words(client, model):
    for choice in ask(client, user(CALL + PING), model=model, tools=TOOLS):
        assert calls_of(choice) == [("get_weather", {"city": 'Zürich "ZH"', "days": 2}), ("ping", {})]
        assert (choice.finish_reason, choice.message.content or None) == ("tool_calls", None)
        assert len({call.id for call in choice.message.tool_calls}) == 2


def test_the_chunks_of_a_call_have_the_form_that_clients_join(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=[user(CALL + PING)], tools=TOOLS, stream=True))
    assert {chunk.choices[0].delta.content for chunk in chunks} == {None}
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    heads = [delta for delta in deltas if delta.id]
    assert [(head.index, head.type, head.function.name, head.function.arguments) for head in heads] == [
        (0, "function", "get_weather", ""),
        (1, "function", "ping", ""),
    ]
    assert all(delta.function.name is None and delta.type is None for delta in deltas if not delta.id)
    assert sum(delta.index == 0 for delta in deltas) > 2
    assert "tool_call_" not in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_the_results_go_back_and_the_next_answer_has_them(client):
    messages = [user(CALL + PING)]
    first, _ = ask(client, *messages, tools=TOOLS)
    messages.append(first.message.model_dump(exclude_none=True))
    contents = ['{"sky": "`blue`"}', [{"type": "text", "text": "PONG"}, PICTURE]]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": content}
        for call, content in zip(first.message.tool_calls, contents, strict=True)
    ]
    for choice in ask(client, *messages, *reversed(results), tools=TOOLS):
        assert choice.finish_reason == "stop"
        assert '{"sky": "`blue`"}' in choice.message.content
        assert "PONG" in choice.message.content


def test_words_stream_as_if_no_tools_were_offered(client):
    many = [
        {"type": "function", "function": {"name": f"tool_{n}", "description": "{`\n" * 20, "parameters": CITY}}
        for n in range(28)
    ]
    text = "Words\n```python\nprint()\n```\nand `tool_call_` words"
    for choice in ask(client, user(f"<echo>{text}</echo>"), tools=many):
        assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == (text, None, "stop")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "get_weather"),
        ({"type": "function", "function": {"name": "ping"}}, "ping"),
    ],
)
def test_a_required_call_is_made(client, choice, expected):
    for answer in ask(client, user("hello"), tools=TOOLS, tool_choice=choice):
        assert [name for name, _ in calls_of(answer)] == [expected]


def test_with_the_choice_none_the_model_answers_in_words(client):
    for choice in ask(client, user("<echo>words</echo>"), tools=TOOLS, tool_choice="none"):
        assert (choice.message.content, choice.message.tool_calls) == ("words", None)


def test_without_parallel_calls_there_is_one(client):
    for choice in ask(client, user(CALL + PING), tools=TOOLS, parallel_tool_calls=False):
        assert [name for name, _ in calls_of(choice)] == ["get_weather"]


def test_a_malformed_call_is_repaired(client):
    for choice in ask(client, user(CALL + "<malformed-call/>"), tools=TOOLS):
        assert [name for name, _ in calls_of(choice)] == ["get_weather"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_does_not_fit_is_an_error(client, stream):
    wrong = user('<call name="get_weather">{"city": 5}</call>')
    with pytest.raises(openai.APIError, match="'city' does not fit") as failed:
        list(client.chat.completions.create(model=MODEL, messages=[wrong], tools=TOOLS, stream=stream))
    assert failed.value.code == "model_output_invalid"


def test_an_unknown_tool_is_answered_in_words(client):
    for choice in ask(client, user('<call name="nothing">{}</call>'), tools=TOOLS):
        assert "nothing" in choice.message.content
        assert choice.message.tool_calls is None


def test_the_older_form_of_tools_is_answered_in_its_form(client):
    functions = [tool["function"] for tool in TOOLS]
    answer = client.chat.completions.create(model=MODEL, messages=[user(CALL)], functions=functions).choices[0]
    assert (answer.finish_reason, answer.message.function_call.name) == ("function_call", "get_weather")
    chunks = client.chat.completions.create(model=MODEL, messages=[user(CALL)], functions=functions, stream=True)
    deltas = [chunk.choices[0].delta.function_call for chunk in chunks if chunk.choices[0].delta.function_call]
    assert deltas[0].name == "get_weather"
    assert json.loads("".join(delta.arguments or "" for delta in deltas))["days"] == 2


class Count(BaseModel):
    n: int
    text: str


HARD = 'a "quote", a ```fence``` and { } \\ ü'


@pytest.mark.parametrize("tag", ["", "<badjson/>"])
def test_structured_output_is_parsed_by_the_sdk(client, tag):
    told = f"<json>{json.dumps({'n': 1, 'text': HARD})}</json>{tag}"
    parsed = client.chat.completions.parse(model=MODEL, messages=[user(told)], response_format=Count)
    assert parsed.choices[0].message.parsed == Count(n=1, text=HARD)
    with client.chat.completions.stream(model=MODEL, messages=[user(told)], response_format=Count) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Count(n=1, text=HARD)


def test_any_object_is_bare_json(client):
    for choice in ask(client, user('<json>{"a": [1, {}]}</json>'), response_format={"type": "json_object"}):
        assert json.loads(choice.message.content) == {"a": [1, {}]}
        assert choice.message.content.startswith("{")


@pytest.mark.parametrize("stream", [False, True])
def test_json_that_does_not_fit_is_an_error(client, stream):
    form = {"type": "json_schema", "json_schema": {"name": "Count", "schema": Count.model_json_schema()}}
    wrong = user('<json>{"n": "one", "text": ""}</json>')
    with pytest.raises(openai.APIError, match="'n' does not fit"):
        list(client.chat.completions.create(model=MODEL, messages=[wrong], response_format=form, stream=stream))


@pytest.mark.parametrize("refusal", ['<sim refuse="safety"/> Sing.', "<echo>I can't help with that.</echo>"])
def test_a_model_that_declines_twice_refuses(client, refusal):
    parsed = client.chat.completions.parse(model=MODEL, messages=[user(refusal)], response_format=Count)
    assert (parsed.choices[0].message.content, parsed.choices[0].message.parsed) == (None, None)
    assert "can't help" in parsed.choices[0].message.refusal
    with client.chat.completions.stream(model=MODEL, messages=[user(refusal)], response_format=Count) as stream:
        assert "can't help" in stream.get_final_completion().choices[0].message.refusal


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("words", ["<json>[1]</json>", "<json>5</json>", '<echo>{"n": 1</echo>', "<echo>[1]</echo>"])
def test_json_of_another_kind_does_not_count_as_a_refusal(client, words, stream):
    with pytest.raises(openai.APIError) as failed:
        asked = {"messages": [user(words)], "response_format": {"type": "json_object"}}
        list(client.chat.completions.create(model=MODEL, stream=stream, **asked))
    assert failed.value.code == "model_output_invalid"


def test_tools_and_structured_output_together(client):
    form = {"type": "json_schema", "json_schema": {"name": "Count", "schema": Count.model_json_schema()}}
    for choice in ask(client, user(CALL + '<json>{"n": 1, "text": ""}</json>'), tools=TOOLS, response_format=form):
        assert [name for name, _ in calls_of(choice)] == ["get_weather"]
    for choice in ask(client, user('<json>{"n": 1, "text": ""}</json>'), tools=TOOLS, response_format=form):
        assert json.loads(choice.message.content) == {"n": 1, "text": ""}


def test_a_conversation_with_tools_continues_at_the_site(start_gateway):
    gateway = start_gateway()
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        messages = [user(CALL)]
        first = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
        call = first.choices[0].message.tool_calls[0]
        called = {"id": call.id, "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        called["function"]["arguments"] = json.dumps(json.loads(call.function.arguments), ensure_ascii=True, indent=1)
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": call.id, "content": "SUNNY"},
        ]
        second = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
        assert "SUNNY" in second.choices[0].message.content
        assert second.usage.prompt_tokens > first.usage.prompt_tokens
        assert second.usage.prompt_tokens_details.cached_tokens > first.usage.prompt_tokens / 2


def test_a_conversation_with_structured_output_continues_at_the_site(client):
    messages = [user(f'<json>{{"n": 1, "text": "one"}}</json> {"and a long text " * 100}')]
    first = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Count)
    messages += [first.choices[0].message.model_dump(include={"role", "content"})]
    messages += [user('<json>{"n": 2, "text": "two"}</json>')]
    second = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Count)
    assert second.choices[0].message.parsed == Count(n=2, text="two")
    assert second.usage.prompt_tokens > first.usage.prompt_tokens
    assert second.usage.prompt_tokens_details.cached_tokens > first.usage.prompt_tokens / 2


def test_after_a_repaired_call_the_results_are_answered(client):
    messages = [user(CALL + "<malformed-call/>")]
    first, _ = ask(client, *messages, tools=TOOLS)
    result = {"role": "tool", "tool_call_id": first.message.tool_calls[0].id, "content": "SUNNY"}
    for choice in ask(client, *messages, first.message.model_dump(exclude_none=True), result, tools=TOOLS):
        assert "SUNNY" in choice.message.content
