"""Several keys of the official API behind two gateways with one store: quotas, projects, and keys that do not work."""

import json
import subprocess
import sys
import time

import httpx2 as httpx
import pytest

from tests.conftest import BASE_SETTINGS, KEY, Gateway, Site
from tests.servers import programs, servers_of

KEYS = ("AIzaOfOneProject-1:free:0:1", "AIzaOfOneProject-2", "AIzaOfAnother-0:paid")
SETTINGS = """
[store]
url = "{store}"
[transports.api]
base_url = "{url}"
[[transports.api.accounts]]
id = "first"
key = "AIzaOfOneProject-1"
project = "one"
[[transports.api.accounts]]
id = "second"
key = "AIzaOfOneProject-2"
project = "one"
[[transports.api.accounts]]
id = "wrong"
key = "AIzaUnknown-0"
[[transports.api.accounts]]
id = "paid"
key = "AIzaOfAnother-0"
tier = "paid"
"""
FLASH, PICTURES = "gemini-3.6-flash", "gemini-3-pro-image"


class Operator:
    """A gateway, and the commands of its operator."""

    def __init__(self, folder, settings):
        folder.mkdir()
        self.folder, self.gateway = folder, Gateway(folder, settings)

    def post(self, path, **body):
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.post(f"{self.gateway.base_url}{path}", headers=headers, json=body, timeout=60)

    def chat(self):
        answer = self.post("/chat/completions", model=FLASH, messages=[{"role": "user", "content": "<echo>x</echo>"}])
        assert answer.status_code == 200, answer.text
        return self.account_of(answer)

    def account_of(self, answer):
        """Return the account that answered, as the log names it."""
        return json.loads(self.gateway.wait_for("request_finished", answer.headers["x-request-id"]))["account"]

    def metric(self, *words):
        """Return the sum of the metrics whose lines have all words."""
        lines = httpx.get(f"{self.gateway.origin}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(word in line for word in words))

    def refusals(self):
        """Return how often the API refused a request for its quota."""
        return sum(self.metric("upstream_errors_total", kind) for kind in ("RateLimited", "NotIncluded"))

    def has(self, state, count, model=None):
        """Wait until so many keys are in a state, or in a state for a model."""
        name = "gateway_accounts{" if model is None else f'model="{model}"'
        words = (name, 'capability="chat"', f'state="{state}"')
        until = time.monotonic() + 60
        while self.metric(*words) != count:
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.02)

    def run(self, *words):
        command = [sys.executable, "-m", "service", *words]
        return subprocess.run(command, check=False, cwd=self.folder, capture_output=True, text=True, timeout=60).stdout

    def accounts(self):
        return {row["id"]: row for row in json.loads(self.run("accounts", "list", "--json"))}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two gateways over the same keys and the same store."""
    folder = tmp_path_factory.mktemp("keys")
    options = [word for key in KEYS for word in ("--api-key", key)]
    with servers_of(programs()["valkey"]) as start:
        site = Site(folder, "--first-token-seconds", "0", *options)
        settings = BASE_SETTINGS.format(key=KEY) + SETTINGS.format(store=start().url, url=site.url)
        both = [Operator(folder / name, settings) for name in ("one", "two")]
        yield both
        for operator in both:
            operator.gateway.stop()
        site.stop()


def test_a_key_that_the_api_does_not_know_needs_attention_and_is_not_asked(two):
    two[0].has("needs_attention", 1)
    row = two[0].accounts()["wrong"]
    assert row["reason"] == "key_invalid"
    assert "Google AI Studio" in row["message"]
    assert "needs attention: key_invalid" in two[0].run("accounts", "list")


def test_the_quota_of_a_day_is_shared_by_a_project_and_by_all_gateways(two):
    one, other = two
    asked = {one.chat()}
    while "paid" not in asked:  # until the quota of the first key was used up
        asked.add(one.chat())
    assert "wrong" not in asked
    assert one.refusals() == 1
    other.has("quota", 2, FLASH)
    other.has("ready", 3)  # their other models are left
    assert [other.chat() for _ in range(4)] == ["paid"] * 4
    assert other.refusals() == 0
    cooling = {name: row["cooldowns"] for name, row in other.accounts().items() if row["cooldowns"]}
    assert set(cooling) == {"first", "second"}
    for cooldown in (cooldown for found in cooling.values() for cooldown in found):
        assert (cooldown["scope"], cooldown["reason"]) == (f"{FLASH}/*", "quota")
        midnight = time.gmtime(cooldown["until"] + 30)
        assert (midnight.tm_hour, midnight.tm_min) in {(7, 0), (8, 0)}  # in California


def test_a_model_that_a_key_never_has_is_not_asked_for_again_after_a_restart(two):
    one, other = two
    drawn = one.post("/images/generations", model="gemini-3-pro-imagen", prompt="a cat")
    assert one.account_of(drawn) == "paid"
    assert one.refusals() == 2
    rows = other.accounts()
    for name in ("first", "second"):
        assert {(one["scope"], one["reason"]) for one in rows[name]["cooldowns"]} >= {(f"{PICTURES}/*", "never")}
    other.gateway.stop()
    other.gateway = Gateway(other.folder, (other.folder / "gateway.toml").read_text())
    again = other.post("/images/generations", model="gemini-3-pro-imagen", prompt="a cat")
    assert (other.account_of(again), other.refusals()) == ("paid", 0)


def test_resumed_keys_are_asked_again(two):
    one, _ = two
    for name in ("first", "second"):
        one.run("accounts", "resume", name)
    one.has("ready", 3, FLASH)
    assert "paid" not in {one.chat() for _ in range(2)} or one.refusals() == 3


def test_no_key_is_logged(two):
    assert not [line for operator in two for line in operator.gateway.text().splitlines() if "AIza" in line]
