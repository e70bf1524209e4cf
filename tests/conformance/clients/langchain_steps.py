"""Runs LangChain's `ChatOpenAI`, by chat completions and by Responses."""

import json

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
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


class Person(BaseModel):
    name: str
    ages: list[int]


@tool
def get_weather(city: str) -> str:
    """Tell the weather."""
    return weather(city)


def model(**fields):
    return ChatOpenAI(**{"base_url": BASE_URL, "api_key": KEY, "model": MODEL, "max_retries": 0, **fields})


def loop(chat, prompt):
    """Call the tools that the model asks for; return their number and the answer after them."""
    chat = chat.bind_tools([get_weather])
    messages = [HumanMessage(prompt)]
    answer = chat.invoke(messages)
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls]
    return len(results), chat.invoke([*messages, answer, *results]).text


def step_chat():
    answer = model().invoke(ECHO)
    equal(answer.text, TEXT)
    assert answer.usage_metadata["output_tokens"] > 0


def step_stream():
    chunks = list(model(stream_usage=True).stream(ECHO))
    equal("".join(chunk.text for chunk in chunks), TEXT)
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) > 0


def step_tool_loop():
    count, text = loop(model(), ONE_CALL)
    equal(count, 1)
    has(text, weather("Zürich"))


def step_parallel_tools():
    count, text = loop(model(), TWO_CALLS)
    equal(count, 2)
    has(text, weather("Zürich"), weather("Genève"))


def step_streamed_calls():
    chat, whole = model().bind_tools([get_weather]), None
    for chunk in chat.stream(TWO_CALLS):
        whole = chunk if whole is None else whole + chunk
    equal([call["args"] for call in whole.tool_calls], [{"city": "Zürich"}, {"city": "Genève"}])


def step_structured():
    for method in ("json_schema", "function_calling", "json_mode"):
        prompt = PERSON_TAG
        if method == "function_calling":
            prompt = f'<call name="Person">{json.dumps(PERSON)}</call>'
        found = model().with_structured_output(Person, method=method).invoke(prompt)
        equal(found, Person(**PERSON))


def step_image():
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]
    has(model().invoke([HumanMessage(parts)]).text, "image/png")


def step_responses():
    chat = model(use_responses_api=True)
    equal(chat.invoke(ECHO).text, TEXT)
    equal("".join(chunk.text for chunk in chat.stream(ECHO)), TEXT)
    count, text = loop(chat, TWO_CALLS)
    equal(count, 2)
    has(text, weather("Zürich"), weather("Genève"))
    equal(chat.with_structured_output(Person).invoke(PERSON_TAG), Person(**PERSON))


def step_errors():
    refused(openai.AuthenticationError, lambda: model(api_key="sk-wrong-0123456789").invoke(ECHO))
    refused(openai.NotFoundError, lambda: model(model="gpt-9").invoke(ECHO))
    refused(openai.BadRequestError, lambda: model(max_tokens=-1).invoke(ECHO))


run_steps(globals())
