"""The accounts page's commands, in their order, against a gateway that runs and a simulated site."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.conftest import BASE_SETTINGS, KEY, ROOT, Gateway, Process

SESSIONS = {
    "first": "simulated-psid:simulated-psidts-1",
    "profile": "simulated-profile:simulated-psidts-2",
    "exports/third": "simulated-third:simulated-psidts-3",
}
SETTINGS = f"""{BASE_SETTINGS}
[transports.web]
guest = false
rotate_seconds = 0

[transports.web.hosts]
site = "{{site}}"
accounts = "{{site}}"
upload = "{{site}}"

[transports.api]
base_url = "{{site}}"
"""


def commands(name):
    text = (ROOT / name).read_text()
    return [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.strip().splitlines()]


@pytest.fixture
def here(tmp_path):
    """A folder with two exports, and a gateway over a simulated site that has the accounts."""
    accounts = [word for pair in SESSIONS.values() for word in ("--account", f"{pair}:advanced")]
    keys = [word for key in ("AIza-simulated-free", "AIza-simulated-paid:paid") for word in ("--api-key", key)]
    site = Process("simulate", "--port", "0", *accounts, *keys, "--first-token-seconds", "0", cwd=tmp_path)
    gateway = None
    try:
        address = re.search(r"http://[\d.:]+", site.wait_for("http://"))[0]
        (tmp_path / "exports").mkdir()
        for name, pair in SESSIONS.items():
            psid, _, psidts = pair.partition(":")
            (tmp_path / f"{name}.cookies").write_text(f"__Secure-1PSID={psid}; __Secure-1PSIDTS={psidts}\n")
        (tmp_path / "gemini.key").write_text("AIza-simulated-free")
        (tmp_path / "paid.key").write_text("AIza-simulated-paid")
        gateway = Gateway(tmp_path, SETTINGS.format(key=KEY, site=address))
        yield tmp_path, gateway
    finally:
        if gateway is not None:
            gateway.stop()
        site.stop()


def run(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "160"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_commands_of_the_accounts_page_work(here):
    folder, gateway = here
    documented = commands("docs/accounts.md")
    assert len(documented) >= 6
    said = {}
    for command in documented:
        done = run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said[command.split("gemini-gateway accounts ")[1].split()[0]] = done.stdout
    assert "first" in said["list"]
    assert "second" in said["list"]
    assert "ready" in said["list"]
    assert "psidts" not in "".join(said.values())
    assert "simulated-psid" in (folder / "first.now").read_text()
    assert (folder / "first.now").stat().st_mode & 0o777 == 0o600
    answer = httpx.post(
        f"{gateway.base_url}/chat/completions",
        headers={"Authorization": f"Bearer {KEY}"},
        json={"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>here</echo>"}]},
        timeout=90,
    )
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "here"


def test_the_commands_of_the_page_on_two_ways_work(tmp_path):
    simulate, *others = commands("docs/two-ways.md")
    settings, _ = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/two-ways.md").read_text(), re.DOTALL)
    words = simulate.removeprefix("gemini-gateway ").replace("8765", "0").split()
    site = Process(*words, cwd=tmp_path)
    try:
        address = re.search(r"http://[\d.:]+", site.wait_for("http://"))[0]
        (tmp_path / "gateway.toml").write_text(settings.replace("http://127.0.0.1:8765", address))
        said = {}
        for command in others:
            done = run(command, tmp_path)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            said[" ".join(command.split()[1:4])] = done.stdout
    finally:
        site.stop()
    assert "accepts the key and lists" in said["accounts check --all"]
    assert "paid" in said["accounts list"]
    assert (
        "1. api:free: gemini-pro-latest, 1 ready (free)" in said["route explain --model"]
        or '"hops"' in (said["route explain --model"])
    )


def test_the_routes_of_the_page_on_two_ways_are_valid(tmp_path):
    settings, caching = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/two-ways.md").read_text(), re.DOTALL)
    (tmp_path / "gateway.toml").write_text(re.sub(r"(?m)^#(?! )", "", settings) + caching)
    assert run("gemini-gateway config check", tmp_path).returncode == 0
    explained = run("gemini-gateway route explain --model gemini-3-pro", tmp_path).stdout
    assert "routes[1] of the settings" in explained
    assert "api:free (50%)" in explained
