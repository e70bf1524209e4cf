"""Requests in the form of Vertex AI; `tests/foreign/test_vertex.py` lets Google's SDK and the simulator judge it."""

import msgspec
import pytest

from protocol.model import Unsupported
from transports.generate_content import wire
from transports.vertex.dialect import to_vertex


def call(name, id_):
    return wire.ContentPart(function_call=wire.FunctionCall(name=name, id=id_))


def result(name, id_, text="x"):
    return wire.ContentPart(function_response=wire.FunctionResponse(name=name, response={"text": text}, id=id_))


def converted(*contents, **fields):
    body = wire.GenerateContentRequest(contents=contents, **fields)
    return msgspec.to_builtins(to_vertex(body, {"team": "search"}))


def test_results_follow_the_order_of_their_calls_without_ids():
    file = wire.ContentPart(file_data=wire.FileData("https://example.com/a.pdf"))
    body = converted(
        wire.Content((wire.ContentPart(text="both"),), "user"),
        wire.Content((wire.ContentPart(text="now"), call("get", "1"), call("get", "2")), "model"),
        wire.Content((result("get", "2", "second"), file, result("get", "1", "first")), "user"),
    )
    calls, results = body["contents"][1]["parts"], body["contents"][2]["parts"]
    assert [part["functionCall"] for part in calls[1:]] == [{"name": "get"}, {"name": "get"}]
    assert [part["functionResponse"]["response"]["text"] for part in results[:2]] == ["first", "second"]
    assert results[2] == {"fileData": {"fileUri": "https://example.com/a.pdf"}}
    assert '"id"' not in str(body)


def test_a_message_without_results_stays_as_it_is():
    parts = (wire.ContentPart(text="b"), wire.ContentPart(text="a"))
    assert [part["text"] for part in converted(wire.Content(parts, "user"))["contents"][0]["parts"]] == ["b", "a"]


def test_the_bill_gets_its_labels():
    assert converted(wire.Content((wire.ContentPart(text="a"),), "user"))["labels"] == {"team": "search"}


def test_functions_with_tools_of_the_api_are_refused():
    together = wire.ToolConfig(include_server_side_tool_invocations=True)
    with pytest.raises(Unsupported, match="own tools"):
        converted(wire.Content((wire.ContentPart(text="a"),), "user"), tool_config=together)
