"""Runs pydantic-ai's agents, by chat completions and by Responses."""

import base64
import json

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput, PromptedOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from stepping import (
    BASE_URL,
    ECHO,
    KEY,
    MODEL,
    ONE_CALL,
    PERSON,
    PERSON_TAG,
    PIXEL,
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


def agent(kind=OpenAIChatModel, name=MODEL, key=KEY, **fields):
    return Agent(kind(name, provider=OpenAIProvider(base_url=BASE_URL, api_key=key)), **fields)


def with_tool(called, **fields):
    """Return an agent with the tool `get_weather`, which notes its cities in `called`."""
    made = agent(**fields)

    @made.tool_plain
    def get_weather(city: str) -> str:
        called.append(city)
        return weather(city)

    return made


def step_chat():
    done = agent().run_sync(ECHO)
    equal(done.output, TEXT)
    assert done.usage.output_tokens > 0


async def step_stream():
    async with agent().run_stream(ECHO) as answer:
        equal("".join([part async for part in answer.stream_text(delta=True)]), TEXT)


def step_tool_loop():
    called = []
    has(with_tool(called).run_sync(ONE_CALL).output, weather("Zürich"))
    equal(called, ["Zürich"])


def step_parallel_tools():
    called = []
    has(with_tool(called).run_sync(TWO_CALLS).output, weather("Zürich"), weather("Genève"))
    equal(sorted(called), ["Genève", "Zürich"])


async def step_streamed_calls():
    called = []
    async with with_tool(called).run_stream(TWO_CALLS) as answer:
        has(await answer.get_output(), weather("Zürich"), weather("Genève"))
    equal(sorted(called), ["Genève", "Zürich"])


def step_structured():
    final = f'<call name="final_result">{json.dumps(PERSON)}</call>'
    for output, prompt in ((Person, final), (NativeOutput(Person), PERSON_TAG), (PromptedOutput(Person), PERSON_TAG)):
        equal(agent(output_type=output).run_sync(prompt).output, Person(**PERSON))


def step_image():
    picture = BinaryContent(base64.b64decode(PIXEL), media_type="image/png")
    has(agent().run_sync(["What is it?", picture]).output, "image/png")


def step_responses():
    equal(agent(OpenAIResponsesModel).run_sync(ECHO).output, TEXT)
    called = []
    has(with_tool(called, kind=OpenAIResponsesModel).run_sync(TWO_CALLS).output, weather("Zürich"), weather("Genève"))
    equal(sorted(called), ["Genève", "Zürich"])
    output = NativeOutput(Person)
    equal(agent(OpenAIResponsesModel, output_type=output).run_sync(PERSON_TAG).output, Person(**PERSON))


def step_errors():
    refused(ModelHTTPError, lambda: agent(key="sk-wrong-0123456789").run_sync(ECHO), 401)
    refused(ModelHTTPError, lambda: agent(name="gpt-9").run_sync(ECHO), 404)


run_steps(globals())
