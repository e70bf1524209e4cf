"""The official `anthropic` SDK, unmodified, against a gateway over the simulated site: each step is a test."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import KEY, ROOT, SETTINGS, Gateway

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
"""`make test` installs it."""

SCRIPT = Path(__file__).with_name("anthropic_steps.py")
STEPS = re.findall(r"(?m)^def step_(\w+)", SCRIPT.read_text())
SECONDS = 120
HEARTBEATS = "\n[limits]\nheartbeat_seconds = 0.2\n[transports.simulator]\npoll_seconds = 0.5\n"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run all steps once; return what each reported, and what the client printed otherwise."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"), SETTINGS.format(key=KEY) + HEARTBEATS)
    try:
        command = [PYTHON, "-I", SCRIPT, gateway.origin, gateway.key]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    finally:
        gateway.stop()
    return {step["step"]: step["error"] for step in map(json.loads, done.stdout.splitlines())}, done.stderr


@pytest.mark.parametrize("step", STEPS)
def test_the_anthropic_sdk_completes_the_step(results, step):
    steps, said = results
    assert step in steps, said[-4000:]
    assert steps[step] is None, steps[step]
