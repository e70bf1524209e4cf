import json
import os
import pty
import re
import select
import subprocess
import sys
import time
import tomllib

import httpx2 as httpx
import pytest
from click.testing import CliRunner

from service.accounts.service import AccountService
from service.cli.init import apply, prompts
from service.cli.init.command import init
from service.licenses.store import LicenseStore
from tests.conftest import ROOT, Process

PSID, PSIDTS = "canary-psid-alive", "canary-psidts-alive"
HEADER = f"Cookie: __Secure-1PSID={PSID}; __Secure-1PSIDTS={PSIDTS}"
ASKED = ("Path of the settings file", "You have", "Name of the account", "File with the cookies", "not shown")
"""The questions, in their order, up to the session."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The simulated site with an account; returns the settings that point the gateway at it."""
    pace = ("--first-token-seconds", "0", "--tokens-per-second", "0")
    account = ("--account", f"{PSID}:{PSIDTS}:advanced")
    process = Process("simulate", "--port", "0", *pace, *account, cwd=tmp_path_factory.mktemp("site"))
    url = process.wait_for("Base URL").rpartition(" ")[2].strip()
    yield {"GEMINI_GATEWAY__TRANSPORTS__WEB__HOSTS": json.dumps({"site": url, "accounts": url, "upload": url})}
    process.stop()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `gemini-gateway init` in an empty folder; no output may show a session."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, given="", env=None):
        done = CliRunner().invoke(init, arguments, input=given, env=env)
        assert "canary" not in done.output
        return done

    return run


def files(folder):
    return {path.name for path in folder.rglob("*")}


def test_without_an_account_the_simulator_is_set_up_and_the_printed_lines_work(run, tmp_path, start_command):
    done = run(given="\nnothing\n\n")
    assert done.exit_code == 0
    settings = tomllib.loads((tmp_path / "gateway.toml").read_text())
    assert list(settings["transports"]) == ["simulator"]
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in files(tmp_path)} == {0o600}
    assert "The answers are simulated" in done.output
    assert "\n  gemini-gateway serve\n" in done.output
    gateway = start_command("serve", "--port", "0")
    origin = gateway.wait_for("Listening on").rpartition(" ")[2]
    line = re.search(r"(?m)^  (curl .*)$", done.output)[1].replace("http://127.0.0.1:8000", origin)
    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=90, check=True)
    assert "simulated" in answer.stdout


def test_an_account_from_a_file_is_checked_and_serves(run, tmp_path, site, start_command):
    (tmp_path / "cookies").write_text(HEADER)
    done = run("--yes", "--cookies-file", "cookies", "--account", "mine", "--license", "team", env=site)
    assert done.exit_code == 0, done.output
    assert "✗" not in done.output
    assert "✓" in done.output
    assert PSID.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name != "cookies")
    gateway = start_command("serve", "--port", "0", env={**os.environ, **site})
    origin = gateway.wait_for("Listening on").rpartition(" ")[2]
    key = re.search(r"License team: (\S+)", done.output)[1]
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "Hello!"}]}
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.post(f"{origin}/v1/chat/completions", json=body, headers=headers, timeout=90).status_code == 200
    gateway.wait_for('"account": "mine"')


@pytest.mark.parametrize(
    ("given", "env"),
    [
        (f"\naccount\n\n\n{PSID}\n{PSIDTS}\n\n\n", {}),
        ("\n\n\n", dict(zip(prompts.VARIABLES, (PSID, PSIDTS), strict=True))),
    ],
    ids=["pasted", "environment"],
)
def test_a_session_is_pasted_or_in_the_environment(run, site, given, env):
    done = run(given=given, env={**site, **env})
    assert (done.exit_code, "✗" in done.output) == (0, False)


def test_an_invalid_session_is_prompted_for_again(run, site):
    done = run(given=f"\naccount\n\nnowhere\n\nNID=1\n\n\n{HEADER}\n\n\n", env=site)
    assert done.exit_code == 0
    assert "nowhere cannot be read: No such file or directory. Try again:" in done.output
    assert re.search("first.*__Secure-1PSID.*Try again:", done.output)


def test_an_invalid_name_is_prompted_for_again(run, tmp_path, site):
    done = run(given=f"\naccount\na b\n\n\n{HEADER}\n\nc d\nteam\n", env=site)
    assert done.exit_code == 0, done.output
    assert "'a b' is not a valid account name" in done.output
    assert "a license's id is" in done.output
    assert "License team:" in done.output


def test_an_account_that_does_not_sign_in_is_set_up_and_gets_advice(run, tmp_path, site):
    (tmp_path / "cookies").write_text("nobodys\nnobodys")
    done = run("--yes", "--cookies-file", "cookies", env=site)
    assert (done.exit_code, "✗" in done.output) == (1, True)
    assert "gemini-gateway accounts add first --replace" in done.output
    (tmp_path / "cookies").write_text(HEADER)
    again = run("--cookies-file", "cookies", given="\ny\n\n\ny\n", env=site)
    assert again.exit_code == 0, again.output
    assert "Account first exists already" in again.output
    assert "License me-2:" in again.output
    assert "The previous settings are in gateway.toml.old." in again.output


def test_existing_settings_are_replaced_only_on_request(run, tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text("mine")
    assert run("--yes", "--simulator").exit_code == 1
    assert run("--simulator", given="\nn\n").exit_code == 1
    assert (files(tmp_path), path.read_text()) == ({"gateway.toml"}, "mine")
    assert run("--yes", "--simulator", "--replace").exit_code == 0
    assert run("--yes", "--simulator", "--replace").exit_code == 0
    assert (tmp_path / "gateway.toml.old").read_text() == "mine"
    assert "simulator" in (tmp_path / "gateway.toml.old2").read_text()


def test_an_existing_store_is_kept_with_its_accounts_and_licenses(run, tmp_path):
    secret = "a secret of thirty-two bytes or more"
    (tmp_path / "elsewhere").write_text(secret)
    path = tmp_path / "gateway.toml"
    path.write_text('[store]\npath = "own.sqlite3"\nkey_file = "elsewhere"\n')
    assert run("--yes", "--simulator", "--replace").exit_code == 0
    assert tomllib.loads(path.read_text())["store"] == {"path": "own.sqlite3", "key_file": "elsewhere"}
    assert files(tmp_path) == {"gateway.toml", "gateway.toml.old", "own.sqlite3", "elsewhere"}
    path.write_text('[store]\nurl = "redis://127.0.0.1:9/0"\n')
    assert "store.url" in str(run("--yes", "--simulator", "--replace").exception)
    assert path.read_text() == '[store]\nurl = "redis://127.0.0.1:9/0"\n'
    assert "gateway.key" not in files(tmp_path)


def test_the_next_steps_name_other_paths(run, tmp_path):
    done = run("--yes", "--simulator", "--config", "new/its folder/gateway.toml")
    assert done.exit_code == 0
    assert "  gemini-gateway serve --config 'new/its folder/gateway.toml'\n" in done.output
    assert {"gateway.toml", "gateway.key", "gateway.sqlite3"} <= files(tmp_path / "new" / "its folder")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--yes"], "--simulator or --cookies-file"),
        (["--yes", "--simulator", "--cookies-file", "x"], "give --simulator alone"),
        (["--yes", "--cookies-file", "nowhere"], "nowhere cannot be read: No such file"),
        (["--yes", "--cookies-file", "cookies", "--account", "a b"], "not a valid account name"),
        (["--yes", "--cookies-file", "cookies", "--license", "a b"], "a license's id is"),
    ],
)
def test_a_failed_setup_is_explained_and_leaves_nothing(run, tmp_path, arguments, words):
    (tmp_path / "cookies").write_text(HEADER)
    done = run(*arguments)
    assert done.exit_code in {1, 2}
    assert words in done.output
    assert files(tmp_path) == {"cookies"}


def test_settings_that_the_environment_makes_invalid_are_not_left(run, tmp_path):
    done = run("--yes", "--simulator", env={"GEMINI_GATEWAY__SERVER__PORT": "x"})
    assert "server.port" in str(done.exception)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("step", ["check", "account", "license"])
def test_an_interrupt_between_any_two_steps_leaves_everything_as_it_was(run, tmp_path, monkeypatch, step):
    place, name = {
        "check": (apply, "check"),
        "account": (AccountService, "add"),
        "license": (LicenseStore, "add"),
    }[step]
    real = getattr(place, name)

    def interrupted(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    async def interrupted_later(*arguments, **options):
        await real(*arguments, **options)
        raise KeyboardInterrupt

    (tmp_path / "cookies").write_text(HEADER)
    (tmp_path / "gateway.toml").write_text("mine")
    monkeypatch.setattr(place, name, interrupted if step == "check" else interrupted_later)
    assert run("--yes", "--replace", "--cookies-file", "cookies").exit_code == 1
    assert files(tmp_path) == {"cookies", "gateway.toml"}
    assert (tmp_path / "gateway.toml").read_text() == "mine"


OWNING = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "service", "init"])
"""
"""Becomes the command once the terminal is its own, so that Ctrl-C reaches it.

A shell starts its background jobs with SIGINT ignored, and they pass this on: the tests may be such a job.
"""


class Terminal:
    """`gemini-gateway init` in a terminal of its own."""

    def __init__(self, folder, env):
        self.text, self._seen = "", 0
        self._terminal, theirs = pty.openpty()
        with os.fdopen(theirs, "r+b", buffering=0) as end:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", OWNING],
                cwd=folder,
                env={**os.environ, **env, "TERM": "dumb", "PYTHONPATH": str(ROOT)},
                stdin=end,
                stdout=end,
                stderr=end,
                start_new_session=True,
            )

    def wait_for(self, words):
        until = time.monotonic() + 90
        while words not in self.text[self._seen :]:
            assert time.monotonic() < until, self.text
            if select.select([self._terminal], [], [], 0.1)[0]:
                assert self._read(), self.text
        self._seen = self.text.index(words, self._seen) + len(words)

    def _read(self):
        """Read the available output; return whether there may be more."""
        try:
            self.text += os.read(self._terminal, 65536).decode("utf-8", "replace")
        except OSError:  # Linux' way to say that the other side is closed
            return False
        return True

    def type(self, text):
        os.write(self._terminal, text.encode())

    def interrupt(self):
        """Press Ctrl-C until it is heard; return the exit status.

        Python's `input` misses one that comes just before it begins to wait.
        """
        closed, until = False, time.monotonic() + 90
        while not closed:
            assert time.monotonic() < until, self.text
            self.type("\x03")
            while not closed and select.select([self._terminal], [], [], 3)[0]:
                closed = not self._read()
        return self.status()

    def status(self):
        """Read to the end; return the exit status."""
        while self._read():
            pass
        os.close(self._terminal)
        return self._popen.wait(90)

    def stop(self):
        if self._popen.poll() is None:
            self._popen.kill()
            self.status()


@pytest.fixture
def open_terminal(tmp_path):
    """Opens terminals in an empty folder, and ends their processes."""
    opened = []

    def open_terminal(env):
        opened.append(Terminal(tmp_path, env))
        return opened[-1]

    yield open_terminal
    for terminal in opened:
        terminal.stop()


def test_in_a_terminal_a_long_export_is_pasted_unseen_and_its_rest_is_discarded(open_terminal, site):
    cookies = {"__Secure-1PSID": PSID, "__Secure-1PSIDTS": PSIDTS, "NID": "canary" * 2000}
    export = json.dumps([{"name": name, "value": value, "domain": ".google.com"} for name, value in cookies.items()])
    terminal = open_terminal(site)
    for question in ASKED[:-1]:
        terminal.wait_for(question)
        terminal.type("\n")
    terminal.wait_for(ASKED[-1])
    terminal.type(f"{export}\n\ncanary\n")
    terminal.wait_for("Name of the first license")
    terminal.type("\n")
    terminal.wait_for("curl")
    assert terminal.status() == 0
    assert "canary" not in terminal.text
    assert "License me: sk-gg-" in terminal.text
    assert "✗" not in terminal.text


@pytest.mark.parametrize("questions", [1, len(ASKED)], ids=["at the first question", "while a session is pasted"])
def test_ctrl_c_in_a_terminal_leaves_nothing(open_terminal, tmp_path, questions):
    terminal = open_terminal({})
    for question in ASKED[: questions - 1]:
        terminal.wait_for(question)
        terminal.type("\n")
    terminal.wait_for(ASKED[questions - 1])
    terminal.type("canary" if questions > 1 else "")
    assert terminal.interrupt() == 130
    assert terminal.text.strip().endswith("Aborted!")
    assert "canary" not in terminal.text
    assert files(tmp_path) == set()


def test_a_key_is_recognized_checked_and_shown_as_a_key(run, tmp_path):
    key = "AIza" + "c" * 35
    site = Process("simulate", "--port", "0", "--api-key", key, cwd=tmp_path)
    try:
        url = site.wait_for("Base URL").rpartition(" ")[2].strip()
        (tmp_path / "key").write_text(key)
        env = {"GEMINI_GATEWAY__TRANSPORTS__API__BASE_URL": url}
        done = run("--yes", "--key-file", "key", env=env)
    finally:
        site.stop()
    assert done.exit_code == 0, done.output
    assert "The API accepts the key" in done.output
    assert key not in done.output
    assert list(tomllib.loads((tmp_path / "gateway.toml").read_text())["transports"]) == ["api"]


def test_both_ways_are_set_up_at_once_without_prompts(run, tmp_path, site):
    key = "AIza" + "d" * 35
    api = Process("simulate", "--port", "0", "--api-key", key, cwd=tmp_path)
    try:
        url = api.wait_for("Base URL").rpartition(" ")[2].strip()
        (tmp_path / "cookies").write_text(HEADER)
        (tmp_path / "key").write_text(key)
        env = {**site, "GEMINI_GATEWAY__TRANSPORTS__API__BASE_URL": url}
        done = run("--yes", "--cookies-file", "cookies", "--key-file", "key", "--account", "me", env=env)
    finally:
        api.stop()
    assert done.exit_code == 0, done.output
    assert re.findall(r"(?m)^(me|me-key)$", done.output) == ["me", "me-key"]
    assert "The API accepts the key" in done.output
    assert key not in done.output
    assert list(tomllib.loads((tmp_path / "gateway.toml").read_text())["transports"]) == ["web", "api"]
