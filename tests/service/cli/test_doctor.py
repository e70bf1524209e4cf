import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from service.cli import doctor as doctor_module
from tests.servers import free_port
from tests.service.cli.conftest import run_in_process
from tests.service.cli.test_accounts import HEADER, SETTINGS, site

__all__ = ["site"]


@pytest.fixture
def doctor(tmp_path, site):
    """Runs `gemini-gateway doctor` in a folder with settings for the simulated site; returns findings by subject."""
    (tmp_path / "gateway.toml").write_text(SETTINGS.format(url=site))

    def doctor():
        done = run_in_process(tmp_path, "doctor", "--json")
        found = {}
        for one in json.loads(done.stdout):
            found.setdefault(one["about"], []).append(one["finding"])
        return done.returncode, found

    return doctor


def add(folder, name, cookies):
    assert (
        run_in_process(folder, "accounts", "add", name, "--secret-stdin", "--no-check", given=cookies).returncode == 0
    )


def levels(findings):
    return {finding["step"]: finding["level"] for finding in findings}


def test_doctor_checks_settings_listener_store_licenses_and_accounts(doctor, tmp_path):
    add(tmp_path, "first", HEADER)
    status, found = doctor()
    assert status == 0
    assert list(found) == ["settings", "listener", "store", "licenses", "web", "first"]
    assert levels(found["store"]) == {
        "reachable": "ok",
        "writable": "ok",
        "encrypted": "warning",
        "clock": "ok",
        "processes": "ok",
    }
    assert levels(found["listener"]) == {"gateway": "warning"}  # none runs
    assert levels(found["web"]) == {"accounts": "ok"}
    assert set(levels(found["first"]).values()) == {"ok"}


def test_an_account_that_is_signed_out_fails_with_advice(doctor, tmp_path):
    add(tmp_path, "dead", "nobodys\nnobodys")
    status, found = doctor()
    assert status == 1
    failed = [finding for finding in found["dead"] if finding["level"] == "failed"]
    assert failed
    assert failed[-1]["advice"]


def test_settings_that_serve_refuses_fail_and_the_other_steps_still_run(doctor, tmp_path):
    with (tmp_path / "gateway.toml").open("a") as file:
        file.write('\n[media]\nkey_file = "missing.key"\n')
    status, found = doctor()
    assert status == 1
    (finding,) = found["settings"]
    assert (finding["level"], "missing.key" in str(finding)) == ("failed", True)
    assert "ok" in levels(found["store"]).values()


def test_folders_that_cannot_be_written_fail(doctor, tmp_path):
    settings = tmp_path / "gateway.toml"
    (tmp_path / "spool").mkdir()
    (tmp_path / "kept").write_text("a file where the folder was")
    folders = '[media]\ncache_dir = "kept"\n[limits]\nspool_dir = "spool"\n'
    settings.write_text(folders + settings.read_text())
    status, found = doctor()
    assert status == 1
    assert levels(found["media.cache_dir"]) == {"folder": "failed"}
    assert levels(found["limits.spool_dir"]) == {"folder": "ok"}


def test_a_missing_account_is_a_warning_that_names_the_command(doctor):
    status, found = doctor()
    assert status == 0
    (finding,) = found["web"]
    assert (finding["level"], finding["advice"]) == (
        "warning",
        "Add one: gemini-gateway accounts add ID --transport web",
    )


def test_a_terminal_gets_a_line_for_each_step_and_a_summary(tmp_path, site):
    (tmp_path / "gateway.toml").write_text(SETTINGS.format(url=site))
    lines = run_in_process(tmp_path, "doctor").stdout.splitlines()
    assert lines[0].startswith("settings ✓ config check")
    assert "steps: 0 failed, " in lines[-1]


class Ready(BaseHTTPRequestHandler):
    """Answers /readyz only, as the operations listener of a running gateway."""

    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_operations_listener_is_asked_if_it_has_a_port(doctor, tmp_path):
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            with (tmp_path / "gateway.toml").open("a") as file:
                file.write(f"\n[operations]\nport = {server.server_port}\n")
            _, found = doctor()
        finally:
            server.shutdown()
    (finding,) = found["listener"]
    assert finding["level"] == "ok"
    assert f"127.0.0.1:{server.server_port}" in finding["message"]


def test_a_failed_check_of_the_accounts_is_not_reported_as_the_stores(doctor, monkeypatch):
    def broken(*_):
        raise OSError("the replica is broken")

    monkeypatch.setattr(doctor_module, "open_local_replica", broken)
    status, found = doctor()
    assert status == 1
    assert "failed" not in levels(found["store"]).values()
    (finding,) = found["accounts"]
    assert (finding["level"], finding["message"]) == ("failed", "the replica is broken")


KEYS = """
[transports.api]
base_url = "http://127.0.0.1:{port}"
[[transports.api.accounts]]
id = "a"
key = "AIza-canary-a"
project = "one"
[[transports.api.accounts]]
id = "b"
key = "AIza-canary-b"
tier = "paid"
proxy = "http://user:canary@127.0.0.1:{port}"
[[routes]]
tools = true
to = ["api:free", "web"]
[[routes]]
to = ["api:paid"]
"""


def test_keys_are_counted_and_hops_without_accounts_and_an_api_that_does_not_answer_are_named(doctor, tmp_path):
    with (tmp_path / "gateway.toml").open("a") as file:
        file.write(KEYS.format(port=free_port()))
    status, found = doctor()
    assert status == 1
    (counted,) = found["api"]
    assert counted["message"].startswith("Number of accounts: 2 (1 free, 1 paid, project one, by http://127.0.0.1:")
    ((place, (hop,)),) = ((name, findings) for name, findings in found.items() if name.startswith("routes"))
    assert (place, hop["level"], "'web'" in hop["message"]) == ("routes[0].to", "warning", True)
    assert hop["advice"] == "Add one: gemini-gateway accounts add ID --transport web"
    assert [found[name][-1]["level"] for name in "ab"] == ["failed", "failed"]
    assert all("`base_url`" in found[name][-1]["advice"] for name in "ab")
    assert "canary" not in json.dumps(found)


def test_a_quiet_doctor_prints_problems_only(doctor, tmp_path):
    add(tmp_path, "first", HEADER)
    text = run_in_process(tmp_path, "doctor", "--quiet").stdout
    assert ("✓" in text, "No gateway answers" in text) == (False, True)
    found = json.loads(run_in_process(tmp_path, "doctor", "--quiet", "--json").stdout)
    assert found
    assert {one["finding"]["level"] for one in found} == {"warning"}
