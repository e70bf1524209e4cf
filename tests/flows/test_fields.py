"""The fields of chat requests with the official `openai` SDK, against a gateway over the simulated site."""

import json
from collections import defaultdict

import openai
import pytest
from pydantic import BaseModel

MODEL = "gemini-3-pro"
TOOLS = [{"type": "function", "function": {"name": "ping", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def user(text):
    return [{"role": "user", "content": text}]


def joined(chunks):
    """Return the content, the calls and the finish reasons of each choice of a stream, and its usage."""
    contents, calls, reasons, usage = defaultdict(str), defaultdict(list), {}, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            contents[choice.index] += choice.delta.content or ""
            calls[choice.index] += [call.function.name for call in choice.delta.tool_calls or () if call.id]
            if choice.finish_reason:
                assert choice.index not in reasons
                reasons[choice.index] = choice.finish_reason
    return contents, calls, reasons, usage


def test_several_choices_come_whole_and_streamed(client):
    messages = user("<echo>words of each choice</echo>")
    one = client.chat.completions.create(model=MODEL, messages=messages)
    whole = client.chat.completions.create(model=MODEL, messages=messages, n=8)
    assert [choice.index for choice in whole.choices] == list(range(8))
    assert {choice.message.content for choice in whole.choices} == {"words of each choice"}
    assert whole.usage.completion_tokens == 8 * one.usage.completion_tokens
    chunks = client.chat.completions.create(
        model=MODEL, messages=messages, n=3, stream=True, stream_options={"include_usage": True}
    )
    contents, _, reasons, usage = joined(chunks)
    assert dict(contents) == dict.fromkeys(range(3), "words of each choice")
    assert reasons == dict.fromkeys(range(3), "stop")
    assert usage.completion_tokens == 3 * one.usage.completion_tokens


def test_several_choices_call_tools(client):
    messages = user('<call name="ping">{}</call>')
    whole = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, n=2)
    ids = [call.id for choice in whole.choices for call in choice.message.tool_calls]
    assert len(set(ids)) == 2
    chunks = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, n=2, stream=True)
    _, calls, reasons, _ = joined(chunks)
    assert calls == {0: ["ping"], 1: ["ping"]}
    assert set(reasons.values()) == {"tool_calls"}


class Count(BaseModel):
    n: int


def test_several_choices_are_parsed(client):
    told = f"<json>{json.dumps({'n': 5})}</json>"
    parsed = client.chat.completions.parse(model=MODEL, messages=user(told), response_format=Count, n=3)
    assert [choice.message.parsed for choice in parsed.choices] == [Count(n=5)] * 3


def test_pictures_come_in_several_choices(client):
    drawn = client.chat.completions.create(model="gemini-3-pro-imagen", messages=user("A fox"), n=2)
    assert all(choice.message.images for choice in drawn.choices)


def test_a_failed_choice_fails_the_request(client):
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="gemini-3.5-flash", messages=user('<sim error="1037"/>'), n=2)


def test_fields_without_effect_are_accepted_and_named(client):
    answer = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=[{"role": "system", "content": None}, *user("<echo>fine</echo>")],
        logprobs=True,
        top_logprobs=2,
        logit_bias={"50256": -100},
        temperature=0,
        top_p=1,
        stop="",
        modalities=["text", "image"],
        web_search_options={},
        reasoning_effort="low",
    )
    assert answer.parse().choices[0].message.content == "fine"
    assert answer.headers["warning"] == (
        '299 - "These fields have no effect here: logit_bias, logprobs, temperature, top_logprobs, reasoning_effort."'
    )


def test_an_answer_that_the_client_left_is_counted(client, gateway):
    text = "<echo>words of an answer</echo><sim stall-after='30' frames='40'/>".replace("'", '"')
    with client.chat.completions.create(model=MODEL, messages=user(text), stream=True) as stream:
        said = ""
        while "words" not in said:
            said += next(stream).choices[0].delta.content or ""
    line = json.loads(gateway.wait_for("client_closed_request"))
    assert line["input_tokens"] >= len(text) // 4
    assert line["output_tokens"] > 0


def test_a_high_effort_is_extended_thinking(client):
    answer = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user("<echo>fine</echo>"), reasoning_effort="high"
    )
    assert (answer.parse().model, answer.headers.get("warning")) == ("gemini-3-pro-extended", None)


def test_results_with_empty_ids_belong_to_the_calls_in_their_order(client):
    call = {"id": "", "type": "function", "function": {"name": "ping", "arguments": "{}"}}
    messages = [
        *user('<call name="ping">{}</call>'),
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "tool", "tool_call_id": "", "content": "ONE"},
        {"role": "tool", "tool_call_id": "", "content": "TWO"},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert answer.choices[0].message.content.index("ONE") < answer.choices[0].message.content.index("TWO")


def test_an_answer_that_cannot_be_repaired_is_not_asked_for_again(gateway):
    wrong = user('<call name="pong">{"n": "text"}</call>')
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": "pong", "parameters": schema}}]
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key) as client,
        pytest.raises(openai.InternalServerError) as failed,
    ):
        client.chat.completions.create(model=MODEL, messages=wrong, tools=tools)
    assert failed.value.code == "model_output_invalid"
    assert failed.value.response.headers["x-should-retry"] == "false"
    assert failed.value.response.request.headers["x-stainless-retry-count"] == "0"
