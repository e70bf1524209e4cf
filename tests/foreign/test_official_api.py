"""google-genai against the official API as the simulator speaks it, and against a gateway over the same API.

The SDK vouches for the simulator, and the two runs must give the same answers, but for `DIFFERENCES`.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import API_KEYS, ROOT

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
SCRIPTS = [Path(__file__).with_name(name) for name in ("official_steps.py", "own_model_steps.py")]
STEPS = [name for one in SCRIPTS for name in re.findall(r"(?m)^(?:async )?def step_(\w+)", one.read_text())]
SECONDS = 120
MODEL = "gemini-3.6-flash"
PAID = API_KEYS[1].partition(":")[0]

ALWAYS = (
    (r".*\.reasons", "the gateway's errors have reasons of its own, as in its other dialects"),
    (r".*\.quotas", "the quotas are those of the operator's keys, which clients do not see"),
)
"""Paths at which any answer may differ, and why."""
DIFFERENCES = {
    "options": ((r"\.model", "a high level of thinking chooses the form `-extended` of a model"),),
    "a_call_without_its_signature": ((r"\..*", "the gateway accepts the history of any client"),),
    "a_call_that_cannot_be_read": ((r"\..*", "the gateway lets the model repair the call"),),
    "json_in_other_forms": ((r"\[0\]\.parts\[0\]\.text", "the gateway checks the JSON and encodes it again"),),
    "a_picture": ((r"\.model", "the gateway's models that draw have names of their own"),),
    "a_picture_that_is_changed": ((r"\.model", "as `a_picture`"),),
    "count_tokens": ((r"\[\d\]", "the gateway estimates them before it knows which transport answers"),),
    "unknown_and_retired_models": ((r"\[2\]\..*", "the gateway answers for names that are outdated, see `aliases`"),),
    "wrong_requests": ((r"\[5\]\.(error|status)", "the gateway has no contents that a client has cached"),),
    "cached_contents": ((r"\..*", "cached contents belong to a key's project, and the gateway creates its own"),),
    "a_wrong_key": ((r"\.(error|status)", "licenses are refused with 401, as in the gateway's other dialects"),),
    "a_stream_that_breaks_off": ((r"\[\d\]\[2\]", "the gateway ends a broken stream with an error of the API's form"),),
}
"""Differences on purpose: by step, the paths and the reason."""


def differences(one, other, path=""):
    """Yield the paths at which two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            yield from differences(one.get(name), other.get(name), f"{path}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from differences(first, second, f"{path}[{place}]")
    elif one != other:
        yield path, one, other


def start(address, key, drawing):
    commands = [[PYTHON, "-I", script, address, key, MODEL, drawing] for script in SCRIPTS]
    return [subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for one in commands]


def outcome(processes):
    done = [process.communicate(timeout=SECONDS) for process in processes]
    lines = [json.loads(line) for out, _ in done for line in out.splitlines()]
    return {line["step"]: line for line in lines} | {"errors": [error for _, error in done]}


@pytest.fixture(scope="module")
def runs(official_api, official_gateway):
    """Run the suite against both at the same time."""
    direct = start(official_api.url, PAID, "gemini-3.1-flash-image")
    through = start(official_gateway.base_url.removesuffix("/v1"), official_gateway.key, f"{MODEL}-imagen")
    return outcome(direct), outcome(through)


@pytest.mark.parametrize("step", STEPS)
def test_the_sdk_completes_the_step_against_the_api(runs, step):
    assert step in runs[0], runs[0]
    assert runs[0][step]["error"] is None, runs[0][step]["error"]


@pytest.mark.parametrize("step", STEPS)
def test_the_gateway_gives_the_same_answers(runs, step):
    assert step in runs[1], runs[1]
    error = runs[1][step]["error"]
    assert error is None, error
    found = [path for path, *_ in differences(runs[0][step]["data"], runs[1][step]["data"])]
    listed = [path for path, _ in DIFFERENCES.get(step, ())]
    allowed = [*listed, *(path for path, _ in ALWAYS)]
    assert [one for one in found if not any(re.fullmatch(path, one) for path in allowed)] == []
    assert [path for path in listed if not any(re.fullmatch(path, one) for one in found)] == []
