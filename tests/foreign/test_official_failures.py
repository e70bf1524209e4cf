"""Errors of the official API in each dialect, as the official SDKs raise them: all statuses of gRPC, and quotas."""

import json
import subprocess
from pathlib import Path

import openai
import pytest

from tests.conftest import BASE_SETTINGS, KEY, ROOT, Gateway
from tests.scripted_upstream import ScriptedUpstream, chunk, whole

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
SCRIPT = Path(__file__).with_name("failure_steps.py")
SETTINGS = """
[transports.api]
base_url = "{url}"
[[transports.api.accounts]]
id = "one"
key = "AIzaScripted"
"""
MODEL, FINE = "gemini-3.6-flash", "@fine@"
SECONDS = 120
_TYPE = "type.googleapis.com/google.rpc."


def failed(code, status, *details):
    error = {"code": code, "message": "It went wrong.", "status": status, "details": list(details)}
    return [whole({"error": error}, code)]


def quota(quota_id, value="10"):
    violation = {"quotaMetric": "requests", "quotaId": quota_id, "quotaDimensions": {"model": "x"}, "quotaValue": value}
    return {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]}


def wait(delay):
    return {"@type": f"{_TYPE}RetryInfo", "retryDelay": delay}


PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
WRONG, BROKEN, LIMITED = 400, 502, 429
CASES = {
    "wrong": (failed(400, "INVALID_ARGUMENT"), WRONG),
    "precondition": (failed(400, "FAILED_PRECONDITION"), WRONG),
    "range": (failed(400, "OUT_OF_RANGE"), WRONG),
    "large": ([whole(b"<html>", 413, "text/html")], 413),
    "exists": (failed(409, "ALREADY_EXISTS"), BROKEN),
    "aborted": (failed(409, "ABORTED"), BROKEN),
    "cancelled": (failed(499, "CANCELLED"), BROKEN),
    "internal": (failed(500, "INTERNAL"), BROKEN),
    "unknown": (failed(500, "UNKNOWN"), BROKEN),
    "loss": (failed(500, "DATA_LOSS"), BROKEN),
    "unimplemented": (failed(501, "UNIMPLEMENTED"), BROKEN),
    "page": ([whole(b"<html>", 502, "text/html")], BROKEN),
    "moved": ([whole(b"", 302, "text/html")], BROKEN),
    "busy": (failed(503, "UNAVAILABLE"), 503),
    "late": (failed(504, "DEADLINE_EXCEEDED"), 504),
    "timeout": ([whole(b"", 408, "text/html")], 504),
}
"""Scripts by name, and the status of the gateway's answer."""
QUOTAS = {
    "minute": ("gemini-3.5-flash", failed(429, "RESOURCE_EXHAUSTED", quota(PER_MINUTE), wait("26.2s")), 26),
    "day": ("gemini-3.7-flash", failed(429, "RESOURCE_EXHAUSTED", quota(PER_DAY), wait("9s")), 60),
    "unnamed": ("gemini-3.1-pro", failed(429, "RESOURCE_EXHAUSTED"), 1),
}
"""Models, whose quotas are used up by these scripts, and the seconds that clients are told to wait at least."""
NEVER = failed(429, "RESOURCE_EXHAUSTED", quota(PER_DAY, "0"), wait("9s"))
CLASSES = {
    400: ("BadRequestError", "BadRequestError", "ClientError", 400, "INVALID_ARGUMENT"),
    413: ("APIStatusError", "ContentTooLargeError", "ClientError", 413, "INVALID_ARGUMENT"),
    429: ("RateLimitError", "RateLimitError", "ClientError", 429, "RESOURCE_EXHAUSTED"),
    502: ("InternalServerError", "InternalServerError", "ServerError", 500, "INTERNAL"),
    503: ("InternalServerError", "ServiceUnavailableError", "ServerError", 503, "UNAVAILABLE"),
    504: ("InternalServerError", "GatewayTimeoutError", "ServerError", 504, "DEADLINE_EXCEEDED"),
}
"""The classes of `openai`, `anthropic` and `google-genai`, and the code and status of Gemini's API."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    upstream = ScriptedUpstream()
    settings = BASE_SETTINGS.format(key=KEY) + SETTINGS.format(url=upstream.url)
    process = Gateway(tmp_path_factory.mktemp("failures"), settings)
    upstream.scripts |= {name: script for name, (script, _) in CASES.items()}
    upstream.scripts |= {name: script for name, (_, script, _) in QUOTAS.items()}
    upstream.scripts["never"] = NEVER
    upstream.scripts["fine"] = [whole(chunk("Good morning", "STOP"))]
    yield process
    process.stop()
    upstream.stop()


@pytest.fixture(scope="module")
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.origin}/v1", api_key=KEY, max_retries=0) as one:
        yield one


@pytest.fixture(scope="module")
def raised(gateway):
    """Return what the other SDKs raised, by script and dialect."""
    asked = [[f"@{name}@", MODEL] for name in CASES]
    command = [PYTHON, "-I", SCRIPT, gateway.origin, KEY]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=SECONDS, check=True)
    return json.loads(done.stdout)


def errors_of(client, name, model=MODEL):
    """Yield the errors of each way to ask."""
    chat = {"model": model, "messages": [{"role": "user", "content": f"@{name}@"}]}
    fine = {"model": MODEL, "messages": [{"role": "user", "content": FINE}]}
    for ask, fields in (
        (client.chat.completions.create, chat),
        (client.responses.create, {"model": model, "input": f"@{name}@"}),
    ):
        for stream in (False, True):
            for _ in range(3):  # so that the gateway goes on asking
                client.chat.completions.create(**fine)
            with pytest.raises(openai.APIStatusError) as found:
                ask(**fields, stream=stream)
            yield found.value


@pytest.mark.parametrize("name", CASES)
def test_each_status_is_an_error_of_the_openai_sdk(client, name):
    status = CASES[name][1]
    found = [(type(error).__name__, error.status_code) for error in errors_of(client, name)]
    assert found == [(CLASSES[status][0], status)] * 4


@pytest.mark.parametrize("name", CASES)
def test_each_status_is_an_error_of_the_other_sdks(raised, name):
    status = CASES[name][1]
    _, claude, gemini, code, word = CLASSES[status]
    found = raised[f"@{name}@"]
    assert found["messages"][:2] == found["messages_streamed"][:2] == [claude, status]
    assert found["contents"] == found["contents_streamed"] == [gemini, code, word]


@pytest.mark.parametrize("name", QUOTAS)
def test_a_quota_that_is_used_up_is_a_rate_limit_with_its_wait(client, name):
    model, _, seconds = QUOTAS[name]
    for error in errors_of(client, name, model):
        assert type(error) is openai.RateLimitError
        assert seconds <= int(error.response.headers["retry-after"]) <= 86400


def test_a_model_that_the_key_never_has_needs_the_operator(client):
    for error in errors_of(client, "never", "gemini-3.5-flash-lite"):
        assert (type(error), error.code) == (openai.InternalServerError, "no_account_available")
