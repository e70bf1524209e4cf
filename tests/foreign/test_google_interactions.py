"""Interactions of google-genai, Google's official SDK, unmodified, against the simulated API: each step is a test."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import API_KEYS, ROOT

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
"""`make test` installs it."""

SCRIPT = Path(__file__).with_name("interaction_steps.py")
STEPS = re.findall(r"(?m)^def step_(\w+)", SCRIPT.read_text())
SECONDS = 120


@pytest.fixture(scope="module")
def suite(official_api):
    """Run the SDK's whole suite once, in its own venv; return the error of each step."""
    keys = [key.partition(":")[0] for key in API_KEYS]
    command = [PYTHON, "-I", SCRIPT, official_api.url, *keys]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    lines = map(json.loads, done.stdout.splitlines())
    return {line["step"]: line["error"] for line in lines} or done.stderr


@pytest.mark.parametrize("step", STEPS)
def test_the_sdk_completes_the_step(suite, step):
    assert step in suite, suite
    assert suite[step] is None, suite[step]
