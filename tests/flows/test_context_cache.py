"""Caches of what requests begin with, in the counts of each dialect, through a gateway with a paid key."""

import re

import httpx2 as httpx
import pytest

from tests.conftest import BASE_SETTINGS, KEY, Gateway

SETTINGS = """
[transports.api]
base_url = "{url}"
[transports.api.context_cache]
after = 2
min_tokens = 1024
[[transports.api.accounts]]
id = "paid"
key = "AIzaSimulatedPaid-0"
tier = "paid"
"""
MODEL = "gemini-3.6-flash"
SYSTEM = "These are the rules of a very long game. " * 300
TOKENS, ASKED = len(SYSTEM) // 4, 4


@pytest.fixture(scope="module")
def client(official_api, tmp_path_factory):
    process = Gateway(
        tmp_path_factory.mktemp("gateway"), BASE_SETTINGS.format(key=KEY) + SETTINGS.format(url=official_api.url)
    )
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=f"{process.origin}/gemini_official", headers=headers) as client:
        warm(client)
        yield client
    process.stop()


def warm(client):
    """Ask until the beginning is cached."""
    for _ in range(200):
        assert client.post("/v1/chat/completions", json=chat("<echo>hello</echo>")).status_code == 200
        if used(client):
            return
    raise AssertionError("it is not cached")


def used(client):
    """Return how often a cache was used."""
    metrics = client.get(client.base_url.copy_with(path="/metrics")).text
    found = re.search(r'gateway_context_cache_events_total{outcome="used",transport="api"} (\S+)', metrics)
    return float(found[1]) if found else 0


def chat(words):
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": words}]
    return {"model": MODEL, "messages": messages}


def answered(client, path, body):
    before = used(client)
    answer = client.post(path, json=body)
    assert (answer.status_code, used(client)) == (200, before + 1), answer.text
    return answer.json()


def test_chat_completions(client):
    usage = answered(client, "/v1/chat/completions", chat("<echo>hi</echo>"))["usage"]
    assert (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]) == (TOKENS + ASKED, TOKENS)


def test_responses(client):
    body = {"model": MODEL, "instructions": SYSTEM, "input": "<echo>hi</echo>"}
    usage = answered(client, "/v1/responses", body)["usage"]
    assert (usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]) == (TOKENS + ASKED, TOKENS)


def test_messages(client):
    body = {
        "model": MODEL,
        "max_tokens": 100,
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "<echo>hi</echo>"}],
    }
    usage = answered(client, "/v1/messages", body)["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (ASKED, TOKENS)


def test_generate_content(client):
    body = {
        "systemInstruction": {"parts": [{"text": SYSTEM}]},
        "contents": [{"role": "user", "parts": [{"text": "<echo>hi</echo>"}]}],
    }
    usage = answered(client, f"/v1beta/models/{MODEL}:generateContent", body)["usageMetadata"]
    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (TOKENS + ASKED, TOKENS)
