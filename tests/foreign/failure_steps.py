"""Asks a gateway for answers that fail, by the official `anthropic` and `google-genai` SDKs, unmodified.

It runs in a venv of its own. Arguments: the gateway's origin and a license key. Reads a JSON list of `[prompt, model]`
from stdin; writes a JSON object of what each SDK raised, by prompt and dialect.
"""

import json
import sys

import anthropic
from google import genai
from google.genai import errors, types

ORIGIN, KEY = sys.argv[1:]
CLAUDE = anthropic.Anthropic(base_url=ORIGIN, api_key=KEY, max_retries=0)
GEMINI = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=ORIGIN))


def messages(prompt, model):
    CLAUDE.messages.create(model=model, max_tokens=99, messages=[{"role": "user", "content": prompt}])


def messages_streamed(prompt, model):
    with CLAUDE.messages.stream(model=model, max_tokens=99, messages=[{"role": "user", "content": prompt}]) as stream:
        stream.until_done()


def contents(prompt, model):
    GEMINI.models.generate_content(model=model, contents=prompt)


def contents_streamed(prompt, model):
    for _ in GEMINI.models.generate_content_stream(model=model, contents=prompt):
        pass


def raised(ask, prompt, model):
    """Return the class of the error, its status, and the word that the API has for it."""
    try:
        ask(prompt, model)
    except anthropic.APIError as error:
        body = error.body if isinstance(error.body, dict) else {}
        return [type(error).__name__, getattr(error, "status_code", None), body.get("error", {}).get("type")]
    except errors.APIError as error:
        return [type(error).__name__, error.code, error.status]
    return None


FINE, GOOD_ANSWERS = "@fine@", 3
"""Answers between two failures, so that the gateway goes on asking."""
ASKS = (messages, messages_streamed, contents, contents_streamed)
found = {}
for prompt, model in json.load(sys.stdin):
    found[prompt] = {}
    for ask in ASKS:
        for _ in range(GOOD_ANSWERS):
            messages(FINE, model)
        found[prompt][ask.__name__] = raised(ask, prompt, model)
json.dump(found, sys.stdout)
