"""A dialect costs one folder and one line in `service/wiring.py`: the toy shows it, over a real socket."""

import json

import httpx2 as httpx
import pytest

from tests.architecture.conftest import TOYS, tokens
from tests.conftest import BASE_SETTINGS, KEY, SETTINGS

ONLY_IMAGES = "sk-test-only-images-0123"
LICENSES = f"""
[[licenses]]
id = "painter"
key = "{ONLY_IMAGES}"
features = ["images"]
"""
SLOW = "[transports.simulator.pace]\nfirst_token_seconds = 0.0\ntokens_per_second = 5.0\n"
FAST = SETTINGS.format(key=KEY)
HELLO = {"model": "gemini-3-pro", "question": "<echo>hello from a toy</echo>"}


@pytest.fixture(scope="module")
def toy(extended):
    extended.add_package("protocol/toy", TOYS / "dialect.py")
    extended.add_line("service/wiring.py", '    _dialect("openai"),', '    _dialect("toy"),')
    return extended


@pytest.fixture(scope="module")
def gateway(toy):
    return toy.start(FAST + LICENSES)


@pytest.fixture
def client(gateway):
    with httpx.Client(base_url=gateway.origin, headers={"x-api-key": KEY}, timeout=30) as opened:
        yield opened


def test_a_whole_answer_is_written_and_counted(client, gateway):
    before = tokens(gateway)
    response = client.post("/toy/answers", json=HELLO)
    assert response.status_code == 200
    assert response.json()["answer"] == "hello from a toy"
    assert response.headers["x-request-id"].startswith("req_")
    after = tokens(gateway)
    assert after["output"] - before.get("output", 0) == response.json()["tokens"] > 0
    assert after["input"] > before.get("input", 0)


def test_a_streamed_answer_is_written_and_counted(client, gateway):
    before = tokens(gateway)
    with client.stream("POST", "/gemini_official/toy/answers", json={**HELLO, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line]
    assert events[0] == {"begin": True}
    assert "".join(event.get("more", "") for event in events) == "hello from a toy"
    assert events[-1] == {"end": "stop"}
    assert tokens(gateway)["output"] > before.get("output", 0)


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "sk-wrong-0123456789"}, {"authorization": f"Bearer {KEY}"}])
def test_a_request_without_a_valid_key_is_refused_in_the_dialect(gateway, headers):
    response = httpx.post(f"{gateway.origin}/toy/answers", json=HELLO, headers=headers)
    assert response.status_code == 401
    assert set(response.json()) == {"problem", "advice"}
    assert response.json()["problem"] == "invalid_api_key"
    assert "'x-api-key: <license key>'" in response.json()["advice"]


def test_the_license_must_cover_the_model(gateway):
    response = httpx.post(f"{gateway.origin}/toy/answers", json=HELLO, headers={"x-api-key": ONLY_IMAGES})
    assert (response.status_code, response.json()["problem"]) == (403, "license_required")


@pytest.mark.parametrize(
    ("change", "status", "problem"),
    [({"model": "gemini-0"}, 404, "model_not_found"), ({"question": 5}, 400, "invalid_value")],
)
def test_an_error_of_the_request_is_written_in_the_form_of_the_dialect(client, change, status, problem):
    response = client.post("/toy/answers", json={**HELLO, **change})
    assert (response.status_code, response.json()["problem"]) == (status, problem)


def test_errors_of_middleware_are_written_in_the_form_of_the_dialect(client):
    response = client.get("/toy/answers")
    assert (response.status_code, response.json()["problem"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "OPTIONS, POST"


def test_the_other_dialect_is_unaffected(client):
    response = client.post("/v1/chat/completions", json={}, headers={"authorization": "Bearer wrong"})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_client_that_disconnects_ends_its_answer(toy):
    gateway = toy.start(BASE_SETTINGS.format(key=KEY) + SLOW)
    question = {**HELLO, "question": f"<echo>{'many words ' * 200}</echo>", "stream": True}
    headers = {"x-api-key": KEY}
    with httpx.stream("POST", f"{gateway.origin}/toy/answers", json=question, headers=headers) as response:
        lines = response.iter_lines()
        while '"more"' not in next(lines):
            pass
    line = json.loads(gateway.wait_for('"client_closed_request"'))
    assert (line["route"], line["status"], line["license"]) == ("/toy/answers", 499, "tester")
