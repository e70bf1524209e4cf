import json
from contextlib import asynccontextmanager

import pytest

from protocol.anthropic import wire
from protocol.anthropic.endpoint import CREATE
from protocol.model import Catalogue, Exchange, Finish, Served, Text, Thought, Tool, Usage
from tests.protocol.conftest import make_context

TOOL = Tool(name="f", description="d" * 400, parameters={"type": "object"})


class FakeEngine:
    """Answers every request with a thought and a word, and keeps the request."""

    catalogue = Catalogue.build()

    def applies(self, _selection):
        return frozenset()

    @asynccontextmanager
    async def open(self, request):
        async def events():
            yield Thought(text="hm")
            yield Text(text="yes, and more")
            yield Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=2))

        self.request = request
        yield Exchange(lambda: Served(transport="t", account="a"), events())


async def answer(**fields):
    """Return the request that reaches the engine, and the message."""
    given = {"model": "gemini-3-pro", "max_tokens": 9, "messages": [{"role": "user", "content": "why?"}], **fields}
    body, engine = wire.decode_create(json.dumps(given).encode()), FakeEngine()
    selection = engine.catalogue.resolve(body.model)
    made = await CREATE.answer(engine, body, selection, make_context())
    async with made.exchange as exchange:
        return engine.request, json.loads(made.writer.whole(await made.fold(exchange)))


@pytest.mark.parametrize(
    ("thinking", "kinds"),
    [
        (None, ["text"]),
        ({"type": "disabled"}, ["text"]),
        ({"type": "enabled", "budget_tokens": 1024}, ["thinking", "text"]),
        ({"type": "adaptive"}, ["thinking", "text"]),
        ({"type": "adaptive", "display": "summarized"}, ["thinking", "text"]),
        ({"type": "adaptive", "display": "omitted"}, ["text"]),
    ],
)
async def test_thoughts_are_shown_to_clients_that_ask_for_them(thinking, kinds):
    _, message = await answer(thinking=thinking)
    assert [block["type"] for block in message["content"]] == kinds


async def test_the_text_ends_at_its_bounds():
    _, message = await answer(stop_sequences=[","])
    assert (message["content"][0]["text"], message["stop_sequence"]) == ("yes", ",")
    _, message = await answer(max_tokens=1)
    assert (message["content"][0]["text"], message["stop_reason"]) == ("yes, an", "max_tokens")


@pytest.mark.parametrize(("model", "has_tools"), [("gemini-3-pro", True), ("gemini-3-pro-imagen", False)])
async def test_tools_and_schemas_are_for_models_that_answer_in_words(model, has_tools):
    form = {"type": "json_schema", "schema": {"type": "object"}}
    request, _ = await answer(model=model, tools=[{"name": "f"}], output_config={"format": form})
    assert (request.tools is not None, request.output is not None) == (has_tools, has_tools)
