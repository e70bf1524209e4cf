import json
import os
import pty
import subprocess
import sys
import time

import httpx2 as httpx
import pytest

from tests.service.cli.conftest import run_in_process

SETTINGS = """
[server]
port = 0

[drain]
grace_seconds = 10

[[licenses]]
id = "tester"
key = "sk-test-q7Lw9ZkT3vXn5RbY2mHc8JdF"

[transports.web]
guest = false
activity_seconds = 0

[transports.web.hosts]
site = "{url}"
accounts = "{url}"
upload = "{url}"
"""
ALIVE, OTHER = "canary-psid-alive", "canary-psid-other"
TS, OTHER_TS = "canary-psidts-alive", "canary-psidts-other"
CANARIES = (ALIVE, OTHER, TS, OTHER_TS)
JSON = json.dumps([
    {"name": "__Secure-1PSID", "value": ALIVE, "domain": ".google.com"},
    {"name": "__Secure-1PSIDTS", "value": TS, "domain": ".google.com"},
])  # fmt: skip
NETSCAPE = "\n".join(
    f".google.com\tTRUE\t/\tTRUE\t0\t{name}\t{value}"
    for name, value in (("__Secure-1PSID", ALIVE), ("__Secure-1PSIDTS", TS))
)
HEADER = f"Cookie: __Secure-1PSID={ALIVE}; __Secure-1PSIDTS={TS}"
TWO = f"{ALIVE}\n{TS}\n"


@pytest.fixture
def site(start_command):
    """The simulated site with two accounts; returns its URL."""
    accounts = ("--account", f"{ALIVE}:{TS}:advanced", "--account", f"{OTHER}:{OTHER_TS}:free")
    process = start_command(
        "simulate", "--port", "0", "--first-token-seconds", "0", "--tokens-per-second", "0", *accounts
    )
    return process.wait_for("Base URL").rpartition(" ")[2].strip()


@pytest.fixture
def accounts(tmp_path, site):
    """Runs `gemini-gateway accounts` where no gateway runs."""
    (tmp_path / "gateway.toml").write_text(SETTINGS.format(url=site))
    return Accounts(tmp_path)


class Accounts:
    """Runs the command in a folder; no output but an export's may show a secret."""

    def __init__(self, folder):
        self._folder = folder

    def __call__(self, *arguments, given="", group=("accounts",)):
        done = run_in_process(self._folder, *group, *arguments, given=given)
        shown = done.stderr + ("" if arguments[:1] == ("export",) else done.stdout)
        assert not [canary for canary in CANARIES if canary in shown]
        return done

    def state(self, account):
        return json.loads(self("show", account, "--json").stdout)["state"]


@pytest.mark.parametrize("export", [HEADER, JSON, NETSCAPE, TWO], ids=["header", "json", "netscape", "values"])
def test_a_session_is_added_from_every_form_of_export(accounts, export):
    done = accounts("add", "first", "--secret-stdin", given=export)
    assert (done.returncode, "accounts check first" in done.stdout) == (0, True)
    assert accounts.state("first") == "ready"
    checked = accounts("check", "first")
    assert (checked.returncode, "✗" in checked.stdout) == (0, False)


def test_an_invalid_account_is_refused_in_one_line(accounts):
    assert accounts("add", "first", "--secret-stdin", given=HEADER).returncode == 0
    for name, export, words in (
        ("first", HEADER, "exists already"),
        ("second", HEADER, "has the same session as account 'first'"),
        ("third", "Cookie: NID=1", "__Secure-1PSID"),
        ("a b", HEADER, "is not a valid id"),
    ):
        done = accounts("add", name, "--secret-stdin", given=export)
        assert done.returncode == 1
        assert words in done.stderr.splitlines()[-1]
    assert accounts("add", "first", "--secret-stdin", "--replace", given=HEADER).returncode == 0


def test_accounts_are_paused_resumed_exported_and_removed(accounts, tmp_path):
    accounts("add", "first", "--secret-stdin", given=HEADER)
    assert accounts("pause", "first", "--reason", "on holiday").returncode == 0
    assert "on holiday" in accounts("list").stdout
    assert accounts.state("first") == "paused"
    accounts("resume", "first")
    assert accounts.state("first") == "ready"
    file = tmp_path / "session"
    assert accounts("export", "first", "--output", str(file)).returncode == 0
    assert (file.stat().st_mode & 0o777, ALIVE in file.read_text()) == (0o600, True)
    assert accounts("remove", "first", given="n\n").returncode == 1
    assert accounts("remove", "first", "--yes").returncode == 0
    assert accounts("show", "first").returncode == 1


def test_accounts_are_found_by_state_tag_and_text(accounts):
    accounts("add", "first", "--secret-stdin", "--tag", "team-a", "--tag", "eu", "--note", "Card 7", given=HEADER)
    accounts("add", "second", "--secret-stdin", "--tag", "eu", given=f"{OTHER}\n{OTHER_TS}")
    accounts("pause", "second")

    def ids(*options):
        return [row["id"] for row in json.loads(accounts("list", "--json", *options).stdout)]

    assert ids("--tag", "eu") == ["first", "second"]
    assert ids("--tag", "eu", "--tag", "team-a") == ids("--search", "card 7") == ids("--state", "ready") == ["first"]
    assert ids("--state", "paused", "--state", "ready", "--search", "SECOND") == ["second"]
    assert "None of 2 accounts match" in accounts("list", "--tag", "us").stdout
    shown = accounts("show", "first").stdout
    assert ("team-a eu" in shown, "Card 7" in shown) == (True, True)
    assert accounts("add", "third", "--secret-stdin", "--tag", "a b", given=HEADER).returncode == 1


def test_an_account_is_checked_before_it_is_kept(accounts, tmp_path):
    dead = "__Secure-1PSID=nobodys; __Secure-1PSIDTS=nobodys"
    done = accounts("add", "dead", "--secret-stdin", given=dead)
    assert (done.returncode, "✗" in done.stderr, "--no-check" in done.stderr) == (1, True, True)
    assert json.loads(accounts("list", "--json").stdout) == []
    for name, text in (("first", HEADER), ("second", f"{OTHER}::{OTHER_TS}"), ("third", dead)):
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / "many" / f"{name}.txt").write_text(text.replace("::", ":"))
    done = accounts("add", "--from", "many", "--tag", "eu")
    assert (done.returncode, "Added 2 of 3 accounts." in done.stdout) == (1, True)
    rows = json.loads(accounts("list", "--json").stdout)
    assert [(row["id"], row["state"], row["tags"]) for row in rows] == [
        ("first", "ready", ["eu"]),
        ("second", "ready", ["eu"]),
    ]
    assert rows[0]["rotated_at"]  # the session that the check has rotated was kept
    assert accounts("check", "first").returncode == 0


def test_a_dead_session_fails_its_check_with_advice(accounts):
    accounts("add", "dead", "--secret-stdin", "--no-check", given="__Secure-1PSID=nobodys; __Secure-1PSIDTS=nobodys")
    done = accounts("check", "dead")
    assert (done.returncode, "✗" in done.stdout) == (1, True)


def test_a_running_gateway_uses_a_new_account_and_avoids_a_paused_one(start_gateway, site):
    gateway = start_gateway(SETTINGS.format(url=site))
    accounts = Accounts(gateway.log.parent)
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {gateway.key}"}

    def chat():
        return httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers, timeout=90).status_code

    def wait_for_chat():
        """Wait until the gateway has noticed a change; it looks every second or so."""
        until = time.monotonic() + 20
        while (status := chat()) != 200:
            assert time.monotonic() < until, status
            time.sleep(0.1)

    accounts("add", "first", "--secret-stdin", given=HEADER)
    accounts("add", "second", "--secret-stdin", given=f"{OTHER}\n{OTHER_TS}")
    accounts("check", "first")
    wait_for_chat()
    accounts("pause", "first")
    wait_for_chat()
    assert not [canary for canary in CANARIES if canary in gateway.text()]


def test_a_terminal_prompts_for_the_session_and_does_not_show_it(accounts, tmp_path):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "service", "accounts", "add", "asked"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        for asked, value in ((b"__Secure-1PSID,", ALIVE), (b"__Secure-1PSIDTS", TS)):
            while asked not in shown:
                shown += os.read(ours, 1000)
            os.write(ours, f"{value}\n".encode())
        while b"accounts check asked" not in shown:
            shown += os.read(ours, 1000)
        assert process.wait(90) == 0
    os.close(ours)
    assert not [canary for canary in CANARIES if canary.encode() in shown]
    assert accounts.state("asked") == "ready"
