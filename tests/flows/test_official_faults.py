"""A gateway over the official API whose streams break, stall, are left by their clients, or are many."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.conftest import API_KEYS, BASE_SETTINGS, KEY, Gateway

STREAMS = 100
MOST_PER_STREAM = 256 * 1024
SETTINGS = """
[transports.api]
base_url = "{url}"
timeouts = {{ first_frame = 2.0, between_frames = 2.0 }}
[[transports.api.accounts]]
id = "free"
key = "{key}"
concurrency = 200
"""
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
PLACE = "/gemini_official/v1/chat/completions"


@pytest.fixture(scope="module")
def gateway(official_api, tmp_path_factory):
    settings = BASE_SETTINGS.format(key=KEY) + SETTINGS.format(url=official_api.url, key=API_KEYS[0])
    process = Gateway(tmp_path_factory.mktemp("faults"), settings)
    yield process
    process.stop()


def asked(prompt, *, stream):
    message = {"role": "user", "content": prompt}
    return {"model": "gemini-3.6-flash", "stream": stream, "messages": [message]}


@contextmanager
def streaming(gateway, prompt):
    connection = http.client.HTTPConnection(urlsplit(gateway.origin).netloc, timeout=90)
    try:
        connection.request("POST", PLACE, json.dumps(asked(prompt, stream=True)), HEADERS)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        yield answer
    finally:
        connection.close()


def seen(official_api, name):
    return httpx2.get(f"{official_api.url}/simulator/state").json()["seen"].get(name, 0)


def open_files(gateway):
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def until(holds):
    """Wait until a condition holds."""
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


def text_of(lines):
    found = ""
    for line in lines:
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", ()):
                found += choice["delta"].get("content") or ""
    return found


@pytest.mark.parametrize(
    ("fault", "stream", "code"),
    [
        ("drop-after", True, "upstream_reset"),
        ("drop-after", False, "upstream_reset"),
        ("eof-after", True, "upstream_reset"),
        ("eof-after", False, "upstream_protocol_error"),
        ("garbage-after", True, "upstream_protocol_error"),
        ("garbage-after", False, "upstream_protocol_error"),
        ("stall-after", True, "upstream_stalled"),
        ("stall-after", False, "upstream_stalled"),
    ],
)
def test_each_fault_ends_the_answer_with_its_own_error(gateway, official_api, fault, stream, code):
    prompt = f'<sim length="900" {fault}="2"/>'
    if stream:
        with streaming(gateway, prompt) as answer:
            last = [line for line in answer.read().splitlines() if line.startswith(b"data: {")][-1]
        error = json.loads(last[6:])["error"]
    else:
        answer = httpx2.post(f"{gateway.origin}{PLACE}", json=asked(prompt, stream=False), headers=HEADERS)
        assert answer.status_code in (502, 504)
        error = answer.json()["error"]
    assert error["code"] == code
    assert until(lambda: seen(official_api, "streams_open") == 0)


def test_pieces_of_any_size_make_the_same_answer(gateway):
    for size in (1, 7, 100):
        with streaming(gateway, f'<sim chunk="{size}"/><echo>Grüße 你好 😀</echo>') as answer:
            assert text_of(answer.read().splitlines()) == "Grüße 你好 😀"


def test_the_upstream_is_left_when_the_client_leaves(gateway, official_api):
    left = seen(official_api, "streams_left")
    with streaming(gateway, '<sim length="100000" tokens-per-second="20"/>') as answer:
        answer.readline()
        assert seen(official_api, "streams_open") == 1
    assert until(lambda: seen(official_api, "streams_left") == left + 1)
    assert seen(official_api, "streams_open") == 0


def test_many_streams_at_once_need_little_memory_and_leave_nothing(gateway, official_api):
    def whole(number):
        with streaming(gateway, f"<echo>stream {number}</echo>") as answer:
            return text_of(answer.read().splitlines())

    with ThreadPoolExecutor(STREAMS) as pool:
        assert list(pool.map(whole, range(STREAMS))) == [f"stream {number}" for number in range(STREAMS)]
    before, left = gateway.size("VmRSS"), seen(official_api, "streams_left")
    files = open_files(gateway)
    held = [streaming(gateway, '<sim length="100000" tokens-per-second="20"/>') for _ in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(lambda one: one.__enter__().readline(), held))
    assert seen(official_api, "streams_open") == STREAMS
    assert gateway.size("VmRSS") - before < STREAMS * MOST_PER_STREAM
    for one in held:
        one.__exit__(None, None, None)
    assert until(lambda: seen(official_api, "streams_left") == left + STREAMS)
    assert until(lambda: open_files(gateway) <= files)


def test_calls_of_before_a_restart_are_answered_after_it(official_api, tmp_path):
    settings = BASE_SETTINGS.format(key=KEY) + SETTINGS.format(url=official_api.url, key=API_KEYS[0])
    tools = [{"type": "function", "function": {"name": "get_sky", "parameters": {"type": "object"}}}]

    def ask(gateway, *messages):
        body = {"model": "gemini-3.6-flash", "messages": messages, "tools": tools}
        return httpx2.post(f"{gateway.origin}{PLACE}", json=body, headers=HEADERS).json()["choices"][0]["message"]

    prompt = {"role": "user", "content": '<call name="get_sky">{}</call>'}
    first = Gateway(tmp_path, settings)
    called = ask(first, prompt)
    first.stop()
    second = Gateway(tmp_path, settings)
    result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "blue"}
    assert "blue" in ask(second, prompt, called, result)["content"]
    second.stop()
