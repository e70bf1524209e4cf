"""Account checks by the admin API: each finding has a message, and advice for problems."""

import httpx2 as httpx
import pytest

from tests.service.admin.conftest import PSID, session_of


def failed(gateway, account):
    """Check an account; return the findings that failed."""
    examined = gateway("POST", f"/v1/accounts/{account}/check").json()
    found = {one["step"]: one for one in examined["findings"] if one["level"] == "failed"}
    assert examined["healthy"] is not bool(found)
    assert all(one["advice"] for one in found.values())
    return found


def test_a_working_account_is_reported_as_healthy(start):
    gateway = start()
    gateway.add("one")
    examined = gateway("POST", "/v1/accounts/one/check").json()
    assert (examined["account"], examined["healthy"], len(examined["findings"]) > 4) == ("one", True, True)


@pytest.mark.parametrize(
    "session",
    ["__Secure-1PSID=nobodys; __Secure-1PSIDTS=nobodys", f"__Secure-1PSID={PSID['one']}; __Secure-1PSIDTS=long-gone"],
    ids=["dead", "served-as-a-guest"],
)
def test_an_ended_session_is_reported_as_unhealthy(start, session):
    gateway = start()
    gateway("POST", "/v1/accounts", {"id": "gone", "secret": session})
    found = failed(gateway, "gone")
    assert "signed_out" in found["account"]["message"]
    assert "export" in found["account"]["advice"]


def test_a_session_bound_to_a_device_is_reported(start):
    gateway = start()
    gateway.add("bound")
    found = failed(gateway, "bound")
    assert "bound it to the device" in found["rotation"]["message"]


def test_a_page_that_requires_consent_is_reported(start, site):
    gateway = start()
    gateway.add("one")
    fault = {"where": "app", "status": 302, "location": "https://consent.google.com/m", "times": 5}
    assert httpx.post(f"{site}/simulator/faults", json=fault).status_code == 200
    found = failed(gateway, "one")
    assert "consent" in found["page"]["message"]


def test_the_status_is_available_while_the_store_is_down(start, redis):
    gateway = start(more=f'[store]\nurl = "{redis.url}"\n')
    gateway.add("one")
    redis.kill()
    answer = gateway("GET", "/v1/accounts")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "5"
    status = gateway("GET", "/v1/status").json()
    assert (status["store"]["available"], status["accounts"], status["processes"]) == (False, None, None)
    assert status["store"]["reason"]


def test_no_secret_of_an_accounts_options_is_shown(start):
    gateway = start()
    proxy = "http://someone:canary-proxy-password@127.0.0.1:9"
    body = {"id": "one", "secret": session_of("one"), "options": {"proxy": proxy}}
    added = gateway("POST", "/v1/accounts", body)
    shown = [added, gateway("GET", "/v1/accounts"), gateway("POST", "/v1/accounts/one/check")]
    assert added.json()["proxy"].endswith("127.0.0.1:9")
    texts = "".join(answer.text for answer in shown) + gateway.gateway.text()
    metrics = httpx.get(f"{gateway.gateway.origin}/metrics").text
    assert "canary" not in texts + metrics
