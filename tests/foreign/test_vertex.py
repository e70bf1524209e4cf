"""Vertex AI: google-genai, unmodified, against the simulator, and the openai SDK against a gateway in front of it."""

import json
import re
import subprocess
from pathlib import Path

import httpx2 as httpx
import openai
import pytest

from tests.conftest import BASE_SETTINGS, KEY, ROOT, Gateway, Site

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
SCRIPT = Path(__file__).with_name("vertex_steps.py")
STEPS = re.findall(r"(?m)^def step_(\w+)", SCRIPT.read_text())
SECONDS = 120
MODEL = "gemini-3.6-flash"
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}]
CALLS = '<call name="get_weather">{"city": "Rome"}</call><call name="get_weather">{"city": "Oslo"}</call>'


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A simulated Google Cloud with a service account."""
    folder = tmp_path_factory.mktemp("cloud")
    process = Site(folder, "--first-token-seconds", "0", "--service-account", "account.json")
    process.file = folder / "account.json"
    yield process
    process.stop()


@pytest.fixture(scope="module")
def gateway(cloud, tmp_path_factory):
    """A gateway over Vertex AI, with an account that serves and one whose service account does not exist."""
    folder = tmp_path_factory.mktemp("gateway")
    gone = json.loads(cloud.file.read_text()) | {"client_email": "gone@simulated-project.iam.gserviceaccount.com"}
    (folder / "gone.json").write_text(json.dumps(gone))
    settings = f"""
[transports.vertex]
base_url = "{cloud.url}"
labels = {{ team = "search" }}
[[transports.vertex.accounts]]
id = "cloud"
credentials_file = "{cloud.file}"
location = "europe-west4"
[[transports.vertex.accounts]]
id = "gone"
credentials_file = "{folder / "gone.json"}"
"""
    process = Gateway(folder, BASE_SETTINGS.format(key=KEY) + settings)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def suite(cloud):
    """Run the SDK's whole suite once, in its own venv; return the error of each step."""
    command = [PYTHON, "-I", SCRIPT, cloud.url, cloud.file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    lines = map(json.loads, done.stdout.splitlines())
    return {line["step"]: line["error"] for line in lines} or done.stderr


def seen(cloud):
    return httpx.get(f"{cloud.url}/simulator/state").json()["seen"]


def asked(client, *messages, **fields):
    return client.chat.completions.create(model=MODEL, messages=list(messages), **fields)


def user(content):
    return {"role": "user", "content": content}


@pytest.mark.parametrize("step", STEPS)
def test_the_sdk_completes_the_step(suite, step):
    assert step in suite, suite
    assert suite[step] is None, suite[step]


def test_a_chat_is_answered_with_exact_counts(client):
    answer = asked(client, user("<echo>hello</echo>"))
    assert answer.choices[0].message.content == "hello"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (5, 2)


def test_a_stream_has_thoughts_and_text(client):
    chunks = list(asked(client, user('<sim length="300" thoughts="Hm."/>'), stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm."
    assert len("".join(delta.content or "" for delta in deltas)) == 300


def test_results_in_any_order_reach_the_model_in_that_of_the_calls(client):
    messages = [user(CALLS)]
    choice = asked(client, *messages, tools=TOOLS).choices[0]
    messages.append(choice.message.model_dump(exclude_none=True))
    results = {call.id: json.loads(call.function.arguments)["city"] for call in choice.message.tool_calls}
    messages += [{"role": "tool", "tool_call_id": id_, "content": city} for id_, city in reversed(results.items())]
    text = asked(client, *messages, tools=TOOLS).choices[0].message.content
    assert 0 < text.index("Rome") < text.index("Oslo")


def test_a_picture_is_drawn(client):
    made = client.images.generate(model="gemini-3-pro-imagen", prompt="a cat", size="1024x1024").data[0]
    assert made.b64_json


def test_embeddings_are_computed(client):
    texts = ["waves of the sea", "waves", "taxes"]
    made = client.embeddings.create(model="gemini-embedding-2", input=texts, dimensions=64)
    assert [len(one.embedding) for one in made.data] == [64, 64, 64]
    assert made.usage.prompt_tokens > 0


def test_a_refused_service_account_needs_attention(client, gateway):
    asked(client, user("hi"))
    line = json.loads(gateway.wait_for("account_attention_required"))
    assert (line["account"], line["reason"]) == ("gone", "service_account_gone")
    served = [json.loads(line) for line in gateway.text().splitlines() if '"request_finished"' in line]
    assert {line["account"] for line in served} == {"cloud"}


def test_many_requests_use_one_token(client, cloud):
    before = seen(cloud)["vertex_token"]
    for _ in range(3):
        asked(client, user("hi"))
    assert seen(cloud)["vertex_token"] == before


def test_no_secret_is_ever_logged(gateway, cloud):
    key = json.loads(cloud.file.read_text())["private_key"].splitlines()[1]
    assert key not in gateway.text()
    assert "ya29." not in gateway.text()
