"""Client errors over a real socket, and the responses to them."""

import gzip
import json
import socket
import time
import zlib

import httpx2 as httpx
import pytest

from tests.conftest import BASE_SETTINGS, KEY, SETTINGS

AUTH = {"Authorization": f"Bearer {KEY}"}
HELLO = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>hi</echo>"}]}


@pytest.fixture
def http(gateway):
    with httpx.Client(base_url=gateway.base_url, headers=AUTH, timeout=90) as client:
        yield client


def error_of(response):
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["content-type"] == "application/json"
    return error


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"model": NaN}', "invalid_json", None),
        (b"\xef\xbb\xbf{", "invalid_json", None),
        (b'{"model": "\xff"}', "invalid_utf8", None),
        (b'{"tools": [' + b"[" * 100_000, "invalid_json", None),
        (b"null", "invalid_value", None),
        (b"[]", "invalid_value", None),
        (b"{}", "invalid_value", "model"),
        ({**HELLO, "model": 5}, "invalid_value", "model"),
        ({**HELLO, "messages": []}, "invalid_value", "messages"),
        ({**HELLO, "messages": "hi"}, "invalid_value", "messages"),
        ({**HELLO, "messages": [{"role": "user", "content": 5}]}, "invalid_value", "messages[0].content"),
        ({**HELLO, "messages": [{"role": "robot", "content": "x"}]}, "invalid_value", "messages[0].role"),
        ({**HELLO, "messages": [{"content": "x"}]}, "invalid_value", "messages[0].role"),
        (
            {**HELLO, "messages": [{"role": "user", "content": [{"type": "x"}]}]},
            "invalid_value",
            "messages[0].content[0].type",
        ),
        ({**HELLO, "messages": [{"role": "user", "content": ""}]}, "invalid_value", "messages"),
        (
            {**HELLO, "messages": [{"role": "user", "name": "a\nb", "content": "x"}]},
            "invalid_value",
            "messages[0].name",
        ),
        ({**HELLO, "max_tokens": -1}, "invalid_value", "max_tokens"),
        ({**HELLO, "n": 0}, "invalid_value", "n"),
        ({**HELLO, "stream": "yes"}, "invalid_value", "stream"),
        ({**HELLO, "stop": ["a"] * 5}, "invalid_value", "stop"),
        ({**HELLO, "n": 9}, "invalid_value", "n"),
        ({**HELLO, "tools": [{"type": "custom", "custom": {"name": "f"}}]}, "unsupported_parameter", "tools[0].type"),
        ({**HELLO, "tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({**HELLO, "functions": [{"name": "a b"}]}, "invalid_value", "functions[0].name"),
        ({**HELLO, "response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
        ({**HELLO, "modalities": ["text", "audio"]}, "unsupported_parameter", "modalities"),
    ],
    ids=lambda value: None if isinstance(value, dict | bytes) else str(value),
)
def test_bad_bodies_are_400_and_name_the_field(http, body, code, param):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = http.post("/chat/completions", content=content)
    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("kind", "field"), [("image_url", "url"), ("input_audio", "data"), ("file", "file_data")])
def test_unsupported_files_are_named_by_their_path(http, kind, field):
    content = [{"type": "text", "text": "x"}, {"type": kind, kind: {"url": "data:image/png;base64,x", "format": "wav"}}]
    response = http.post("/chat/completions", json={**HELLO, "messages": [{"role": "user", "content": content}]})
    assert response.status_code == 400
    error = error_of(response)
    assert error["param"] == f"messages[0].content[1].{kind}.{field}"
    assert "messages[0].content[1]" in error["message"]


def test_a_url_is_refused_without_a_lookup_if_fetching_is_off(http):
    content = [{"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}]
    response = http.post("/chat/completions", json={**HELLO, "messages": [{"role": "user", "content": content}]})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "image_url_not_allowed")
    assert error["param"] == "messages[0].content[0].image_url.url"


def test_a_guest_model_error_names_models_that_accept_attached_files(http):
    content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]
    asked = {"model": "gemini-2.5-flash-free", "messages": [{"role": "user", "content": content}]}
    response = http.post("/chat/completions", json=asked)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "unsupported_content_part")
    assert "gemini-3-pro" in error["message"]


def test_models_list_their_input_types(http):
    taken = {model["id"]: model["input_modalities"] for model in http.get("/models").json()["data"]}
    assert taken["gemini-2.5-flash-free"] == ["text"]
    assert taken["gemini-3-pro"] == ["text", "image", "file", "audio", "video"]


def test_harmless_and_unknown_fields_are_ignored(http):
    extra = {"temperature": 0.2, "seed": 7, "user": "u", "x-unknown": {"a": [1]}, "metadata": {}, "tools": [], "n": 1}
    response = http.post("/chat/completions", json={**HELLO, **extra, "response_format": {"type": "text"}})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gpt-2", ["gemini-3-pro"]),
        ("gemini-2.5-flash-video", ["gemini-2.5-flash", "imagen", "canvas", "deepsearch", "storybook"]),
        ("gemini-3-pro-imagen-video", ["one of"]),
        ("gemini-3-pro-\r\nX: y\u2028\x1b[31m" + "z" * 70_000, []),
    ],
)
def test_an_unknown_model_is_404_and_names_valid_ones(http, name, words):
    response = http.post("/chat/completions", json={**HELLO, "model": name})
    assert response.status_code == 404
    error = error_of(response)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert all(word in error["message"] for word in words)
    assert len(error["message"]) < 400
    assert error["message"].isprintable()


GUEST_ONLY = """
[transports.web.hosts]
site = "{url}"
accounts = "{url}"
upload = "{url}"
"""


def test_without_an_account_only_a_guests_model_is_offered(start_command, start_gateway):
    site = start_command("simulate", "--port", "0", "--tokens-per-second", "0", "--first-token-seconds", "0")
    url = site.wait_for("Base URL").rpartition(" ")[2].strip()
    gateway = start_gateway(BASE_SETTINGS.format(key=KEY) + GUEST_ONLY.format(url=url))
    with httpx.Client(base_url=gateway.base_url, headers=AUTH, timeout=90) as http:
        for model in ("gemini-3-pro", "gemini-3-pro-video", "gemini-2.5-flash-free-imagen"):
            response = http.post("/chat/completions", json={**HELLO, "model": model})
            error = error_of(response)
            assert (response.status_code, error["code"], error["param"]) == (400, "unsupported_value", "model")
            assert model in error["message"]
            assert "no upstream" in error["message"]
            assert ("a paid key of the Gemini API, or an account" in error["message"]) == model.endswith("-video")
        assert http.post("/chat/completions", json={**HELLO, "model": "gemini-2.5-flash-free"}).status_code == 200
        available = [model["id"] for model in http.get("/models").json()["data"] if model["available"]]
    assert available == ["gemini-2.5-flash-free", "gemini-2.5-flash-free-extended"]


def test_an_overlong_conversation_is_a_400(http):
    body = {**HELLO, "messages": [{"role": "user", "content": "x" * 140_000}]}
    response = http.post("/chat/completions", json=body)
    assert response.status_code == 400
    assert error_of(response)["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/gemini_official/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("DELETE", "/v1/models/gemini-3-pro", 405, "method_not_allowed"),
        ("GET", "/v1/audio/transcriptions", 405, "method_not_allowed"),
        ("DELETE", "/v1/files", 405, "method_not_allowed"),
        ("POST", "/v1/files/file-1", 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/v1/embeddings", 404, "not_found"),
    ],
)
def test_wrong_methods_and_paths_are_refused(gateway, method, path, status, code):
    response = httpx.request(method, gateway.origin + path, headers=AUTH)
    assert response.status_code == status
    assert error_of(response)["code"] == code


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer short"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": "Bearer " + "k" * 10_000},
        {"Authorization": "Bearer ключ-ключ-ключ".encode()},
        [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")],
    ],
    ids=range(9),
)
@pytest.mark.parametrize("path", ["/v1/models", "/gemini_official/v1/models/gemini-3-pro", "/v1/chat/completions"])
def test_an_invalid_license_is_401_with_the_same_message_on_every_route(gateway, headers, path):
    method = "POST" if "chat" in path else "GET"
    response = httpx.request(method, gateway.origin + path, headers=headers, content=b"x" if method == "POST" else None)
    assert response.status_code == 401
    error = error_of(response)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert error == error_of(httpx.get(f"{gateway.origin}/v1/models"))


def test_the_bearer_scheme_is_case_insensitive(gateway):
    assert httpx.get(f"{gateway.base_url}/models", headers={"Authorization": f"bearer {KEY}"}).status_code == 200


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_is_decoded(http, coding, pack):
    response = http.post(
        "/chat/completions", content=pack(json.dumps(HELLO).encode()), headers={"Content-Encoding": coding}
    )
    assert response.status_code == 200


def test_an_unknown_coding_is_415_and_names_those_that_are_known(http):
    response = http.post("/chat/completions", content=b"x", headers={"Content-Encoding": "compress"})
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert error_of(response)["code"] == "unsupported_media_type"


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_cap_is_413(start_gateway, declared):
    gateway = start_gateway(SETTINGS.format(key=KEY) + "[limits]\nbody_bytes = 10000\n")

    def pieces():
        yield from [b"x" * 1000] * 20

    content = b"x" * 20_000 if declared else pieces()
    response = httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, content=content)
    assert response.status_code == 413
    assert error_of(response)["code"] == "request_too_large"
    fits = {**HELLO, "messages": [{"role": "user", "content": "<echo>" + "y" * 9000 + "</echo>"}]}
    assert httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json=fits).status_code == 200


HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


def raw(gateway, data, timeout=20):
    """Send bytes as they are; return all that comes back until the server closes."""
    host, port = gateway.origin.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def test_a_body_that_does_not_arrive_is_408(start_gateway):
    gateway = start_gateway(SETTINGS.format(key=KEY) + "[limits]\nbody_timeout_seconds = 0.3\n")
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 100\r\n\r\n{{"
    )
    answer = raw(gateway, head.encode())
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


EXPECTING = f"{HEAD}Authorization: Bearer {KEY}\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [(EXPECTING, b"413"), (EXPECTING.replace(KEY, "another-key"), b"401")],
    ids=["too-large", "no-license"],
)
def test_a_declared_body_that_is_not_read_closes_the_connection(gateway, head, status):
    answer = raw(gateway, head.encode()).removeprefix(b"HTTP/1.1 100 \r\n")
    head, _, _ = answer[answer.index(b"HTTP/1.1 " + status) :].partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower().split(b"\r\n")


ORIGIN = {"Origin": "https://chat.example"}
PREFLIGHT = {
    **ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-stainless-lang",
    "Access-Control-Request-Private-Network": "true",
}


def test_cors_is_off_by_default(gateway):
    response = httpx.get(f"{gateway.base_url}/models", headers=AUTH | ORIGIN)
    assert "access-control-allow-origin" not in response.headers
    assert httpx.options(f"{gateway.base_url}/models", headers=PREFLIGHT).status_code == 405


@pytest.mark.parametrize(("allowed", "answer"), [("https://chat.example", "https://chat.example"), ("*", "*")])
def test_cors_allows_the_origins_of_the_settings(start_gateway, allowed, answer):
    text = SETTINGS.format(key=KEY).replace("port = 0", f'port = 0\ncors_origins = ["{allowed}"]')
    gateway = start_gateway(text)
    url = f"{gateway.base_url}/chat/completions"
    preflight = httpx.options(url, headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-stainless-lang" in preflight.headers["access-control-allow-headers"]
    assert preflight.headers["access-control-allow-private-network"] == "true"
    with httpx.stream("POST", url, headers=AUTH | ORIGIN, json={**HELLO, "stream": True}) as streamed:
        assert [line for line in streamed.iter_lines() if line][-1] == "data: [DONE]"
    refused = httpx.post(url, headers=ORIGIN, json=HELLO)
    wrong = httpx.post(url, headers=AUTH | ORIGIN, content=b"{")
    assert [response.status_code for response in (streamed, refused, wrong)] == [200, 401, 400]
    for response in (preflight, streamed, refused, wrong):
        assert response.headers["access-control-allow-origin"] == answer
        assert response.headers["x-request-id"].startswith("req_")
    for response in (streamed, refused, wrong):
        assert "x-request-id" in response.headers["access-control-expose-headers"]
    stranger = httpx.post(url, headers={**AUTH, "Origin": "https://evil.example"}, json=HELLO)
    assert stranger.headers.get("access-control-allow-origin") == ("*" if allowed == "*" else None)


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_token_limit_ends_the_answer_with_its_finish_reason(http, field):
    body = {**HELLO, "messages": [{"role": "user", "content": "<echo>" + "word " * 200 + "</echo>"}], field: 5}
    whole = http.post("/chat/completions", json=body).json()
    choice, cut = whole["choices"][0], "word " * 4 + "wor"
    assert (choice["message"]["content"], choice["finish_reason"]) == (cut, "length")
    assert whole["usage"]["completion_tokens"] == 5
    lines = http.post("/chat/completions", json={**body, "stream": True}).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert (said, chunks[-1]["choices"][0]["finish_reason"]) == (cut, "length")


def test_a_stream_has_the_headers_that_proxies_want_and_ends_with_done(http):
    with http.stream("POST", "/chat/completions", json={**HELLO, "stream": True}) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-request-id"].startswith("req_")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)


def test_comments_keep_an_idle_stream_alive_before_and_between_events(start_gateway):
    gateway = start_gateway(SETTINGS.format(key=KEY) + "[limits]\nheartbeat_seconds = 0.2\n")
    content = '<sim delay="0.7" tokens-per-second="2"/><echo>one two three four</echo>'
    body = {**HELLO, "stream": True, "messages": [{"role": "user", "content": content}]}
    with httpx.stream("POST", f"{gateway.base_url}/chat/completions", headers=AUTH, json=body, timeout=90) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line]
    assert lines[0] == ": keep-alive"
    first = next(index for index, line in enumerate(lines) if line.startswith("data: "))
    assert ": keep-alive" in lines[first:]
    assert lines[-1] == "data: [DONE]"


def test_an_error_after_a_heartbeat_is_in_the_stream(start_gateway):
    gateway = start_gateway(SETTINGS.format(key=KEY) + "[limits]\nheartbeat_seconds = 0.2\n")
    body = {**HELLO, "stream": True, "messages": [{"role": "user", "content": '<sim delay="0.7" error="1037"/>'}]}
    with httpx.stream("POST", f"{gateway.base_url}/chat/completions", headers=AUTH, json=body, timeout=90) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line]
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "upstream_quota_exhausted"
    assert "data: [DONE]" not in lines


def test_the_deadline_is_a_504(start_gateway):
    gateway = start_gateway(SETTINGS.format(key=KEY) + "[deadlines]\nchat_seconds = 0.5\n")
    body = {**HELLO, "messages": [{"role": "user", "content": '<sim delay="20"/>'}]}
    response = httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json=body, timeout=90)
    assert response.status_code == 504
    assert error_of(response)["code"] == "upstream_timeout"
    body = {
        **HELLO,
        "stream": True,
        "messages": [{"role": "user", "content": '<sim stall-after="1"/><echo>a b</echo>'}],
    }
    with httpx.stream("POST", f"{gateway.base_url}/chat/completions", headers=AUTH, json=body, timeout=90) as streamed:
        lines = [line for line in streamed.iter_lines() if line]
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "upstream_timeout"


def metric(gateway, line):
    found = [row for row in httpx.get(f"{gateway.origin}/metrics").text.splitlines() if row.startswith(line + " ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def eventually(check):
    until = time.monotonic() + 90
    while not check():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_disconnects_frees_lease_and_upstream_at_once(start_gateway, stream):
    gateway = start_gateway()
    content = '<sim stall-after="2" frames="6"/><echo>some words and then nothing for hours</echo>'
    body = json.dumps({**HELLO, "stream": stream, "messages": [{"role": "user", "content": content}]}).encode()
    head = f"{HEAD}Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    host, port = gateway.origin.removeprefix("http://").split(":")
    leases = 'gateway_upstream_requests_in_flight{transport="simulator"}'
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + body)
        if stream:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        eventually(lambda: metric(gateway, leases) == 1.0)
    eventually(lambda: metric(gateway, leases) == 0.0)
    gateway.wait_for('"status": 499')
    assert metric(gateway, "gateway_requests_in_flight") == 1.0  # the request for the metrics itself


def test_metrics_count_requests_tokens_and_upstream_errors(start_gateway):
    gateway = start_gateway()
    httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json=HELLO)
    httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json={**HELLO, "stream": True})
    bad = {**HELLO, "messages": [{"role": "user", "content": '<sim error="1037"/>'}]}
    httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json=bad)
    httpx.get(f"{gateway.origin}/nowhere/{KEY}")
    labels = 'model="gemini-3-pro",route="/v1/chat/completions"'
    assert metric(gateway, f'gateway_requests_total{{{labels},status="200"}}') == 2
    assert metric(gateway, f'gateway_requests_total{{{labels},status="429"}}') == 1
    assert metric(gateway, 'gateway_requests_total{model="none",route="none",status="404"}') == 1
    tokens = 'direction="output",model="gemini-3-pro",transport="simulator",usage="estimate"'
    assert metric(gateway, f"gateway_tokens_total{{{tokens}}}") == 2
    assert metric(gateway, 'gateway_upstream_errors_total{kind="RateLimited",transport="simulator"}') == 1
    assert metric(gateway, 'gateway_upstream_requests_total{transport="simulator"}') == 3
    assert metric(gateway, 'gateway_time_to_first_token_seconds_count{model="gemini-3-pro"}') == 1
    assert KEY not in httpx.get(f"{gateway.origin}/metrics").text


def test_the_access_log_line_is_complete_and_holds_no_secret(start_gateway):
    gateway = start_gateway()
    response = httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json=HELLO)
    line = json.loads(gateway.wait_for(response.headers["x-request-id"]))
    assert line["route"] == "/v1/chat/completions"
    assert (line["license"], line["model"], line["status"]) == ("tester", "gemini-3-pro", 200)
    assert (line["transport"], line["account"]) == ("simulator", "simulator-1")
    assert line["first_token"] is None  # it has no first one: it comes whole
    assert (line["input_tokens"], line["output_tokens"], line["reasoning_tokens"]) == (5, 1, 0)
    assert KEY not in gateway.text()
    assert "<echo>" not in gateway.text()


def test_prompts_are_logged_only_when_switched_on(start_gateway):
    gateway = start_gateway(SETTINGS.format(key=KEY) + "[log]\nprompts = true\n")
    httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json=HELLO)
    assert json.loads(gateway.wait_for('"request": "req_'))["prompt"] == "<echo>hi</echo>"


def test_requests_beyond_the_concurrency_limit_are_503(start_gateway):
    gateway = start_gateway(SETTINGS.format(key=KEY) + "[limits]\nconcurrency = 1\n")
    stuck = {
        **HELLO,
        "stream": True,
        "messages": [{"role": "user", "content": '<sim stall-after="1"/><echo>a b</echo>'}],
    }
    with httpx.stream("POST", f"{gateway.base_url}/chat/completions", headers=AUTH, json=stuck):
        response = httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json=HELLO)
    assert response.status_code == 503
    assert error_of(response)["code"] == "overloaded"
    assert int(response.headers["retry-after"]) >= 1


def test_requests_beyond_the_limit_of_a_license_are_429_and_other_licenses_are_served(start_gateway):
    other = '[[licenses]]\nid = "other"\nkey = "sk-other-0123456789"\n'
    gateway = start_gateway(other + SETTINGS.format(key=KEY) + "[limits]\nconcurrency_per_license = 1\n")
    url = f"{gateway.base_url}/chat/completions"
    stuck = {
        **HELLO,
        "stream": True,
        "messages": [{"role": "user", "content": '<sim stall-after="1"/><echo>a b</echo>'}],
    }
    with httpx.stream("POST", url, headers=AUTH, json=stuck):
        refused = httpx.post(url, headers=AUTH, json=HELLO)
        others = httpx.post(url, headers={"Authorization": "Bearer sk-other-0123456789"}, json=HELLO)
    assert (refused.status_code, error_of(refused)["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    assert others.status_code == 200
