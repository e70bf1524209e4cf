"""The Responses API with the official `openai` SDK, against a gateway over the simulated site."""

import base64
import json

import httpx2 as httpx
import openai
import pytest
from openai.types.responses import Response, ResponseItemList
from pydantic import BaseModel

from tests.conftest import KEY, SETTINGS, Gateway
from tests.openai_schemas import check, check_event
from tests.protocol.http.test_media_types import picture

MODEL = "gemini-3-pro"
OTHER_KEY = "sk-test-other-0123456789"
MORE = f"""
[[licenses]]
id = "other"
key = "{OTHER_KEY}"
"""
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "name": "get_weather", "description": "The weather.", "parameters": CITY, "strict": True},
    {"type": "function", "name": "ping"},
]
CALL = '<call name="get_weather">{"city": "Zürich"}</call>'
PING = '<call name="ping">{}</call>'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    process = Gateway(tmp_path_factory.mktemp("responses"), SETTINGS.format(key=KEY) + MORE)
    yield process
    process.stop()


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture
def stranger(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=OTHER_KEY, max_retries=0) as client:
        yield client


def post(gateway, **body):
    """Return the text of an answer, after judging it if it is a whole response."""
    headers = {"Authorization": f"Bearer {gateway.key}"}
    answer = httpx.post(f"{gateway.base_url}/responses", json={"model": MODEL, **body}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


def events_of(text):
    """Return the events of a stream, after judging each of them and their order."""
    events = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        events.append(check_event(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def kinds_of(events):
    """Return the types of events without their prefix; adjacent ones that are equal count once."""
    kinds = [event["type"].removeprefix("response.") for event in events]
    return [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]


def ask(gateway, **body):
    """Return the whole response and the one that ends the stream of the same request."""
    whole = check(post(gateway, **body), Response, "Response")
    events = events_of(post(gateway, **body, stream=True))
    return [whole, events[-1]["response"]]


def texts_of(response):
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return [part["text"] for part in parts if part["type"] == "output_text"]


def test_a_text_comes_whole_and_streamed(gateway):
    for response in ask(gateway, input="<echo>Grüße 😀</echo>", metadata={"a": "b"}, instructions="Be brief."):
        assert texts_of(response) == ["Grüße 😀"]
        assert (response["status"], response["metadata"], response["instructions"]) == (
            "completed",
            {"a": "b"},
            "Be brief.",
        )
        assert response["usage"]["total_tokens"] > response["usage"]["output_tokens"] > 0


def test_the_events_of_thoughts_and_a_text_come_in_order(gateway):
    events = events_of(post(gateway, input='<sim thoughts="hm"/><echo>some words</echo>', stream=True))
    assert kinds_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    items = events[-1]["response"]["output"]
    assert [item["type"] for item in items] == ["reasoning", "message"]
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == items
    assert items[0]["summary"] == [{"type": "summary_text", "text": "hm"}]


def test_calls_are_items_and_their_results_go_back_by_the_id_of_the_response(gateway, client):
    for response in ask(gateway, input=CALL + PING, tools=TOOLS):
        calls = response["output"]
        assert [(call["type"], call["name"], json.loads(call["arguments"])) for call in calls] == [
            ("function_call", "get_weather", {"city": "Zürich"}),
            ("function_call", "ping", {}),
        ]
        results = [
            {"type": "function_call_output", "call_id": call["call_id"], "output": output}
            for call, output in zip(calls, ["SUNNY", [{"type": "input_text", "text": "PONG"}]], strict=True)
        ]
        answer = client.responses.create(
            model=MODEL, previous_response_id=response["id"], input=results[::-1], tools=TOOLS
        )
        assert "SUNNY" in answer.output_text
        assert "PONG" in answer.output_text


def test_calls_of_a_namespace_name_it_and_come_back_with_it(gateway, client):
    spaces = [{"type": "namespace", "name": name, "description": "Weather.", "tools": TOOLS} for name in ("a", "b")]
    for response in ask(gateway, input='<call name="b__ping">{}</call>', tools=[*TOOLS, *spaces]):
        [call] = response["output"]
        assert (call["namespace"], call["name"]) == ("b", "ping")
        assert response["tools"][2]["tools"][0]["name"] == "get_weather"
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "PONG"}
        body = {"model": MODEL, "tools": [*TOOLS, *spaces]}
        by_id = client.responses.create(**body, previous_response_id=response["id"], input=[result])
        whole = client.responses.create(**body, input=[{"role": "user", "content": "ping"}, call, result])
        assert "PONG" in by_id.output_text
        assert "PONG" in whole.output_text


def test_the_sdk_puts_the_stream_of_a_call_together(client):
    with client.responses.stream(model=MODEL, input=CALL, tools=TOOLS) as stream:
        done = [event for event in stream if event.type == "response.function_call_arguments.done"]
        final = stream.get_final_response()
    assert [(event.name, json.loads(event.arguments)) for event in done] == [("get_weather", {"city": "Zürich"})]
    assert final.output[0].arguments == done[0].arguments


def test_a_history_without_state_goes_back_as_it_came(client):
    history = [{"role": "user", "content": CALL}]
    first = client.responses.create(model=MODEL, input=history, tools=TOOLS, store=False)
    history += [item.model_dump(exclude_none=True) for item in first.output]
    history.append({"type": "function_call_output", "call_id": first.output[0].call_id, "output": "SUNNY"})
    assert "SUNNY" in client.responses.create(model=MODEL, input=history, tools=TOOLS, store=False).output_text


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "name": "ping"}, ["ping"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "ping"}]}, ["ping"]),
    ],
)
def test_the_choice_of_tools_counts(gateway, choice, expected):
    for response in ask(gateway, input="hello", tools=TOOLS, tool_choice=choice):
        assert [item["name"] for item in response["output"] if item["type"] == "function_call"] == expected
        assert response["tool_choice"] == choice


class Count(BaseModel):
    n: int
    text: str


def test_structured_output_is_parsed(client):
    parsed = client.responses.parse(model=MODEL, input='<json>{"n": 3, "text": "`}`"}</json>', text_format=Count)
    assert parsed.output_parsed == Count(n=3, text="`}`")


def test_structured_output_is_bare_json(gateway):
    form = {"type": "json_schema", "name": "Count", "schema": Count.model_json_schema(), "strict": True}
    for response in ask(gateway, input='<json>{"n": 3, "text": ""}</json>', text={"format": form}, tools=TOOLS):
        assert [json.loads(text) for text in texts_of(response)] == [{"n": 3, "text": ""}]
    for response in ask(gateway, input='<json>{"n": 3}</json>', text={"format": {"type": "json_object"}}):
        assert [json.loads(text) for text in texts_of(response)] == [{"n": 3}]


def test_a_cut_answer_is_incomplete(gateway):
    for response in ask(gateway, input='<sim length="1000"/>', max_output_tokens=10):
        assert response["status"] == "incomplete"
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert response["usage"]["output_tokens"] == 10


def test_an_error_in_the_stream_ends_it_with_a_failed_response(gateway, client):
    events = events_of(post(gateway, input='<sim drop-after="3"/><echo>some words</echo>', stream=True))
    stored = client.responses.retrieve(events[-1]["response"]["id"])
    assert stored.error.message == events[-1]["response"]["error"]["message"]
    assert kinds_of(events)[-1] == "failed"
    assert events[-1]["response"]["status"] == "failed"
    assert events[-1]["response"]["error"]["code"] == "server_error"


def test_citations_are_annotations(gateway):
    for response in ask(gateway, input='<sim citations="2"/><echo>Facts [cite: 1, 2] here.</echo>'):
        annotations = response["output"][-1]["content"][0]["annotations"]
        assert len({entry["url"] for entry in annotations}) == 2


def test_a_conversation_goes_on_by_the_id_of_its_last_response(client):
    first = client.responses.create(model=MODEL, input=f"<echo>one</echo> {'long ' * 200}", instructions="Be kind.")
    second = client.responses.create(
        model=MODEL, input="<echo>two</echo>", instructions="Be kind.", previous_response_id=first.id
    )
    third = client.responses.create(model=MODEL, input="what is this?", previous_response_id=second.id)
    assert (second.output_text, second.previous_response_id) == ("two", first.id)
    assert first.usage.input_tokens < second.usage.input_tokens < third.usage.input_tokens + 10
    cached = [one.usage.input_tokens_details.cached_tokens for one in (first, second, third)]
    assert cached[0] == cached[2] == 0  # other instructions: the whole history is sent
    assert cached[1] > first.usage.input_tokens - 10  # the site continues its conversation


def test_items_are_found_by_their_ids(client):
    first = client.responses.create(model=MODEL, input=CALL, tools=TOOLS)
    call = first.output[0]
    answer = client.responses.create(
        model=MODEL,
        tools=TOOLS,
        input=[
            {"role": "user", "content": CALL},
            {"type": "item_reference", "id": call.id},
            {"type": "function_call_output", "call_id": call.call_id, "output": "SUNNY"},
        ],
    )
    assert "SUNNY" in answer.output_text
    with pytest.raises(openai.NotFoundError, match="is not stored"):
        client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": "msg_0123"}])


def test_a_response_is_stored_for_its_license_alone(client, stranger):
    stored = client.responses.create(model=MODEL, input="<echo>mine</echo>")
    assert client.responses.retrieve(stored.id).model_dump() == stored.model_dump()
    for work in (stranger.responses.retrieve, stranger.responses.delete, stranger.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            work(stored.id)
    with pytest.raises(openai.NotFoundError, match="is not stored") as failed:
        stranger.responses.create(model=MODEL, input="hello", previous_response_id=stored.id)
    assert (failed.value.code, failed.value.param) == ("previous_response_not_found", "previous_response_id")
    client.responses.delete(stored.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(stored.id)


def test_a_response_is_not_stored_against_the_will_of_its_client(client):
    answer = client.responses.create(model=MODEL, input="<echo>secret</echo>", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_the_input_is_listed(gateway, client):
    url = f"data:image/png;base64,{base64.b64encode(picture('png')).decode()}"
    parts = [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": url, "detail": "original"}]
    asked = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    stored = client.responses.create(model=MODEL, input=[*asked, {"role": "user", "content": parts}])
    raw = client.responses.input_items.with_raw_response.list(stored.id, limit=2, order="asc")
    page = check(raw.text, ResponseItemList, "ResponseItemList")
    assert [item["content"][0]["text"] for item in page["data"]] == ["hi", "yes"]
    assert page["has_more"]
    listed = list(client.responses.input_items.list(stored.id, limit=2))
    assert [item.role for item in listed] == ["user", "assistant", "user"]
    assert listed[0].content[1].image_url == url


def test_items_of_every_kind_are_listed(client):
    url = f"data:image/png;base64,{base64.b64encode(picture('png')).decode()}"
    asked = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "name": "ping", "arguments": {"a": 1}},
        {"type": "function_call_output", "output": [{"type": "input_image", "image_url": url}]},
        {"type": "function_call", "call_id": "c", "name": "ping", "namespace": "n"},
        {"type": "function_call_output", "call_id": "c", "output": "PONG"},
        {"type": "custom_tool_call", "call_id": "d", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": "DONE"},
    ]
    stored = client.responses.create(model=MODEL, input=asked)
    assert "DONE" in stored.output_text
    raw = client.responses.input_items.with_raw_response.list(stored.id, order="asc")
    items = check(raw.text, ResponseItemList, "ResponseItemList")["data"]
    assert [item["type"] for item in items] == [item["type"] for item in asked]
    assert (items[0]["summary"][0]["text"], items[1]["arguments"], items[3]["namespace"]) == ("hm", '{"a":1}', "n")
    assert items[2]["output"] == [{"type": "input_image", "image_url": url, "detail": "auto"}]


def test_a_refused_attachment_is_that_of_the_input(client):
    with pytest.raises(openai.BadRequestError) as failed:
        client.responses.create(model=MODEL, input='<sim error="1100"/>')
    assert failed.value.param == "input"


def test_a_long_file_is_stored_with_its_input(client):
    content = base64.b64encode(b"words and words\n" * 60000).decode()
    part = {"type": "input_file", "filename": "a.txt", "file_data": f"data:text/plain;base64,{content}"}
    stored = client.responses.create(model=MODEL, input=[{"role": "user", "content": [part]}])
    assert "a.txt" in stored.output_text
    [item] = client.responses.input_items.list(stored.id)
    assert item.content[0].file_data == part["file_data"]


def test_a_response_in_the_background_is_fetched_by_its_id(client):
    body = {"model": MODEL, "input": CALL + "<echo>later</echo>", "background": True}
    queued = client.responses.create(**body, tools=TOOLS)
    assert queued.status == "queued"
    done = queued
    while done.status in {"queued", "in_progress"}:
        done = client.responses.retrieve(queued.id)
    assert (done.status, done.output[0].name) == ("completed", "get_weather")
    assert client.responses.retrieve(queued.id).model_dump() == done.model_dump()
    result = {"type": "function_call_output", "call_id": done.output[0].call_id, "output": "SUNNY"}
    assert (
        "SUNNY"
        in client.responses.create(model=MODEL, input=[result], tools=TOOLS, previous_response_id=done.id).output_text
    )


def test_a_failure_in_the_background_is_the_response(gateway, client):
    done = client.responses.create(model=MODEL, input='<sim http="500"/>', background=True)
    while done.status in {"queued", "in_progress"}:
        done = client.responses.retrieve(done.id)
    assert (done.status, done.error.code) == ("failed", "server_error")
    done = client.responses.create(model=MODEL, input='<sim error="1003"/>', background=True)
    events = streamed(gateway, done.id)
    assert (events[-1]["type"], events[-1]["response"]["error"]["code"]) == ("response.failed", "invalid_prompt")
    assert events[-1]["response"] == json.loads(client.responses.with_raw_response.retrieve(done.id).text)


def streamed(gateway, response_id):
    """Return the events of a stored response."""
    headers = {"Authorization": f"Bearer {gateway.key}"}
    return events_of(httpx.get(f"{gateway.base_url}/responses/{response_id}?stream=true", headers=headers).text)


def test_a_response_in_the_background_can_be_cancelled(gateway, client):
    queued = client.responses.create(model=MODEL, input='<sim delay="60"/>', background=True)
    assert client.responses.cancel(queued.id).status == "cancelled"
    assert client.responses.retrieve(queued.id).status == "cancelled"
    assert kinds_of(streamed(gateway, queued.id)) == ["created", "queued", "in_progress", "failed"]
    whole = client.responses.create(model=MODEL, input="<echo>x</echo>")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(whole.id)


@pytest.mark.parametrize("store", [True, False])
def test_a_video_whose_client_leaves_is_fetched_as_a_chat_unless_nothing_may_be_stored(client, store):
    body = {"model": "gemini-3-pro-video", "input": '<sim ready="0.2"/> a cat on a boat', "store": store}
    stream = client.responses.create(**body, stream=True)
    begun = next(event for event in stream if event.type == "response.created")
    stream.close()
    if store:
        fetched = client.chat.completions.retrieve(begun.response.id)
        assert "](http" in fetched.choices[0].message.content
    else:
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.retrieve(begun.response.id)


def test_a_response_in_the_background_streams_from_the_start_and_again(gateway, client):
    events = events_of(post(gateway, input="<echo>later</echo>", background=True, stream=True))
    assert kinds_of(events)[:3] == ["created", "queued", "in_progress"]
    assert texts_of(events[-1]["response"]) == ["later"]
    response = events[0]["response"]["id"]
    again = list(client.responses.retrieve(response, stream=True, starting_after=3))
    assert [event.sequence_number for event in again] == list(range(4, len(events)))
    assert again[-1].response.output_text == "later"
    with pytest.raises(openai.BadRequestError, match="starting_after"):
        client.responses.retrieve(response, stream=True, starting_after="²")
    whole = client.responses.create(model=MODEL, input="<echo>x</echo>")
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.retrieve(whole.id, stream=True)


@pytest.mark.parametrize("choice", ["auto", {"type": "image_generation"}])
def test_a_picture_is_an_item_with_its_content(gateway, client, choice):
    model = MODEL if choice != "auto" else "gemini-3-pro-imagen"
    tools = [{"type": "image_generation", "size": "1024x1024", "output_format": "jpeg"}, {"type": "web_search"}]
    body = {
        "model": model,
        "input": f"<echo>Here it is.</echo>{' very' * 200} big",
        "tools": tools,
        "tool_choice": choice,
    }
    whole = check(post(gateway, **body), Response, "Response")
    events = events_of(post(gateway, **body, stream=True))
    for response in (whole, events[-1]["response"]):
        drawn = [item for item in response["output"] if item["type"] == "image_generation_call"]
        assert [base64.b64decode(item["result"])[:3] for item in drawn] == [b"\xff\xd8\xff"]
        assert [text.strip() for text in texts_of(response)] == ["Here it is."]
    kinds = kinds_of(events)
    start = kinds.index("image_generation_call.in_progress")
    assert kinds[start + 1 : start + 4] == [
        "image_generation_call.generating",
        "image_generation_call.completed",
        "output_item.done",
    ]
    retrieved = client.responses.retrieve(whole["id"]).output
    assert [getattr(item, "result", None) for item in retrieved] == [item.get("result") for item in whole["output"]]
    again = client.responses.create(**body | {"input": "<echo>Again.</echo>"}, previous_response_id=whole["id"])
    assert any(item.type == "image_generation_call" and item.result for item in again.output)
    cached = again.usage.input_tokens_details.cached_tokens
    assert cached > whole["usage"]["input_tokens"] - 10  # the site continues its conversation


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "absent"}}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": [{"type": "computer_call", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": []}, "input"),
        ({"background": True, "store": False}, "store"),
    ],
)
def test_unsupported_fields_are_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as failed:
        client.responses.create(**{"model": MODEL, "input": "hello"} | fields)
    assert failed.value.param == param


def test_values_that_the_api_does_not_have_are_not_repeated(gateway):
    odd = {"truncation": "x", "reasoning": {"effort": "x", "summary": "x"}, "temperature": 9, "top_p": True}
    odd["tools"] = [{"type": "namespace", "name": "n", "tools": TOOLS}, {"type": "web_search", "filters": "x"}]
    odd["tool_choice"] = {"type": "allowed_tools", "tools": []}
    for response in ask(gateway, input="<echo>x</echo>", previous_response_id="", **odd):
        assert [response[field] for field in ("truncation", "temperature", "top_p")] == ["disabled", 1.0, 1.0]


def test_fields_without_effect_are_named_in_a_header(client):
    asked = {"model": MODEL, "input": "<echo>x</echo>"}
    fields = {"temperature": 0.2, "top_p": 1, "reasoning": {"effort": "low"}, "truncation": "auto", "include": []}
    answer = client.responses.with_raw_response.create(**asked, **fields)
    assert "These fields have no effect here: temperature, reasoning.effort." in answer.headers["warning"]
    assert answer.parse().temperature == 0.2
    fields = {"text": {"verbosity": "low"}, "include": ["message.output_text.logprobs"]}
    answer = client.responses.with_raw_response.create(**asked, **fields)
    assert "These fields have no effect here: text.verbosity, include." in answer.headers["warning"]
    search = {"type": "web_search", "search_context_size": "medium", "filters": {"allowed_domains": ["x.example"]}}
    pictures = {"type": "image_generation", "partial_images": 2, "quality": "auto"}
    answer_to_tools = client.responses.with_raw_response.create(**asked, tools=[search, pictures])
    named = "These fields have no effect here: tools[0].filters, tools[1].partial_images."
    assert named in answer_to_tools.headers["warning"]
    assert check(answer_to_tools.text, Response, "Response")["tools"] == [
        {"type": search["type"]},
        {"type": pictures["type"]},
    ]
    assert answer.parse().text.verbosity == "low"
    answer = client.responses.with_raw_response.create(**asked, reasoning={"effort": "high", "summary": "auto"})
    assert "warning" not in answer.headers
    assert answer.parse().model == f"{MODEL}-extended"
