import json

import msgspec
import pytest

from protocol.http.errors import HttpError
from protocol.model import CallArguments, CallStarted, Citation, Declined, Finish, Text, Thought
from protocol.openai.responses.background import BackgroundSteps
from protocol.openai.responses.state import StoredResponse, save
from tests.openai_schemas import check_event
from tests.protocol.conftest import make_context
from tests.protocol.openai.responses.test_state import Responses
from tests.protocol.openai.responses.test_write import USAGE, builder_of

EVENTS = [
    Thought(text="hm"),
    Text(text="some"),
    Text(text=" words"),
    Citation(start=0, end=4, url="https://x.example/", title="X"),
    Declined(text="no"),
    CallStarted(id="call_1", name="f"),
    CallArguments(text='{"a":'),
    CallArguments(text=" 1}"),
]


class NoJobs:
    async def find(self, owner, kind, job_id):
        return None


@pytest.fixture
def context():
    return make_context(responses=Responses(), jobs=NoJobs(), created=7.0, started=1.0)


async def ended(context, status="completed"):
    """Store a response in the background that has ended; return it."""
    builder = builder_of(background=True, tools=[{"type": "function", "name": "f"}])
    for event in EVENTS:
        builder.add(event)
    builder.finish(Finish(reason="stop", usage=USAGE))
    stored = StoredResponse(response=msgspec.structs.replace(builder.response, status=status), input=[])
    await save(context, stored)
    return stored


async def events_of(context, stored, after=-1):
    """Return the judged events of a stream."""
    steps = BackgroundSteps(None, context, stored, after)
    data = b"".join([steps.writer.event(step) async for step in steps]).decode()
    return [check_event(block.partition("data: ")[2]) for block in data.strip().split("\n\n")]


async def test_a_stream_has_the_items_of_the_stored_response(context):
    stored = await ended(context)
    events = await events_of(context, stored)
    output = json.loads(msgspec.json.encode(stored.response.output))
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == output
    assert events[-1]["response"] == json.loads(msgspec.json.encode(stored.response))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def test_a_stream_begins_after_any_event(context):
    stored = await ended(context)
    events = await events_of(context, stored)
    for after in range(len(events) - 1):
        assert await events_of(context, stored, after) == events[after + 1 :]


@pytest.mark.parametrize(
    ("status", "last"), [("incomplete", "incomplete"), ("failed", "failed"), ("cancelled", "failed")]
)
async def test_the_last_event_says_how_the_response_ended(context, status, last):
    events = await events_of(context, await ended(context, status))
    assert (events[-1]["type"], events[-1]["response"]["status"]) == (f"response.{last}", status)


async def test_a_deleted_response_ends_its_stream_with_an_error(context):
    steps = BackgroundSteps(None, context, await ended(context))
    context.responses.kept.clear()
    with pytest.raises(HttpError):
        [step async for step in steps]
