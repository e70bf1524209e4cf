"""The usage of an answer in every dialect: what clients read, what the log has, and what the count endpoints say."""

import base64
import json

import httpx2 as httpx
import pytest

from tests.conftest import KEY, SETTINGS, Gateway
from tests.flows.test_images import drawn

MODEL = "gemini-3-pro"
LONG = "Words that the client reads. " * 20
STALLED = f'<sim thoughts="hm, words" stall-after="12"/><echo>{LONG}</echo>'
BROKEN = f'<sim drop-after="12"/><echo>{LONG}</echo>'


def messages(text):
    return [{"role": "user", "content": text}]


STREAMS = {
    "chat": ("/v1/chat/completions", lambda text: {"model": MODEL, "messages": messages(text), "stream": True}),
    "choices": (
        "/v1/chat/completions",
        lambda text: {"model": MODEL, "messages": messages(text), "stream": True, "n": 2},
    ),
    "completions": ("/v1/completions", lambda text: {"model": MODEL, "prompt": text, "stream": True}),
    "responses": ("/v1/responses", lambda text: {"model": MODEL, "input": text, "stream": True}),
    "anthropic": (
        "/v1/messages",
        lambda text: {"model": MODEL, "messages": messages(text), "max_tokens": 9999, "stream": True},
    ),
    "gemini": (
        f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse",
        lambda text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    ),
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("usage"), SETTINGS.format(key=KEY))
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def http(gateway):
    root = gateway.base_url.removesuffix("/v1")
    with httpx.Client(base_url=root, headers={"authorization": f"Bearer {gateway.key}"}, timeout=60) as client:
        yield client


def logged(gateway, response):
    """Return the line of the access log of a response."""
    return json.loads(gateway.wait_for(f'"request": "{response.headers["x-request-id"]}", "method"'))


def total(line):
    return line["input_tokens"] + line["output_tokens"]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_its_client_left_counts_what_was_delivered(gateway, http, name):
    path, body = STREAMS[name]
    with http.stream("POST", path, json=body(STALLED)) as response:
        assert response.status_code == 200
        read = ""
        for piece in response.iter_text():
            read += piece
            if "Words" in read:
                break
    line = logged(gateway, response)
    assert line["error"] == "client_closed_request"
    assert 100 < line["input_tokens"] < 200
    assert 0 < line["reasoning_tokens"] < line["output_tokens"] < 200


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_broke_off_counts_what_was_delivered(gateway, http, name):
    path, body = STREAMS[name]
    response = http.post(path, json=body(BROKEN))
    assert "Words" in response.text
    line = logged(gateway, response)
    assert line["error"] is not None
    assert 100 < line["input_tokens"] < 200
    assert 0 < line["output_tokens"] < 200


def test_the_prompt_counts_once_for_several_choices(gateway, http):
    body = {"model": MODEL, "messages": messages(f"<echo>{LONG}</echo>")}
    one = http.post("/v1/chat/completions", json=body)
    three = http.post("/v1/chat/completions", json=body | {"n": 3})
    usage, together = one.json()["usage"], three.json()["usage"]
    assert together["prompt_tokens"] == usage["prompt_tokens"]
    assert together["completion_tokens"] == 3 * usage["completion_tokens"]
    for response, counted in ((one, usage), (three, together)):
        assert response.headers["x-gateway-usage"] == "estimate"
        assert total(logged(gateway, response)) == counted["total_tokens"]


def test_a_repair_counts_the_prompt_once_and_both_answers(http):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "City", "schema": schema}}
    text = '<json>{"city": "Rome"}</json>'
    plain, repaired = (
        http.post(
            "/v1/chat/completions",
            json={"model": MODEL, "messages": messages(text + more), "response_format": form},
        ).json()["usage"]
        for more in (" " * len("<badjson/>"), "<badjson/>")
    )
    assert abs(plain["prompt_tokens"] - repaired["prompt_tokens"]) < 10
    assert repaired["completion_tokens"] > plain["completion_tokens"]


@pytest.mark.parametrize("bound", [{}, {"max_tokens": 500}, {"stop": ["never"]}])
def test_a_continued_conversation_counts_the_whole_prompt_and_says_what_is_cached(http, bound):
    first = messages(f"<echo>one</echo> {LONG} {bound}")
    body = {"model": MODEL, "messages": first, **bound}
    usage = http.post("/v1/chat/completions", json=body).json()["usage"]
    again = [*first, {"role": "assistant", "content": "one"}, *messages("<echo>two</echo>")]
    after = http.post("/v1/chat/completions", json=body | {"messages": again}).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["prompt_tokens"] < after["prompt_tokens"] < usage["prompt_tokens"] + 20
    assert after["prompt_tokens_details"]["cached_tokens"] >= usage["prompt_tokens"]


TOOL = {"name": "get_weather", "description": LONG, "input_schema": {"type": "object"}}
PICTURE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(drawn()).decode()},
}


def test_anthropics_count_is_that_of_the_answer(http):
    content = [{"type": "text", "text": f"<echo>one</echo>{LONG}"}, PICTURE]
    body = {"model": MODEL, "messages": messages(content), "tools": [TOOL], "system": LONG}
    counted = http.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
    usage = http.post("/v1/messages", json=body | {"max_tokens": 100}).json()["usage"]
    assert counted == usage["input_tokens"] > 258 + 300


def test_geminis_count_is_that_of_the_answer(http):
    parts = [
        {"text": f"<echo>one</echo>{LONG}"},
        {"inlineData": {"mimeType": "image/png", "data": PICTURE["source"]["data"]}},
    ]
    tool = {"functionDeclarations": [{"name": "f", "description": LONG}]}
    asked = {"contents": [{"role": "user", "parts": parts}], "tools": [tool]}
    path = f"/v1beta/models/{MODEL}"
    request = {"generateContentRequest": asked | {"model": f"models/{MODEL}"}}
    counted = http.post(f"{path}:countTokens", json=request).json()["totalTokens"]
    usage = http.post(f"{path}:generateContent", json=asked).json()["usageMetadata"]
    assert counted == usage["promptTokenCount"] > 258 + 200
    assert http.post(f"{path}:countTokens", json=asked).json()["totalTokens"] == counted
