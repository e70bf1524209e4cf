"""google-genai, Google's official SDK, unmodified, against a gateway over the simulated site: each step is a test."""

import json
import re
import subprocess
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.conftest import KEY, ROOT, SETTINGS, Gateway

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
"""`make test` installs it."""

SCRIPT = Path(__file__).with_name("genai_steps.py")
STEPS = re.findall(r"(?m)^(?:async )?def step_(\w+)", SCRIPT.read_text())
SECONDS = 120
HEARTBEATS = "\n[limits]\nheartbeat_seconds = 0.2\n[transports.simulator]\npoll_seconds = 0.5\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    started = Gateway(tmp_path_factory.mktemp("genai"), SETTINGS.format(key=KEY) + HEARTBEATS)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def suite(gateway):
    """Run the SDK's whole suite once, in its own venv; return the error of each step."""
    address = gateway.base_url.removesuffix("/v1")
    command = [PYTHON, "-I", SCRIPT, address, gateway.key]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    lines = map(json.loads, done.stdout.splitlines())
    return {line["step"]: line["error"] for line in lines} or done.stderr


@pytest.mark.parametrize("step", STEPS)
def test_the_sdk_completes_the_step(suite, step):
    assert step in suite, suite
    assert suite[step] is None, suite[step]


def ask(gateway, path, **options):
    return httpx.post(f"{gateway.base_url.removesuffix('v1')}{path}", **options)


def test_a_stream_without_sse_is_one_json_array(gateway):
    path = "v1beta/models/gemini-3-pro:streamGenerateContent"
    body = {"contents": "<echo>words that take several chunks</echo>"}
    response = ask(gateway, path, params={"key": gateway.key}, json=body)
    assert response.headers["content-type"] == "application/json"
    chunks = response.json()
    texts = [part["text"] for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    assert "".join(texts) == body["contents"][6:-7]
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks][-2:] == [None, "STOP"]


@pytest.mark.parametrize("query", ["alt=sse", "$alt=sse", "%24alt=SSE&prettyPrint=false", "alt=sse&key="])
def test_a_stream_is_sse_where_the_query_asks_for_it(gateway, query):
    path = f"v1beta/models/gemini-3-pro:streamGenerateContent?{query}"
    response = ask(gateway, path, headers={"x-goog-api-key": gateway.key}, json={"contents": "<echo>hi</echo>"})
    assert response.headers["content-type"] == "text/event-stream"
    assert all(event.startswith("data: {") for event in response.text.removesuffix("\r\n\r\n").split("\r\n\r\n"))


@pytest.mark.parametrize(
    ("method", "path", "status", "advice"),
    [
        ("POST", "v1beta/models/imagen-4:predict", 404, "generationConfig.responseModalities"),
        ("POST", "v1/models/veo-3:predictLongRunning", 404, "'-video' model"),
        ("POST", "v1beta/models/gemini-3-pro:batchGenerateContent", 404, "one request for each answer"),
        ("POST", "v1beta/models/gemini-3-pro:think", 404, "':think': use ':generateContent'"),
        ("GET", "v1beta/tunedModels", 404, "'/tunedModels': use '/models'"),
        ("POST", "v1/cachedContents", 404, "'/cachedContents': send the contents"),
        ("GET", "v1alpha/models/gemini-3-pro/operations/x", 404, ""),
        ("POST", "v1beta1/projects/p/locations/l/publishers/google/models/m:generateContent", 404, "without Vertex AI"),
        ("GET", "ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", 404, "Live API"),
        ("POST", "v1beta/nothing", 404, "base URL of Google's SDKs ends before the version"),
        ("POST", "v1/nothing", 404, "base URL of Google's SDKs ends before the version"),
        ("PUT", "v1beta/models", 405, "use GET, HEAD, OPTIONS"),
        ("DELETE", "v1beta/models/gemini-3-pro", 405, "use GET, HEAD, OPTIONS"),
    ],
)
def test_missing_paths_are_refused_by_name(gateway, method, path, status, advice):
    address = f"{gateway.base_url.removesuffix('v1')}{path}"
    response = httpx.request(method, address, headers={"x-goog-api-key": gateway.key}, json={})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, status)
    assert advice in error["message"]
    assert "/chat/completions" not in error["message"]


def test_the_key_of_a_query_does_not_reach_the_log(gateway):
    ask(gateway, "v1beta/models/gemini-0:generateContent", params={"key": gateway.key}, json={"contents": "x"})
    ask(gateway, "v1beta/models/gemini-3-pro:generateContent", params={"key": "sk-wrong-query-key"}, json={})
    gateway.wait_for('"status": 401')
    assert "sk-wrong-query-key" not in gateway.text()
    assert gateway.key not in gateway.text()


def test_each_api_gets_its_own_list_of_models(gateway):
    openai, google = {"authorization": f"Bearer {gateway.key}"}, {"x-goog-api-key": gateway.key}
    for headers, field in ((openai, "data"), (google, "models")):
        for path in ("models", "v1/models/"):
            listed = httpx.get(f"{gateway.origin}/{path}", headers=headers).json()
            assert len(listed[field]) > 5
    one = httpx.get(f"{gateway.base_url}/models/gemini-3-pro", headers=google).json()
    assert one["name"] == "models/gemini-3-pro"
