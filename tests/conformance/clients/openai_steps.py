"""Runs OpenAI's Python SDK: create, parse and the helpers for streams, by chat completions and by Responses."""

import json

import openai
from pydantic import BaseModel
from stepping import (
    BASE_URL,
    ECHO,
    KEY,
    MODEL,
    ONE_CALL,
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

CITIES = ["Zürich", "Genève"]


class Person(BaseModel):
    name: str
    ages: list[int]


class get_weather(BaseModel):  # noqa: N801 -- the tool has the name of the class
    """Tell the weather."""

    city: str


TOOLS = [openai.pydantic_function_tool(get_weather)]
FLAT_TOOLS = [{"type": "function", **TOOLS[0]["function"]}]


def client(key=KEY):
    return openai.OpenAI(base_url=BASE_URL, api_key=key, max_retries=0)


def user(content):
    return {"role": "user", "content": content}


def ask(prompt, *more, key=KEY, **fields):
    fields = {"model": MODEL, "messages": [user(prompt), *more], **fields}
    return client(key).chat.completions.create(**fields)


def results(calls):
    return [
        {"role": "tool", "tool_call_id": call.id, "content": weather(json.loads(call.function.arguments)["city"])}
        for call in calls
    ]


def streamed(prompt, **fields):
    """Return what the SDK's helper makes of a stream."""
    with client().chat.completions.stream(model=MODEL, messages=[user(prompt)], **fields) as stream:
        return stream.get_final_completion().choices[0]


def step_chat():
    answer = ask(ECHO)
    equal((answer.choices[0].message.content, answer.choices[0].finish_reason), (TEXT, "stop"))
    assert answer.usage.completion_tokens > 0


def step_stream():
    chunks = list(ask(ECHO, stream=True, stream_options={"include_usage": True}))
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), TEXT)
    assert chunks[-1].usage.completion_tokens > 0
    equal(streamed(ECHO).message.content, TEXT)


async def step_asynchronous():
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0) as asynchronous:
        stream = await asynchronous.chat.completions.create(model=MODEL, messages=[user(ECHO)], stream=True)
        equal("".join([chunk.choices[0].delta.content or "" async for chunk in stream]), TEXT)


def step_completion():
    equal(client().completions.create(model=MODEL, prompt=ECHO).choices[0].text, TEXT)
    stream = client().completions.create(model=MODEL, prompt=ECHO, stream=True)
    equal("".join(chunk.choices[0].text for chunk in stream), TEXT)


def step_tool_loop():
    answer = ask(ONE_CALL, tools=TOOLS, tool_choice="required").choices[0]
    equal(answer.finish_reason, "tool_calls")
    done = ask(ONE_CALL, answer.message, *results(answer.message.tool_calls), tools=TOOLS)
    has(done.choices[0].message.content, weather("Zürich"))


def step_parallel_tools():
    answer = ask(TWO_CALLS, tools=TOOLS).choices[0].message
    equal([json.loads(call.function.arguments)["city"] for call in answer.tool_calls], CITIES)
    done = ask(TWO_CALLS, answer, *results(answer.tool_calls), tools=TOOLS)
    has(done.choices[0].message.content, *map(weather, CITIES))
    equal(len(ask(TWO_CALLS, tools=TOOLS, parallel_tool_calls=False).choices[0].message.tool_calls), 1)


def step_streamed_calls():
    calls = streamed(TWO_CALLS, tools=TOOLS).message.tool_calls
    equal([call.function.parsed_arguments.city for call in calls], CITIES)


def step_structured():
    fields = {"model": MODEL, "messages": [user(PERSON_TAG)]}
    parsed = client().chat.completions.parse(response_format=Person, **fields).choices[0].message.parsed
    equal(parsed, Person(**PERSON))
    equal(streamed(PERSON_TAG, response_format=Person).message.parsed, Person(**PERSON))
    bare = ask(PERSON_TAG, response_format={"type": "json_object"}).choices[0].message.content
    equal(json.loads(bare), PERSON)


def step_image():
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]
    has(ask(parts).choices[0].message.content, "image/png")


def step_responses():
    answer = client().responses.create(model=MODEL, input=TWO_CALLS, tools=FLAT_TOOLS)
    outputs = [
        {"type": "function_call_output", "call_id": item.call_id, "output": weather(json.loads(item.arguments)["city"])}
        for item in answer.output
    ]
    done = client().responses.create(model=MODEL, input=outputs, previous_response_id=answer.id, tools=FLAT_TOOLS)
    has(done.output_text, *map(weather, CITIES))
    equal(client().responses.parse(model=MODEL, input=PERSON_TAG, text_format=Person).output_parsed, Person(**PERSON))
    with client().responses.stream(model=MODEL, input=ECHO) as stream:
        equal(stream.get_final_response().output_text, TEXT)


def step_models():
    names = [model.id for model in client().models.list()]
    equal(names[0], client().models.retrieve(names[0]).id)
    equal(ask(ECHO, model="gpt-4o").model, client().models.retrieve("gpt-4o").model_extra["alias_of"])


def step_errors():
    refused(openai.AuthenticationError, lambda: ask(ECHO, key="sk-wrong-0123456789"), 401)
    refused(openai.NotFoundError, lambda: ask(ECHO, model="gpt-9"), 404)
    has(refused(openai.BadRequestError, lambda: ask(ECHO, max_tokens=-1), 400), "max_tokens")
    has(refused(openai.NotFoundError, lambda: client().embeddings.create(model="x", input="y"), 404), "embedding")
    refused(openai.RateLimitError, lambda: ask('<sim error="1037"/>', model="gemini-3.5-flash-lite"), 429)


run_steps(globals())
