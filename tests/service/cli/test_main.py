import re
import subprocess
import sys

import httpx2 as httpx
import pytest

from tests.conftest import ROOT


@pytest.fixture
def command(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "service", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    (tmp_path / "gateway.toml").write_text("")
    return run


def test_licenses_are_added_listed_and_revoked_while_the_gateway_runs(start_gateway):
    gateway = start_gateway()

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "service", "licenses", *arguments],
            cwd=gateway.log.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout

    key = run("add", "new-team", "--model", "gemini-2.5-*").strip()
    headers = {"Authorization": f"Bearer {key}"}
    listed = httpx.get(f"{gateway.base_url}/models", headers=headers).json()["data"]
    assert {row["id"].startswith("gemini-2.5-") for row in listed} == {True}
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "x"}]}
    refused = httpx.post(f"{gateway.base_url}/chat/completions", headers=headers, json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert "new-team\tactive" in run("list")
    assert key not in run("list")
    run("revoke", "new-team")
    assert "new-team\trevoked" in run("list")
    assert httpx.get(f"{gateway.base_url}/models", headers=headers).status_code == 401


def test_mistakes_with_licenses_are_one_line(command):
    command("licenses", "add", "team")
    for arguments in (("add", "team"), ("add", "a b"), ("revoke", "nobody")):
        done = command("licenses", *arguments)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
    assert command("licenses", "add", "x", "--feature", "flying").returncode == 2


def test_a_license_is_for_the_features_that_it_was_added_with(command):
    command("licenses", "add", "bob", "--feature", "images", "--feature", "chat")
    command("licenses", "add", "all")
    listed = [line.split("\t") for line in command("licenses", "list").stdout.splitlines()]
    assert sorted((row[0], row[-1]) for row in listed) == [
        ("all", "chat images video canvas research storybook"),
        ("bob", "chat images"),
    ]
    command("licenses", "revoke", "bob")
    again = command("licenses", "add", "bob", "--feature", "video")
    assert (again.returncode, again.stdout.startswith("sk-gg-")) == (0, True)
    assert [line for line in command("licenses", "list").stdout.splitlines() if line.startswith("bob\tactive")]


def test_a_store_that_is_broken_or_locked_is_told_in_one_line(command, tmp_path):
    import sqlite3

    command("licenses", "add", "team")
    path = tmp_path / "gateway.sqlite3"
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    done = command("licenses", "add", "other")
    lock.execute("ROLLBACK")
    lock.close()
    path.write_bytes(b"nonsense" * 1000)
    for told, words in ((done, "locked"), (command("licenses", "list"), "not a database")):
        assert told.returncode == 78
        assert len(told.stderr.strip().splitlines()) == 1
        assert f"store.path: {path}" in told.stderr
        assert words in told.stderr


def test_config_check_and_show(command, tmp_path):
    (tmp_path / "gateway.toml").write_text("[transports.web]\n")
    assert command("config", "check").stdout == "gateway.toml: ok\n"
    (tmp_path / "gateway.toml").write_text('[[licenses]]\nid = "a"\nkey = "secret-key-1"\n')
    shown = command("config", "show")
    assert 'key = "***"' in shown.stdout
    assert "secret" not in shown.stdout
    (tmp_path / "gateway.toml").write_text("[server]\nport = 'x'\n")
    for action in ("check", "show"):
        done = command("config", action)
        assert done.returncode == 78
        assert "server.port" in done.stderr


def test_a_port_in_use_is_said_in_one_line(start_gateway, command):
    port = start_gateway().origin.rpartition(":")[2]
    done = command("demo", "--port", port)
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_demo_prints_a_curl_line_that_works(start_command):
    demo = start_command("demo", "--port", "0", "--license-key", "it's-a-key")
    demo.wait_for("-d '")
    text = demo.text()
    base = next(line for line in text.splitlines() if line.startswith("Base URL:")).split()[-1]
    assert base.endswith("/gemini_official/v1")
    assert "License key: it's-a-key" in text
    line = "curl -s" + text.partition("curl")[2].partition("\n\n")[0]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    assert "simulated" in done.stdout
    state = next(line for line in text.splitlines() if line.startswith("Simulator:")).split()[-1]
    seen = httpx.get(state).json()
    assert seen["seen"]["generate"] == 1
    assert seen["departures"] == []
    faults = state.replace("/state", "/faults")
    assert httpx.post(faults, json={"where": "generate", "status": 429}).json() == {"waiting": 1}
    again = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    assert "rate_limit" in again.stdout
    demo.signal(2)
    assert demo.status() == 0


def test_the_version_and_the_help_are_there(command):
    assert re.fullmatch(r".+, version \d+\.\d+\.\d+\S*\n", command("--version").stdout)
    for name in ("demo", "serve", "simulate", "licenses", "config", "init", "completion"):
        assert name in command("--help").stdout
        assert command(name, "--help").returncode == 0


def test_the_readme_names_only_commands_that_exist(command):
    for match in re.findall(r"(?m)(?:^|`)gemini-gateway ((?:[a-z]+ ?){1,2})", (ROOT / "README.md").read_text()):
        words = match.split()
        assert command(*words[:2], "--help").returncode == 0 or command(words[0], "--help").returncode == 0
