"""Runs the command line tool `llm`, with a model of `extra-openai-models.yaml`."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from stepping import (
    BASE_URL,
    ECHO,
    KEY,
    MODEL,
    ONE_CALL,
    PERSON,
    PERSON_TAG,
    PIXEL,
    TEXT,
    TWO_CALLS,
    equal,
    has,
    run_steps,
    weather,
)

HOME = tempfile.TemporaryDirectory()
ENVIRONMENT = {"PATH": os.environ["PATH"], "LLM_USER_PATH": HOME.name, "PYTHONUTF8": "1"}
ENTRY = {
    "api_base": BASE_URL,
    "api_key_name": "gateway",
    "vision": True,
    "supports_schema": True,
    "supports_tools": True,
}
TOOL = "def get_weather(city: str) -> str:\n    return f'It rains in {city}.'\n"
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "ages": {"type": "array", "items": {"type": "integer"}}},
    "required": ["name", "ages"],
}


def llm(*arguments, key=KEY, model=MODEL):
    command = [sys.executable, "-m", "llm", "-m", model, "--key", key, *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.removesuffix("\n") if done.returncode == 0 else "error: " + done.stderr


def step_chat():
    equal(llm("--no-stream", ECHO), TEXT)


def step_stream():
    equal(llm(ECHO), TEXT)


def step_tool_loop():
    has(llm("--functions", TOOL, ONE_CALL), weather("Zürich"))


def step_parallel_tools():
    has(llm("--functions", TOOL, TWO_CALLS), weather("Zürich"), weather("Genève"))


def step_structured():
    equal(json.loads(llm("--schema", json.dumps(SCHEMA), PERSON_TAG)), PERSON)
    equal(json.loads(llm("-o", "json_object", "1", PERSON_TAG)), PERSON)


def step_image():
    picture = Path(HOME.name, "pixel.png")
    picture.write_bytes(base64.b64decode(PIXEL))
    has(llm("-a", str(picture), "What is it?"), "image/png")


def step_errors():
    has(llm(ECHO, key="sk-wrong-0123456789"), "error: ", "Incorrect API key")
    has(llm(ECHO, model="gpt-9"), "error: ", "gpt-9")


MODELS = [{"model_id": name, "model_name": name, **ENTRY} for name in (MODEL, "gpt-9")]
Path(HOME.name, "extra-openai-models.yaml").write_text(json.dumps(MODELS))
run_steps(globals())
