"""The simulated API knows every field that google-genai sends to it."""

import json
import subprocess
from pathlib import Path

from tests.conftest import API_KEYS, ROOT

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
SCRIPT = Path(__file__).with_name("every_field.py")
LEAST = 200
"""Fields that are sent at least, so that the walk through the types is known to work."""


def test_each_field_that_the_sdk_sends_is_known(official_api):
    key = API_KEYS[1].partition(":")[0]
    command = [PYTHON, "-I", SCRIPT, official_api.url, key, "gemini-3.6-flash"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    *unknown, asked = [json.loads(line) for line in done.stdout.splitlines()]
    assert unknown == []
    assert asked > LEAST
