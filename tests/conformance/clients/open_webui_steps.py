"""Starts Open WebUI's server with its defaults, and drives it over its HTTP API as its page does."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import httpx
from stepping import BASE_URL, ECHO, KEY, MODEL, PIXEL_URL, TEXT, equal, has, run_steps

TASKS = ("title", "tags", "follow_up", "queries", "emoji")
START_SECONDS, ANSWER_SECONDS = 300, 60
FOLDER = tempfile.TemporaryDirectory()
with socket.create_server(("127.0.0.1", 0)) as listener:
    PORT = listener.getsockname()[1]
PAGE = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=ANSWER_SECONDS)


def start():
    """Start the server; nothing is to be fetched from the network."""
    settings = {"OPENAI_API_BASE_URL": BASE_URL, "OPENAI_API_KEY": KEY, "ENABLE_OLLAMA_API": "False"}
    quiet = {"OFFLINE_MODE": "True", "HF_HUB_OFFLINE": "1", "WEBUI_SECRET_KEY": uuid.uuid4().hex}
    folder = {"PATH": os.environ["PATH"], "HOME": FOLDER.name, "DATA_DIR": FOLDER.name}
    command = [Path(sys.executable).with_name("open-webui"), "serve", "--host", "127.0.0.1", "--port", str(PORT)]
    return subprocess.Popen(
        command, env={**settings, **quiet, **folder}, cwd=FOLDER.name, stdout=sys.stderr, stderr=sys.stderr
    )


def until(seconds, look):
    """Return what `look` returns, once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.5)
    raise AssertionError(f"nothing within {seconds} seconds")


def healthy():
    try:
        return PAGE.get("/health").is_success
    except httpx.TransportError:
        return False


def post(path, body):
    answer = PAGE.post(path, json=body)
    assert answer.is_success, answer.text
    return answer


def sign_up():
    person = {"name": "tester", "email": "tester@example.com", "password": uuid.uuid4().hex}
    PAGE.headers["Authorization"] = f"Bearer {post('/api/v1/auths/signup', person).json()['token']}"


def page_message(content):
    """Send the first message of a chat as the page does; return the chat and the answer that is kept in it."""
    user, answer = str(uuid.uuid4()), str(uuid.uuid4())
    message = {"id": user, "role": "user", "content": content, "parentId": None, "timestamp": 1, "models": [MODEL]}
    body = {
        "stream": True,
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "parent_id": None,
        "user_message": message,
        "id": answer,
        "session_id": "session",
        "background_tasks": {"title_generation": True, "tags_generation": True, "follow_up_generation": True},
    }
    chat = post("/api/chat/completions", body).json()["chat_id"]

    def look():
        kept = PAGE.get(f"/api/v1/chats/{chat}").json()["chat"]["history"]["messages"][answer]
        return kept if kept.get("done") else None

    return until(ANSWER_SECONDS, look)


def whole(content):
    body = {"model": MODEL, "stream": False, "messages": [{"role": "user", "content": content}]}
    return post("/api/chat/completions", body).json()["choices"][0]["message"]["content"]


def step_models():
    assert MODEL in [model["id"] for model in PAGE.get("/api/models").json()["data"]]


def step_chat():
    equal(whole(ECHO), TEXT)


def step_stream():
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": ECHO}]}
    lines = [line.removeprefix("data: ") for line in post("/api/chat/completions", body).text.splitlines() if line]
    equal(lines[-1], "[DONE]")
    chunks = [json.loads(line) for line in lines[:-1]]
    equal("".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]), TEXT)


def step_page():
    equal(page_message(ECHO)["content"], TEXT)


def step_tool_loop():
    kept = page_message('<call name="get_current_timestamp">{}</call>')
    equal([item["type"] for item in kept["output"]], ["function_call", "function_call_output", "message"])
    has(kept["content"], "current_timestamp")


def step_parallel_tools():
    kept = page_message('<call name="get_current_timestamp">{}</call>' * 2)
    equal(sum(item["type"] == "function_call" for item in kept["output"]), 2)


def step_tasks():
    for task in TASKS:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "hello"}],
            "prompt": "hello",
            "type": "web_search",
        }
        choice = post(f"/api/v1/tasks/{task}/completions", body).json()["choices"][0]
        assert choice["message"]["content"], task


def step_image():
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PIXEL_URL}}]
    has(whole(parts), "image/png")


def step_errors():
    body = {"model": MODEL, "stream": False, "messages": [{"role": "user", "content": "hello"}], "max_tokens": -1}
    answer = PAGE.post("/api/chat/completions", json=body)
    equal(answer.status_code, 400)
    has(answer.text, "max_tokens")


server = start()
try:
    until(START_SECONDS, healthy)
    sign_up()
    run_steps(globals())
finally:
    server.terminate()
    server.wait()
