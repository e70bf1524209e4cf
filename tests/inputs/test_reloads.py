"""A reload takes over what `serve` would start with, and otherwise nothing: a real gateway, with SIGHUP."""

import os
import signal
import time

import httpx2
import pytest

from tests.conftest import KEY, SETTINGS, Gateway

FILE = "gateway.toml"
CLIENT = httpx2.Client()
GOOD = SETTINGS.format(key=KEY)
OTHER = "sk-test-fedcba9876543210"
TWO = GOOD + f'[[licenses]]\nid = "other"\nkey = "{OTHER}"\n'


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory):
    """A gateway that is reloaded with many settings files."""
    process = Gateway(tmp_path_factory.mktemp("reloaded"), GOOD)
    yield process
    process.stop()


def reload(gateway, content):
    """Replace the settings file and reload; return the last line of the log once there is a new one."""
    path = gateway.log.parent / FILE
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    before = gateway.text().count("config_reload")
    gateway.signal(signal.SIGHUP)
    until = time.monotonic() + 60
    while gateway.text().count("config_reload") == before:
        assert time.monotonic() < until, gateway.text()
        time.sleep(0.01)
    return [line for line in gateway.text().splitlines() if "config_reload" in line][-1]


def counts(gateway):
    lines = CLIENT.get(f"{gateway.origin}/metrics").text.splitlines()
    names = ("gateway_config_reloads_total", "gateway_config_reload_failures_total")
    return [float(line.split()[1]) for name in names for line in lines if line.startswith(f"{name} ")]


def status(gateway, key):
    return CLIENT.get(f"{gateway.base_url}/models", headers={"Authorization": f"Bearer {key}"}).status_code


CUT = [GOOD[:place].encode() for place in range(0, GOOD.index("[transports"), 17)]
REFUSED = [
    (None, "cannot be read"),
    ("folder", "cannot be read"),
    ("pipe", "is a pipe"),
    (b"", "transports"),
    (b"\n\n", "transports"),
    (b"\xef\xbb\xbf", "transports"),
    (b"\0" * 4096, "neither UTF-8"),
    (GOOD.encode("utf-16")[:-1], "neither UTF-8"),
    (GOOD.encode()[:-5], "not valid TOML"),
    *((cut, "") for cut in CUT),
    (GOOD.replace("[[licenses]]", "[[license]]").encode(), "unknown key"),
    (GOOD.replace(KEY, "").encode(), "licenses[0]"),
    (GOOD.replace(KEY, "short").encode(), "licenses[0]"),
    (GOOD.partition("[[licenses]]")[0].encode() + b"[transports.simulator]\n", "licenses: all are gone"),
    (GOOD.replace("transports.simulator.pace", "transports.web.hosts").encode(), ""),
    (GOOD.partition("[transports")[0].encode() + b"[transports.web]\n", "gateway.toml: "),
    (GOOD.replace("port = 0", "port = 'x'").encode(), "whole number"),
    ((TWO + '[[licenses]]\nid = "third"\nkey_file = "nowhere"\n').encode(), "nowhere"),
    (TWO.replace(OTHER, KEY).encode(), "the key of the license"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED)
def test_a_file_that_serve_would_refuse_changes_nothing(reloaded, content, reason):
    before = counts(reloaded)
    line = reload(reloaded, content)
    assert "config_reload_failed" in line
    assert reason in line
    assert KEY not in line
    assert counts(reloaded) == [before[0], before[1] + 1]
    assert [status(reloaded, key) for key in (KEY, OTHER)] == [200, 401]


def test_licenses_may_be_renamed_and_swap_their_keys(reloaded):
    assert "config_reloaded" in reload(reloaded, TWO.encode())
    renamed = TWO.replace('id = "other"', 'id = "renamed"')
    assert "config_reloaded" in reload(reloaded, renamed.encode())
    assert [status(reloaded, key) for key in (KEY, OTHER)] == [200, 200]
    swapped = renamed.replace(OTHER, "x").replace(KEY, OTHER).replace('"x"', f'"{KEY}"')
    assert "config_reloaded" in reload(reloaded, swapped.encode())
    assert [status(reloaded, key) for key in (KEY, OTHER)] == [200, 200]
    assert "config_reloaded" in reload(reloaded, GOOD.encode())
    assert [status(reloaded, key) for key in (KEY, OTHER)] == [200, 401]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_good_file_is_taken_over_and_another_takes_it_back(reloaded, encoding):
    before = counts(reloaded)
    assert "config_reloaded" in reload(reloaded, TWO.encode(encoding))
    assert [status(reloaded, key) for key in (KEY, OTHER)] == [200, 200]
    assert "config_reloaded" in reload(reloaded, GOOD.replace("\n", "\r\n").encode(encoding))
    assert [status(reloaded, key) for key in (KEY, OTHER)] == [200, 401]
    assert counts(reloaded) == [before[0] + 2, before[1]]
