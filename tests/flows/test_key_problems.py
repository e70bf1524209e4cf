"""A key of the official API that stops working: the next hop answers, and the operator learns why and what to do."""

import json

import httpx2 as httpx
import pytest

from tests.conftest import BASE_SETTINGS, KEY, Gateway, Site
from tests.service.cli.conftest import run_in_process

SECRET = "AIzaOfProblems-0"
SETTINGS = """
[transports.web]
guest = false
[transports.web.hosts]
site = "{url}"
accounts = "{url}"
upload = "{url}"
[[transports.web.accounts]]
id = "site"
per_minute = 0
cookies = "{cookies}"
[transports.api]
base_url = "{url}"
[[transports.api.accounts]]
id = "key"
key = "AIzaOfProblems-0"
"""
PROBLEMS = {
    "deleted": ("key_invalid", "create another one"),
    "expired": ("key_expired", "create another one"),
    "leaked": ("key_leaked", "delete it"),
    "referrer": ("permission_denied", "restrictions"),
    "address": ("permission_denied", "restrictions"),
    "service": ("permission_denied", "restrictions"),
    "android": ("permission_denied", "restrictions"),
    "disabled": ("api_disabled", "enable it"),
    "no-project": ("project_missing", "another project"),
    "suspended": ("project_suspended", "messages"),
    "denied": ("project_suspended", "messages"),
    "billing-disabled": ("billing", "enable it"),
    "no-free-tier": ("billing", "enable it"),
    "depleted": ("credits_depleted", "buy more"),
    "spending-cap": ("spending_cap", "raise it"),
}


class Operated:
    """A gateway with one key and one account of the site, and its operator."""

    def __init__(self, folder):
        self.folder = folder
        self.site = Site(folder, "--first-token-seconds", "0", "--api-key", f"{SECRET}:free")
        given = {"url": self.site.url, "cookies": self.site.cookies}
        self.gateway = Gateway(folder, BASE_SETTINGS.format(key=KEY) + SETTINGS.format(**given))

    def order(self, problem):
        answer = httpx.post(f"{self.site.url}/simulator/keys", json={"key": SECRET, "problem": problem})
        assert answer.status_code == 200, answer.text

    def way(self, **fields):
        """Return the way that has answered a chat."""
        body = {"model": "gemini-3.6-flash", "messages": [{"role": "user", "content": "<echo>x</echo>"}], **fields}
        answer = httpx.post(
            f"{self.gateway.base_url}/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}
        )
        assert answer.status_code == 200, answer.text
        return answer.headers["x-gateway-transport"]

    def run(self, *words):
        return run_in_process(self.folder, *words).stdout

    def account(self, name="key"):
        return next(row for row in json.loads(self.run("accounts", "list", "--json")) if row["id"] == name)

    def wait_for(self, state, name="key"):
        """Return the account's row as soon as it has a state."""
        for _ in range(200):
            row = self.account(name)
            if row["state"] == state:
                return row
        raise AssertionError(row)

    def repair(self):
        self.order(None)
        self.run("accounts", "resume", "key")
        assert any(self.way() == "api" for _ in range(500))

    def stop(self):
        self.gateway.stop()
        self.site.stop()


@pytest.fixture(scope="module")
def operated(tmp_path_factory):
    running = Operated(tmp_path_factory.mktemp("problems"))
    yield running
    running.stop()


@pytest.mark.parametrize(("number", "problem"), list(enumerate(PROBLEMS)))
def test_the_next_hop_answers_and_the_operator_learns_what_to_do(operated, number, problem):
    assert operated.way() == "api"
    operated.order(problem)
    assert operated.way(stream=number % 2 == 0) == "web"
    row, (reason, advice) = operated.wait_for("needs_attention"), PROBLEMS[problem]
    assert row["reason"] == reason
    assert advice in row["message"]
    if number == 0:
        said = operated.run("accounts", "check", "key")
        assert row["message"] in " ".join(said.split())
        assert "accounts resume key" in said
    assert operated.way() == "web"
    operated.repair()


def test_a_region_that_is_not_served_stops_keys_and_not_the_site(operated):
    operated.order("region")
    assert operated.way() == "web"
    row = operated.wait_for("cooling_down")
    assert {one["reason"] for one in row["cooldowns"]} == {"address"}
    assert "cooldown: everything: the upstream refuses its IP address" in operated.run("accounts", "check", "key")
    assert operated.account("site")["state"] == "ready"
    assert operated.way() == "web"


def test_no_key_is_logged(operated):
    assert "AIza" not in operated.gateway.text()
