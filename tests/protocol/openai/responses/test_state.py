import json

import msgspec
import pytest

from protocol.http.budget import ByteBudget
from protocol.http.errors import HttpError
from protocol.http.long_strings import LongString
from protocol.http.spool import Spool
from protocol.openai.responses import wire
from protocol.openai.responses.output_wire import OutputMessage, OutputText
from protocol.openai.responses.read import new_response
from protocol.openai.responses.state import ConversationState, StoredResponse, named_input, save, with_files
from tests.protocol.conftest import make_context
from tests.protocol.openai.responses.test_read import CATALOGUE


class Responses:
    """A `ResponseStore` in memory."""

    def __init__(self):
        self.kept = {}

    async def put(self, owner, response_id, value):
        self.kept[owner, response_id] = value

    async def get(self, owner, response_id):
        return self.kept.get((owner, response_id))


@pytest.fixture
def context():
    return make_context(responses=Responses(), created=7.0)


async def stored(context, said, answered, previous=None):
    """Store a response; return it."""
    body = wire.decode_request(json.dumps({"model": "gemini-3-pro", "input": said, "previous_response_id": previous}))
    begun = new_response(body, CATALOGUE.resolve(body.model), context)
    message = OutputMessage(id=f"msg_{begun.id[5:]}0000", status="completed", content=[OutputText(text=answered)])
    response = msgspec.structs.replace(begun, status="completed", output=[message])
    items = named_input(response.id, [wire.InputItem(role="user", content=said)])
    one = StoredResponse(response=response, input=items)
    await save(context, one)
    return one


def state_of(context):
    async def settle(one):
        return one

    return ConversationState(context, settle)


async def test_a_chain_of_responses_is_a_conversation(context):
    first = await stored(context, "a", "b\ud800")
    second = await stored(context, "c", "d", first.response.id)
    history = await state_of(context).history(second.response.id)
    said = [item.content if isinstance(item.content, str) else item.content[0].text for item, _ in history]
    assert said == ["a", "b\ud800", "c", "d"]
    assert len({at for _, at in history}) == 4
    assert await state_of(context).history("") == []


async def test_a_broken_chain_is_an_error(context):
    one = await stored(context, "a", "b", "resp_gone")
    with pytest.raises(HttpError, match="'resp_gone' is not stored") as failed:
        await state_of(context).history(one.response.id)
    assert (failed.value.status, failed.value.param) == (404, "previous_response_id")


async def test_a_response_that_has_not_ended_cannot_go_on(context):
    one = await stored(context, "a", "b")
    await save(context, msgspec.structs.replace(one, response=msgspec.structs.replace(one.response, status="queued")))
    with pytest.raises(HttpError, match="has not ended"):
        await state_of(context).history(one.response.id)


async def test_a_conversation_of_long_responses_reserves_memory(context):
    first = await stored(context, "a" * 100_000, "b")
    second = await stored(context, "c" * 100_000, "d", first.response.id)
    for total, fits in ((1_000_000, True), (300_000, False)):
        reader = make_context(responses=context.responses, memory=ByteBudget(total))
        if fits:
            state = state_of(reader)
            await state.history(second.response.id)
            assert 400_000 < reader.reserved().size < 450_000
            state.drop()
            assert 200_000 < reader.reserved().size < 225_000
        else:
            with pytest.raises(HttpError) as failed:
                await state_of(reader).history(second.response.id)
            assert failed.value.status == 413


async def test_references_lead_to_input_and_output(context):
    one = await stored(context, "a", "b")
    ids = [one.input[0].id, one.response.output[0].id, "rs_1"]
    found = await state_of(context).resolved([wire.InputItem(type="item_reference", id=identity) for identity in ids])
    assert [(item.type, item.id) for item in found] == [("message", ids[0]), ("message", ids[1]), ("reasoning", "rs_1")]
    wanted = [wire.InputItem(type="message", role="user", content="x"), wire.InputItem(id="msg_1")]
    with pytest.raises(HttpError, match="'msg_1' is not stored") as failed:
        await state_of(context).resolved(wanted)
    assert failed.value.param == "input[1]"


async def test_long_files_are_stored_with_their_item():
    file = Spool().file(100)
    file.write(b"abc")
    long = {"data:file-0": LongString(head="data:text/plain;base64,", file=file.finish())}
    part = wire.InputPart(type="input_file", file_data="data:file-0")
    output = wire.InputItem(type="function_call_output", id="given", output=[part])
    named = named_input("resp_1", [wire.InputItem(role="user", content=[part]), output])
    assert [item.id for item in named] == ["msg_1i0", "given"]
    items = with_files(named, long)
    assert items[0].content[0].file_data == items[1].output[0].file_data == "data:text/plain;base64,YWJj"
