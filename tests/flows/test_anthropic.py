"""Requests to `/v1/messages` as Claude Code and others send them, byte by byte, with all forms of errors."""

import json
import socket

import httpx2 as httpx
import pytest

from tests.conftest import KEY, SETTINGS, Gateway

MODEL = "gemini-3-pro"
BEARER = {"authorization": f"Bearer {KEY}"}
VERSION = {"anthropic-version": "2023-06-01"}
ORIGIN = "https://chat.example"
HELLO = {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": "<echo>hello</echo>"}]}
LIMITS = "\n[limits]\nheartbeat_seconds = 0.2\nbody_bytes = 500_000\n"
SHELL = {
    "type": "object",
    "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
    "required": ["command"],
    "additionalProperties": False,
    "$schema": "https://json-schema.org/draft/2020-12/schema",
}
LS = {"command": "ls -la"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    settings = SETTINGS.format(key=KEY).replace("port = 0", f'port = 0\ncors_origins = ["{ORIGIN}"]') + LIMITS
    process = Gateway(tmp_path_factory.mktemp("gateway"), settings)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def http(gateway):
    with httpx.Client(base_url=gateway.origin, headers={**BEARER, **VERSION}) as client:
        yield client


def events_of(text):
    """Return the data of a stream's events, after checking that each is named by its type."""
    found = []
    for event in filter(None, text.split("\n\n")):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def code_request(number, *messages, **fields):
    """Return a request in the form of Claude Code 2.1; `number` makes its first line differ, as it does there."""
    tool = {"name": "Bash", "description": "Run a command.\n\nNever `cat`.", "input_schema": SHELL}
    agents = {"role": "system", "content": "Available agent types:\n- Explore: Read-only search."}
    others = [{**tool, "name": f"mcp__a_server_with_a_long_name__{'x' * 40}_{n}"} for n in range(20)]
    return {
        "model": MODEL,
        "messages": [messages[0], agents, *messages[1:]],
        "system": [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.{number}; cch={number};"},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Rules. " * 1000, "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ],
        "tools": [tool, *others],
        "metadata": {"user_id": "user_1_account__session_2"},
        "max_tokens": 32000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "temperature": 1,
        "stream": True,
        **fields,
    }


def send_code(http, body):
    headers = {"anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14", "x-app": "cli"}
    headers["x-api-key"] = "sk-ant-of-another-service"
    response = http.post("/v1/messages?beta=true", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return events_of(response.text)


def block_of(events, index):
    """Put a block of a stream together, as clients do, in the form in which they send it back."""
    started = next(e for e in events if e["type"] == "content_block_start" and e["index"] == index)["content_block"]
    deltas = [e["delta"] for e in events if e["type"] == "content_block_delta" and e["index"] == index]
    for delta in deltas:
        for name in ("text", "thinking", "signature"):
            if name in delta:
                started[name] += delta[name]
    arguments = "".join(delta.get("partial_json", "") for delta in deltas)
    return {**started, "input": json.loads(arguments)} if arguments else started


def test_an_agent_calls_a_tool_and_continues_the_conversation_at_the_upstream(http):
    call = f'<sim thoughts="hm"/><call name="Bash">{json.dumps(LS)}</call>'
    asked = {"role": "user", "content": [{"type": "text", "text": call, "cache_control": {"type": "ephemeral"}}]}
    events = send_code(http, code_request(1, asked))
    thought, used = block_of(events, 0), block_of(events, 1)
    assert (thought["type"], thought["thinking"], bool(thought["signature"])) == ("thinking", "hm", True)
    assert (used["type"], used["name"], used["input"]) == ("tool_use", "Bash", LS)
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    answered = {"role": "assistant", "content": [thought, used]}
    result = {"type": "tool_result", "tool_use_id": used["id"], "is_error": True, "content": "exit 1"}
    failed = {"role": "user", "content": [{**result, "cache_control": {"type": "ephemeral"}}]}
    events = send_code(http, code_request(2, asked, answered, failed))
    said = block_of(events, len({e["index"] for e in events if "index" in e}) - 1)
    assert "The tool failed:\nexit 1" in said["text"]
    again = {"role": "user", "content": "what now?"}
    history = [asked, answered, failed, {"role": "assistant", "content": [said]}, again]
    whole = http.post("/v1/messages", json=code_request(3, *history, stream=False, thinking=None)).json()
    (text,) = whole["content"]
    length = int(text["text"].partition("The prompt has ")[2].split()[0])
    assert length < 3000  # neither the system prompt nor the schemas of the tools are sent again
    assert whole["usage"]["input_tokens"] < 1000
    assert whole["usage"]["cache_read_input_tokens"] > 2000


def test_a_check_of_the_quota_gets_one_token(http):
    body = {**HELLO, "max_tokens": 1, "messages": [{"role": "user", "content": "quota"}], "metadata": {}}
    assert http.post("/v1/messages", json=body).json()["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": KEY}, 200),
        ({"Authorization": f"bearer   {KEY}"}, 200),
        ({"x-api-key": "sk-ant-foreign", "authorization": f"Bearer {KEY}"}, 200),
        ({"x-api-key": KEY, "authorization": "Bearer sk-ant-foreign"}, 200),
        ({"x-api-key": "sk-ant-foreign"}, 401),
        ({}, 401),
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/gemini_official/v1/messages", "/gemini_official//v1/messages/"])
def test_the_key_is_in_either_header(gateway, path, headers, status):
    response = httpx.post(gateway.origin + path, json=HELLO, headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.json()["error"]["type"] == "authentication_error"
        assert "'x-api-key: <license key>'" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        ("GET", "/v1/messages", {}, 405, "invalid_request_error"),
        ("GET", "/v1/messages/unknown", VERSION, 404, "not_found_error"),
        ("GET", "/nowhere", VERSION, 404, "not_found_error"),
        ("POST", "/v1/messages/batches", BEARER, 404, "not_found_error"),
        ("GET", "/v1/messages/batches/b_1/results", BEARER, 404, "not_found_error"),
        ("GET", "/v1/files/file_1/content", {**BEARER, **VERSION}, 404, "not_found_error"),
        ("POST", "/v1/complete", BEARER, 404, "not_found_error"),
        ("GET", "/v1/models/gpt-9", {**BEARER, **VERSION}, 404, "not_found_error"),
        ("GET", "/v1/models", VERSION, 401, "authentication_error"),
        ("POST", "/v1/messages", BEARER, 400, "invalid_request_error"),
    ],
)
def test_errors_have_the_form_of_the_dialect(gateway, method, path, headers, status, kind):
    response = httpx.request(method, gateway.origin + path, headers={**headers, "origin": ORIGIN})
    assert response.status_code == status
    body = response.json()
    assert (body["type"], body["error"]["type"], set(body["error"])) == ("error", kind, {"type", "message"})
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["request-id"] == body.get("request_id")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "'user', 'assistant' or 'system' (at 'messages[0].role')"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "(at 'messages[0].content[0].type')"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
            "in messages of the role 'assistant' only (at 'messages[0].content[0]')",
        ),
        ({"output_config": {"format": {"type": "xml"}}}, "'output_config.format' must be of the type 'json_schema'"),
        ({"tool_choice": {"type": "some"}}, "'tool_choice' must be"),
        ({"tools": [{"name": "a b"}]}, "'tools[0].name' must consist of 1 to 128"),
        ({"tools": [{"name": "a" * 129}]}, "'tools[0].name' must consist of 1 to 128"),
        ({"thread": {"type": "create"}}, "'thread' is not supported"),
    ],
)
def test_a_field_that_is_wrong_is_named(http, change, words):
    response = http.post("/v1/messages", json={**HELLO, **change})
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]


def test_fields_of_other_versions_are_ignored(http):
    more = {"top_k": 5, "temperature": 2.5, "service_tier": "auto", "container": {"x": 1}, "mcp_servers": []}
    response = http.post("/v1/messages", json={**HELLO, **more}, headers={"anthropic-version": "2999-01-01"})
    assert response.json()["content"] == [{"type": "text", "text": "hello"}]
    assert "temperature, top_k, container." in response.headers["warning"]


@pytest.mark.parametrize(
    ("request_head", "status", "kind"),
    [
        ("Content-Length: 600000", 413, "request_too_large"),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", 400, "invalid_request_error"),
    ],
)
def test_what_the_server_refuses_itself_has_the_form_of_the_dialect(gateway, request_head, status, kind):
    host, port = gateway.origin.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 30) as connection:
        head = f"POST /v1/messages HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Connection: close\r\n{request_head}\r\n\r\n"
        connection.sendall(head.encode())
        received = b""
        while data := connection.recv(65536):
            received += data
    answer, _, body = received.partition(b"\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(body)["error"]["type"] == kind


def test_the_list_of_models_has_the_form_that_the_header_asks_for(http, gateway):
    page = http.get("/v1/models?limit=1000").json()
    assert (page["has_more"], page["first_id"], page["last_id"]) == (
        False,
        page["data"][0]["id"],
        page["data"][-1]["id"],
    )
    found = next(model for model in page["data"] if model["id"] == MODEL)
    assert found == {
        "type": "model",
        "id": MODEL,
        "display_name": "Gemini 3 Pro",
        "created_at": "2025-11-18T00:00:00Z",
        "lifecycle": "active",
    }
    assert http.get(f"/gemini_official/v1/models/{MODEL}/").json() == found
    other = httpx.get(f"{gateway.origin}/v1/models", headers=BEARER).json()
    assert other["object"] == "list"
    assert httpx.get(f"{gateway.origin}/v1/models/{MODEL}", headers=BEARER).json()["object"] == "model"


def test_the_list_of_models_comes_in_pages(http):
    models = [model["id"] for model in http.get("/v1/models").json()["data"]]

    def page(query):
        found = http.get(f"/v1/models?{query}").json()
        ids = [model["id"] for model in found["data"]]
        assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        return ids, found["has_more"]

    assert page("limit=3") == (models[:3], True)
    assert page(f"limit=3&after_id={models[2]}") == (models[3:6], True)
    assert page(f"limit=3&after_id={models[-4]}") == (models[-3:], False)
    assert page(f"after_id={models[-1]}") == ([], False)
    assert page(f"limit=2&before_id={models[4]}") == (models[2:4], True)
    assert page(f"before_id={models[4]}") == (models[:4], False)
    for query, name in (
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("after_id=x", "after_id"),
    ):
        refused = http.get(f"/v1/models?{query}")
        assert (refused.status_code, f"'{name}' must be" in refused.text) == (400, True)


def test_a_browser_may_send_the_headers_of_every_client(gateway):
    asked = (
        "authorization, content-type, x-stainless-lang, x-stainless-helper-method, x-api-key, anthropic-version, "
        "anthropic-beta, anthropic-dangerous-direct-browser-access, x-goog-api-key, x-goog-api-client"
    )
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    response = httpx.options(f"{gateway.origin}/v1/messages", headers=preflight)
    assert response.status_code == 200
    allowed = response.headers["access-control-allow-headers"].split(", ")
    assert {name.strip() for name in asked.split(",")} <= set(allowed)


def test_a_ping_keeps_a_silent_stream_alive(http):
    content = '<sim delay="0.7" tokens-per-second="2"/><echo>one two three</echo>'
    body = {**HELLO, "stream": True, "messages": [{"role": "user", "content": content}]}
    with http.stream("POST", "/v1/messages", json=body) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        events = events_of(response.read().decode())
    assert events[0] == {"type": "ping"}
    started = [event["type"] for event in events].index("message_start")
    assert {"type": "ping"} in events[started:]
    assert events[-1] == {"type": "message_stop"}


def test_an_error_in_a_stream_is_an_event(http):
    body = {**HELLO, "stream": True, "messages": [{"role": "user", "content": '<sim garbage-after="2" length="99"/>'}]}
    *_, last = events_of(http.post("/v1/messages", json=body).text)
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
