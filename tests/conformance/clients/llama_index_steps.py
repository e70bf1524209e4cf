"""Runs LlamaIndex's `OpenAILike`, by text completions (its default) and as a chat model."""

import json

import openai
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
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


def get_weather(city: str) -> str:
    """Tell the weather."""
    return weather(city)


TOOL = FunctionTool.from_defaults(get_weather)


def model(**fields):
    fields = {"model": MODEL, "api_base": BASE_URL, "api_key": KEY, "max_retries": 0, **fields}
    return OpenAILike(**{"is_chat_model": True, "is_function_calling_model": True, **fields})


def loop(prompt, **fields):
    """Call the tools that the model asks for; return their number and the answer after them."""
    first = ChatMessage(role="user", content=prompt)
    answer = model().chat_with_tools([TOOL], chat_history=[first], **fields)
    calls = model().get_tool_calls_from_response(answer)
    results = [
        ChatMessage(role="tool", content=weather(**call.tool_kwargs), additional_kwargs={"tool_call_id": call.tool_id})
        for call in calls
    ]
    history = [first, answer.message, *results]
    return len(calls), model().chat_with_tools([TOOL], chat_history=history, **fields).message.content


def step_completion():
    equal(model(is_chat_model=False).complete(ECHO).text, TEXT)
    equal("".join(part.delta for part in model(is_chat_model=False).stream_complete(ECHO)), TEXT)


def step_chat():
    equal(model().chat([ChatMessage(role="user", content=ECHO)]).message.content, TEXT)


def step_stream():
    parts = model().stream_chat([ChatMessage(role="user", content=ECHO)])
    equal("".join(part.delta for part in parts), TEXT)


def step_tool_loop():
    count, text = loop(ONE_CALL)
    equal(count, 1)
    has(text, weather("Zürich"))


def step_parallel_tools():
    count, text = loop(TWO_CALLS, allow_parallel_tool_calls=True)
    equal(count, 2)
    has(text, weather("Zürich"), weather("Genève"))


def step_streamed_calls():
    message = ChatMessage(role="user", content=ONE_CALL)
    *_, last = model().stream_chat_with_tools([TOOL], chat_history=[message])
    calls = model().get_tool_calls_from_response(last)
    equal([call.tool_kwargs for call in calls], [{"city": "Zürich"}])


def step_structured():
    asked = model(should_use_structured_outputs=True).as_structured_llm(Person)
    equal(asked.chat([ChatMessage(role="user", content=PERSON_TAG)]).raw, Person(**PERSON))
    asked = model().as_structured_llm(Person)
    prompt = f'<call name="Person">{json.dumps(PERSON)}</call>'
    equal(asked.chat([ChatMessage(role="user", content=prompt)]).raw, Person(**PERSON))


def step_image():
    blocks = [TextBlock(text="What is it?"), ImageBlock(url=PIXEL_URL)]
    has(model().chat([ChatMessage(role="user", blocks=blocks)]).message.content, "image/png")


def step_errors():
    message = [ChatMessage(role="user", content=ECHO)]
    refused(openai.AuthenticationError, lambda: model(api_key="sk-wrong-0123456789").chat(message))
    refused(openai.NotFoundError, lambda: model(model="gpt-9").chat(message))


run_steps(globals())
