"""Each answer, chunk and error of the simulated API, judged by Google's own packages."""

import json
import subprocess

import httpx2
import pytest

from tests.conftest import ROOT
from transports.simulator import Pace, SimulatedKey, SimulatorConfig, create_site

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
FREE, PAID, FEW = "free-key-0", "paid-key-0", "few-key-00"
KEYS = (
    SimulatedKey(key=FREE),
    SimulatedKey(key=PAID, tier="paid"),
    SimulatedKey(key=FEW, per_minute=2, per_day=3),
)
MODEL, PICTURES = "gemini-3.6-flash", "gemini-3.1-flash-image"
TOOLS = {"tools": [{"functionDeclarations": [{"name": "f"}]}]}
CALLS = '<call name="f">{"a": 1}</call><call name="f">{}</call>'
THOUGHTS = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
JSON = {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {"type": "integer"}}}
ANSWERED = {
    "words": ("<echo>words</echo>", {}),
    "many words": ('<sim length="900" chunk="7"/>', {}),
    "thoughts": ('<sim thoughts="Hm."/>', THOUGHTS),
    "sources": ('<sim citations="3" text="Größe one. 😀 two."/>', {}),
    "code": ('<sim analysis="true"/>', {}),
    "addresses": ('<sim addresses="2"/>', {}),
    "calls": (CALLS, TOOLS),
    "a call that cannot be read": (CALLS + "<malformed-call/>", TOOLS),
    "json": ("?", JSON),
    "no words": ('<sim refuse="safety"/>', {}),
    "a blocked prompt": ('<sim refuse="prompt"/>', {}),
    "the most tokens": ("<echo>words that are cut</echo>", {"generationConfig": {"maxOutputTokens": 1}}),
    "three answers": ("<echo>words</echo>", {"generationConfig": {"candidateCount": 3}}),
}
REFUSED = {
    "no key": ("", MODEL, "?", 403),
    "a wrong key": ("wrong-key-0", MODEL, "?", 400),
    "an unknown model": (FREE, "gemini-0", "?", 404),
    "a retired model": (FREE, "gemini-2.0-flash", "?", 404),
    "a model of interactions": (FREE, "gemini-omni-1.2-flash", "?", 400),
    "a model for paid keys": (FREE, "gemini-3-pro-image", "?", 429),
    "a status": (FREE, MODEL, '<sim http="500"/>', 500),
    "a quota": (FREE, MODEL, '<sim http="429" retry-after="7"/>', 429),
    "an overloaded model": (FREE, MODEL, '<sim http="503"/>', 503),
    "an error": (FREE, MODEL, '<sim error="1037"/>', 503),
}


class Api:
    """Sends requests to a simulator in this process."""

    def __init__(self, clock):
        config = SimulatorConfig(api_keys=KEYS, pace=Pace(first_token_seconds=0, tokens_per_second=0))
        self.http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(create_site(config, clock)), base_url="http://api.test/v1beta/"
        )

    async def ask(self, prompt, fields=None, key=FREE, model=MODEL, verb="generateContent"):
        body = {"contents": [{"role": "user", "parts": [{"text": prompt}]}]} | (fields or {})
        return await self.http.post(f"models/{model}:{verb}", json=body, headers={"x-goog-api-key": key})

    async def get(self, path, key=FREE):
        return await self.http.get(path, headers={"x-goog-api-key": key})

    async def chunks(self, *words, **options):
        """Return the chunks of a stream; it must be the same as an array."""
        sent = await self.ask(*words, verb="streamGenerateContent?alt=sse", **options)
        assert sent.headers["content-type"] == "text/event-stream"
        events = sent.text.split("\r\n\r\n")
        assert events.pop() == ""
        array = await self.ask(*words, verb="streamGenerateContent", **options)
        assert len(array.json()) == len(events)
        return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.fixture
def api(clock):
    return Api(clock)


def judged(bodies):
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps(bodies), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(problem, body) for problem, (_, body) in zip(json.loads(done.stdout), bodies, strict=True) if problem]


@pytest.mark.anyio
async def test_google_s_packages_accept_every_answer_and_chunk(api):
    bodies = []
    for prompt, fields in ANSWERED.values():
        bodies += [("response", (await api.ask(prompt, fields)).json())]
        bodies += [("response", chunk) for chunk in await api.chunks(prompt, fields)]
    bodies.append(("response", (await api.ask("a cat", model=PICTURES)).json()))
    bodies.append(("models", (await api.get("models?pageSize=5")).json()))
    bodies.append(("model", (await api.get(f"models/{MODEL}")).json()))
    bodies.append(("count", (await api.ask("How long?", verb="countTokens")).json()))
    assert judged(bodies) == []


@pytest.mark.anyio
async def test_google_s_packages_accept_every_error(api):
    bodies = []
    for name, (key, model, prompt, status) in REFUSED.items():
        answer = await api.ask(prompt, key=key, model=model)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, status), name
        assert error.pop("status").isupper()
        bodies.append(("error", error))
    assert judged(bodies) == []


@pytest.mark.anyio
async def test_a_stream_says_what_a_whole_answer_says(api):
    for name, (prompt, fields) in ANSWERED.items():
        whole, chunks = (await api.ask(prompt, fields)).json(), await api.chunks(prompt, fields)
        assert text_of([whole]) == text_of(chunks), name
        assert chunks[-1]["usageMetadata"] == whole["usageMetadata"], name
        if "candidates" in whole:
            assert chunks[-1]["candidates"][0]["finishReason"] == whole["candidates"][0]["finishReason"]


def text_of(chunks):
    parts = [
        part
        for chunk in chunks
        for one in chunk.get("candidates", ())[:1]
        for part in one.get("content", {}).get("parts", ())
    ]
    return "".join(part.get("text", "") for part in parts), [
        part["functionCall"] for part in parts if "functionCall" in part
    ]


@pytest.mark.anyio
async def test_models_are_listed_in_pages(api):
    names, page, token = [], {}, ""
    while not names or token:
        page = (await api.get(f"models?pageSize=7&pageToken={token}")).json()
        names += [model["name"] for model in page["models"]]
        token = page.get("nextPageToken", "")
    assert names == [model["name"] for model in (await api.get("models")).json()["models"]]
    assert (await api.get("models?pageSize=x")).status_code == 400
    assert (await api.get("models", key="wrong-key-0")).status_code == 400


@pytest.mark.anyio
async def test_quotas_count_per_minute_and_per_day(api, clock):
    async def status():
        answer = await api.ask("?", key=FEW)
        quotas = [
            violation["quotaId"]
            for detail in answer.json().get("error", {}).get("details", ())
            for violation in detail.get("violations", ())
        ]
        return answer.status_code, quotas

    assert [await status(), await status()] == [(200, []), (200, [])]
    assert await status() == (429, ["GenerateRequestsPerMinutePerProjectPerModel-FreeTier"])
    assert (await api.ask("?", key=FEW, model="gemini-3.5-flash")).status_code == 200
    clock.advance(60)
    assert await status() == (200, [])
    assert await status() == (429, ["GenerateRequestsPerDayPerProjectPerModel-FreeTier"])


@pytest.mark.anyio
@pytest.mark.parametrize(("fault", "status"), [('http="500"', 500), ('error="1037"', 503), ('eof-after="0"', 200)])
async def test_a_fault_that_happens_once_happens_once(api, fault, status):
    prompt = f'<sim {fault} once="a"/>'
    first, second = [await api.ask(prompt, verb="streamGenerateContent?alt=sse") for _ in range(2)]
    assert (first.status_code, "finishReason" in first.text) == (status, False)
    assert (second.status_code, "finishReason" in second.text) == (200, True)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["eof-after", "garbage-after"])
async def test_an_answer_breaks_off(api, fault, stream):
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    answer = await api.ask(f'<sim length="900" {fault}="2"/>', verb=verb)
    assert answer.status_code == 200
    assert "finishReason" not in answer.text
    assert ("this is not JSON" in answer.text) is (fault == "garbage-after")


@pytest.mark.anyio
@pytest.mark.parametrize("tags", ['error="1037" after="2"', 'late-error="1037"'])
async def test_an_error_comes_within_a_stream(api, tags):
    *chunks, last = await api.chunks(f'<sim length="900" {tags}/>')
    assert last["error"]["status"] == "UNAVAILABLE"
    assert ("finishReason" in chunks[-1]["candidates"][0]) is ("late" in tags)


@pytest.mark.anyio
async def test_a_body_that_is_too_long_is_refused(api, monkeypatch):
    monkeypatch.setattr("transports.simulator.api.routes._MOST_BODY", 10)
    assert "exceeds the limit" in (await api.ask("?")).json()["error"]["message"]


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
async def test_every_version_has_the_api_and_its_form_of_errors(api, version):
    for path, status in (("models", 200), ("files", 200), ("cachedContents", 200), ("nothing/at/all", 404)):
        answer = await api.get(f"http://api.test/{version}/{path}")
        assert answer.status_code == status, path
    assert answer.json()["error"]["status"] == "NOT_FOUND"
    assert (await api.get(f"http://api.test/{version}/models?key={FREE}", key="")).status_code == 200
