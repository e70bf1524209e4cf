"""Runs openai-agents, by Responses (its default) and by chat completions."""

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
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
    run_steps,
    weather,
)

KINDS = (OpenAIResponsesModel, OpenAIChatCompletionsModel)
set_tracing_disabled(True)


class Person(BaseModel):
    name: str
    ages: list[int]


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather."""
    return weather(city)


def agent(kind, name=MODEL, key=KEY, **fields):
    client = AsyncOpenAI(base_url=BASE_URL, api_key=key, max_retries=0)
    return Agent(name="tester", model=kind(model=name, openai_client=client), **fields)


async def ask(kind, prompt, **fields):
    return (await Runner.run(agent(kind, **fields), prompt)).final_output


async def step_chat():
    for kind in KINDS:
        equal(await ask(kind, ECHO, instructions="Be short."), TEXT)


async def step_stream():
    for kind in KINDS:
        run = Runner.run_streamed(agent(kind), ECHO)
        events = [event async for event in run.stream_events()]
        deltas = [event.data for event in events if event.type == "raw_response_event"]
        equal("".join(data.delta for data in deltas if data.type == "response.output_text.delta"), TEXT)
        equal(run.final_output, TEXT)


async def step_tool_loop():
    for kind in KINDS:
        settings = ModelSettings(tool_choice="required")
        has(await ask(kind, ONE_CALL, tools=[get_weather], model_settings=settings), weather("Zürich"))


async def step_parallel_tools():
    for kind in KINDS:
        run = Runner.run_streamed(agent(kind, tools=[get_weather]), TWO_CALLS)
        called = [event async for event in run.stream_events() if getattr(event, "name", "") == "tool_called"]
        equal(len(called), 2)
        has(run.final_output, weather("Zürich"), weather("Genève"))


async def step_handoff():
    for kind in KINDS:
        other = agent(kind)
        other.name = "other"
        run = await Runner.run(agent(kind, handoffs=[other]), '<call name="transfer_to_other">{}</call>')
        equal(run.last_agent.name, "other")


async def step_structured():
    for kind in KINDS:
        equal(await ask(kind, PERSON_TAG, output_type=Person), Person(**PERSON))


async def step_image():
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": PIXEL_URL}]
    for kind in KINDS:
        has(await ask(kind, [{"role": "user", "content": parts}]), "image/png")


async def step_errors():
    for kind in KINDS:
        for error, fields in (
            (openai.AuthenticationError, {"key": "sk-wrong-0123456789"}),
            (openai.NotFoundError, {"name": "gpt-9"}),
        ):
            try:
                await ask(kind, ECHO, **fields)
            except error:
                continue
            raise AssertionError(f"no {error.__name__}")


run_steps(globals())
