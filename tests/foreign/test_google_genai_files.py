"""`client.files` of google-genai, unmodified, against the simulated API: each step is a test."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import API_KEYS, ROOT

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
SCRIPT = Path(__file__).with_name("genai_file_steps.py")
STEPS = re.findall(r"(?m)^def step_(\w+)", SCRIPT.read_text())
SECONDS = 60


@pytest.fixture(scope="module")
def suite(official_api):
    """Run all steps in the SDK's own venv; return the error of each."""
    command = [PYTHON, "-I", SCRIPT, official_api.url, *(key.partition(":")[0] for key in API_KEYS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    lines = map(json.loads, done.stdout.splitlines())
    return {line["step"]: line["error"] for line in lines} or done.stderr


@pytest.mark.parametrize("step", STEPS)
def test_the_sdk_completes_the_step(suite, step):
    assert step in suite, suite
    assert suite[step] is None, suite[step]
