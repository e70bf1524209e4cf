"""The usage ledger of a gateway counts what each request made, and jobs when they have ended."""

import signal
import sqlite3
from contextlib import closing

import httpx2 as httpx

from tests.conftest import KEY

MESSAGES = [{"role": "user", "content": "Draw a boat"}]
MODEL = {"model": "gemini-3-pro"}
DRAWN = {"model": "gemini-3-pro-imagen"}
ROWS = """
SELECT capability.text, images, videos, status, error.text, input_tokens > 0 FROM record
JOIN name AS capability ON capability.id = capability JOIN name AS error ON error.id = error
ORDER BY time
"""


def test_pictures_films_and_errors_are_counted_and_looks_at_jobs_are_not(start_gateway, tmp_path):
    gateway = start_gateway()
    with httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:

        def post(path, **body):
            return client.post(gateway.base_url + path, json=body)

        post("/images/generations", **MODEL, prompt="A boat", n=2)
        post("/images/generations", **MODEL, prompt="A boat", stream=True)
        post("/chat/completions", **DRAWN, messages=MESSAGES)
        post("/chat/completions", **DRAWN, messages=MESSAGES, stream=True)
        post("/responses", **DRAWN, input="Draw a boat")
        post("/chat/completions", model="unknown", messages=MESSAGES)
        video = post("/videos", **MODEL, prompt="A boat").json()
        while video["status"] in {"queued", "in_progress"}:
            video = client.get(f"{gateway.base_url}/videos/{video['id']}").json()
        assert video["status"] == "completed"
    gateway.signal(signal.SIGTERM)
    assert gateway.status() == 0
    with closing(sqlite3.connect(tmp_path / "0" / "usage.sqlite3")) as database:
        found = database.execute(ROWS).fetchall()
    assert found == [
        ("imagen", 2, 0, 200, "", 1),
        ("imagen", 1, 0, 200, "", 1),
        ("imagen", 1, 0, 200, "", 1),
        ("imagen", 1, 0, 200, "", 1),
        ("imagen", 1, 0, 200, "", 1),
        ("", 0, 0, 404, "model_not_found", 0),
        ("video", 0, 1, 200, "", 1),
    ]
