"""Runs the steps of a client and prints one JSON line for each; holds what the steps of all clients ask for.

The clients run in venvs of their own, where the gateway cannot be imported. Arguments: the gateway's origin and a key.
"""

import asyncio
import inspect
import json
import sys
import traceback

ORIGIN, KEY = sys.argv[1:3]
BASE_URL = f"{ORIGIN}/gemini_official/v1"
MODEL = "gemini-3-pro"
TEXT = "Grüezi `mitenand` 🎉"
ECHO = f"<echo>{TEXT}</echo>"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PIXEL_URL = f"data:image/png;base64,{PIXEL}"
PERSON = {"name": "Ada {Lovelace}", "ages": [36, 7]}
PERSON_TAG = f"<json>{json.dumps(PERSON)}</json>"


def call(city):
    return f'<call name="get_weather">{json.dumps({"city": city})}</call>'


def weather(city):
    """Return what the tool `get_weather` answers in each client."""
    return f"It rains in {city}."


ONE_CALL = call("Zürich")
TWO_CALLS = call("Zürich") + call("Genève")


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def has(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


def refused(kind, ask, status=None):
    """Check that `ask` fails with an error of this class and status."""
    try:
        ask()
    except kind as error:
        if status is not None:
            equal(getattr(error, "status_code", None), status)
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def run_steps(names):
    """Run every function of the module that is called `step_<name>`; what the client itself prints is no result."""
    out, sys.stdout = sys.stdout, sys.stderr
    for name, step in [(name, step) for name, step in names.items() if name.startswith("step_")]:
        error = None
        try:
            done = step()
            if inspect.iscoroutine(done):
                asyncio.run(done)
        except BaseException:  # noqa: BLE001 -- it is reported
            error = traceback.format_exc()
        print(json.dumps({"step": name.removeprefix("step_"), "error": error}), file=out, flush=True)
