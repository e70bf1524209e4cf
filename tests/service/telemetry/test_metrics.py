"""Request metrics of a gateway on a socket."""

import httpx2 as httpx
import pytest

from service.telemetry.metrics import outcome_of
from tests.conftest import KEY


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "ok"), (400, "refused"), (429, "refused"), (499, "disconnected"), (500, "failed")]
)
def test_every_status_is_one_of_four_outcomes(status, outcome):
    assert outcome_of(status) == outcome


def test_requests_and_tokens_are_counted_for_their_license(start_gateway):
    gateway = start_gateway()
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>four words of answer</echo>"}]}
    used = httpx.post(f"{gateway.base_url}/chat/completions", headers=headers, json=body, timeout=90).json()["usage"]
    body["model"] = "gemini-nothing"
    assert httpx.post(f"{gateway.base_url}/chat/completions", headers=headers, json=body).status_code == 404
    body["model"], wrong = "gemini-3-pro", {"Authorization": "Bearer sk-of-nobody-at-all"}
    assert httpx.post(f"{gateway.base_url}/chat/completions", headers=wrong, json=body).status_code == 401
    shown = httpx.get(f"{gateway.origin}/metrics").text
    assert 'gateway_license_requests_total{license="tester",outcome="ok"} 1.0' in shown
    assert 'gateway_license_requests_total{license="tester",outcome="refused"} 1.0' in shown
    assert shown.count("gateway_license_requests_total{") == 2  # requests without a license are not counted
    tokens = f'gateway_license_tokens_total{{direction="output",license="tester"}} {used["completion_tokens"]}.0'
    assert tokens in shown
    assert "gateway_requests_in_flight_limit 2000.0" in shown
