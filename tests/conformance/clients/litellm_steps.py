"""Runs litellm, by chat completions and by the other interfaces that it knows."""

import json

import litellm
from pydantic import BaseModel
from stepping import (
    BASE_URL,
    ECHO,
    KEY,
    MODEL,
    ONE_CALL,
    ORIGIN,
    PERSON,
    PERSON_TAG,
    PIXEL_URL,
    TEXT,
    TWO_CALLS,
    equal,
    has,
    refused,
    run_steps,
    weather,
)

litellm.suppress_debug_info = True
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tell the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
OPENAI = {"model": f"openai/{MODEL}", "api_base": BASE_URL}
ANTHROPIC = {"model": f"anthropic/{MODEL}", "api_base": f"{ORIGIN}/gemini_official", "max_tokens": 1000}
GEMINI = {"model": f"gemini/{MODEL}", "api_base": f"{ORIGIN}/gemini_official/v1beta"}
DOORS = (OPENAI, ANTHROPIC, GEMINI)


class Person(BaseModel):
    name: str
    ages: list[int]


def ask(prompt, *more, **fields):
    messages = [{"role": "user", "content": prompt}, *more]
    return litellm.completion(**{"api_key": KEY, "num_retries": 0, "messages": messages, **fields})


def loop(prompt, **fields):
    """Call the tools that the model asks for; return their number and the answer after them."""
    answer = ask(prompt, tools=TOOLS, **fields).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": weather(**json.loads(call.function.arguments))}
        for call in answer.tool_calls
    ]
    done = ask(prompt, answer.model_dump(), *results, tools=TOOLS, **fields)
    return len(results), done.choices[0].message.content


def streamed(prompt, **fields):
    chunks = list(ask(prompt, stream=True, **fields))
    return litellm.stream_chunk_builder(chunks).choices[0].message


def step_chat():
    for door in DOORS:
        answer = ask(ECHO, **door)
        equal(answer.choices[0].message.content, TEXT)
        assert answer.usage.completion_tokens > 0


def step_stream():
    for door in DOORS:
        equal(streamed(ECHO, **door).content, TEXT)


def step_tool_loop():
    for door in DOORS:
        count, text = loop(ONE_CALL, **door)
        equal(count, 1)
        has(text, weather("Zürich"))


def step_parallel_tools():
    for door in DOORS:
        count, text = loop(TWO_CALLS, **door)
        equal(count, 2)
        has(text, weather("Zürich"), weather("Genève"))


def step_streamed_calls():
    for door in DOORS:
        calls = streamed(TWO_CALLS, tools=TOOLS, **door).tool_calls
        equal([json.loads(call.function.arguments)["city"] for call in calls], ["Zürich", "Genève"])


def step_structured():
    for door in DOORS:
        prompt = PERSON_TAG
        if door is ANTHROPIC:  # litellm asks for a call
            prompt = f'<call name="json_tool_call">{json.dumps(PERSON)}</call>'
        equal(json.loads(ask(prompt, response_format=Person, **door).choices[0].message.content), PERSON)


def step_image():
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]
    for door in DOORS:
        has(ask(parts, **door).choices[0].message.content, "image/png")


def step_responses():
    answer = litellm.responses(input=ECHO, api_key=KEY, **OPENAI)
    equal(answer.output[-1].content[0].text, TEXT)


def step_picture():
    drawn = litellm.image_generation(prompt="A fox", model="openai/gpt-image-1", api_base=BASE_URL, api_key=KEY)
    assert drawn.data[0].b64_json


def step_errors():
    for door in DOORS:
        wrong = {**door, "api_key": "sk-wrong-0123456789"}
        refused(litellm.AuthenticationError, lambda wrong=wrong: ask(ECHO, **wrong), 401)
        missing = {**door, "model": door["model"].replace(MODEL, "gpt-9")}
        refused(litellm.NotFoundError, lambda missing=missing: ask(ECHO, **missing), 404)


run_steps(globals())
