"""`route explain` and `accounts add` in a folder whose settings have several ways to Gemini."""

import json

import anyio
import msgspec
import pytest

from service.cli.options import settings_at, store_path_of
from service.storage.factory import open_store
from tests.service.cli.conftest import run_in_process
from transports.accounts.records import CooldownReason, CooldownRecord
from transports.clock import SystemClock
from transports.store.port import COOLDOWNS

SETTINGS = """
[transports.api]
base_url = "http://127.0.0.1:9"
[transports.web]
[transports.web.hosts]
site = "http://127.0.0.1:9"
accounts = "http://127.0.0.1:9"
upload = "http://127.0.0.1:9"
[[routes]]
tools = true
licenses = ["team-*"]
to = [{"api:paid" = 3, "web" = 1}]
"""
FREE, PAID, SESSION = "AIzaFree-0", "AIzaPaid-0", "__Secure-1PSID=psid; __Secure-1PSIDTS=psidts"
PRO = "gemini-pro-latest"


@pytest.fixture
def command(tmp_path):
    """Runs `gemini-gateway` where two keys and a session were added by their forms alone."""
    (tmp_path / "gateway.toml").write_text(SETTINGS)

    def run(*arguments, given=""):
        done = run_in_process(tmp_path, *arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for name, secret, *options in (("free", FREE), ("paid", PAID, "--tier", "paid"), ("site", SESSION)):
        run("accounts", "add", name, "--secret-stdin", "--no-check", *options, given=secret)
    return run


def write(folder, *records):
    """Write cooldowns to the store, as a running gateway does."""
    path, settings, origin = settings_at(folder / "gateway.toml")

    async def work():
        async with open_store(settings.store, origin, store_path_of(settings, path), SystemClock()) as store:
            for record in records:
                await store.records.put(COOLDOWNS, record.key, msgspec.json.encode(record), seconds=7195.0)

    anyio.run(work)


def explained(command, *arguments):
    return json.loads(command("route", "explain", "--model", "gemini-3-pro", "--json", *arguments))


def test_accounts_are_added_to_the_transport_of_their_form(command):
    rows = json.loads(command("accounts", "list", "--json"))
    assert {(row["id"], row["transport"], row["plan"]) for row in rows} == {
        ("free", "api", "free"),
        ("paid", "api", "paid"),
        ("site", "web", ""),
    }


def test_a_credential_of_no_known_form_needs_a_transport(command, tmp_path):
    done = run_in_process(tmp_path, "accounts", "add", "x", "--secret-stdin", given="canary-neither")
    assert done.returncode == 1
    assert "name one of: api, web" in done.stderr
    assert "canary" not in done.stderr


def test_the_default_route_asks_free_keys_then_the_website_then_paid_keys(command):
    found = explained(command)
    assert (found["route"], found["family"], found["capability"]) == (None, "pro", "chat")
    assert [(hop["hop"], hop["place"], hop["model"]) for hop in found["hops"]] == [
        ("api:free", 1, PRO),
        ("web", 2, "pro"),
        ("api:paid", 3, PRO),
    ]
    assert [[one["id"] for one in hop["accounts"]] for hop in found["hops"]] == [["free"], ["site"], ["paid"]]


def test_a_route_of_the_settings_is_named_with_its_shares(command):
    found = explained(command, "--tools", "--license", "team-1")
    assert found["route"] == 0
    assert [(hop["hop"], hop["place"], hop["share"]) for hop in found["hops"]] == [
        ("api:paid", 1, 0.75),
        ("web", 1, 0.25),
    ]
    text = command("route", "explain", "--model", "gemini-3-pro", "--tools", "--license", "team-1")
    assert f"1. api:paid (75%): {PRO}, 1 ready (paid)" in text
    assert "Asked first now: api:paid or web." in text
    assert explained(command, "--tools", "--license", "other")["route"] is None


def test_the_states_of_accounts_are_those_of_the_store(command, tmp_path):
    never, quota = (
        CooldownRecord(account=name, family=PRO, reason=reason)
        for name, reason in (("free", CooldownReason.NEVER), ("paid", CooldownReason.QUOTA))
    )
    write(tmp_path, never, quota)
    assert explained(command)["first"] == ["web"]
    command("accounts", "pause", "site")
    states = [(one["id"], one["state"]) for hop in explained(command)["hops"] for one in hop["accounts"]]
    assert states == [("free", "not_included"), ("site", "paused"), ("paid", "cooling_down")]
    assert explained(command)["first"] == []
    text = command("route", "explain", "--model", "gemini-3-pro")
    assert "1 not included (free)" in text
    assert "1 cooling down (paid in 120m)" in text
    assert "No account can serve it now." in text
    flash = json.loads(command("route", "explain", "--model", "gemini-flash-lite", "--json"))
    assert flash["hops"][0]["accounts"][0]["state"] == "ready"
    assert f"{PRO} never" in command("accounts", "list")


def test_an_unknown_model_is_named(command, tmp_path):
    done = run_in_process(tmp_path, "route", "explain", "--model", "no-such-model")
    assert done.returncode == 1
    assert "no-such-model" in done.stderr
