"""What lies on disk: a full, missing, foreign or replaced file costs what hangs on it, is named, and comes back."""

import shutil
import sqlite3
import time
from contextlib import closing

import anyio
import httpx2 as httpx
import pytest

from service.licenses.auth import new_key
from service.licenses.store import License, LicenseStore
from tests.conftest import KEY, SETTINGS, Gateway, Process
from transports.clock import SystemClock
from transports.store import Cipher, SqliteStore

CHAT = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>ok</echo>"}]}
STORE = '\n[store]\npath = "state/gateway.sqlite3"\nkey_file = "store.key"\n'
FAST = '\n[media]\ncache_dir = "kept"\n[transports.simulator]\nvideo_seconds = 0.5\n'
COMMANDS = [
    ("accounts", "list"),
    ("accounts", "check", "one"),
    ("licenses", "list"),
    ("licenses", "add", "two"),
    ("store", "check"),
    ("store", "migrate", "--from", "sqlite:../state/gateway.sqlite3", "--to", "sqlite:elsewhere.sqlite3"),
    ("doctor",),
    ("serve",),
]


def settings_of(more=""):
    """Return settings with a store in a folder of its own, and two worker processes."""
    plain = SETTINGS.format(key=KEY).replace("[server]\n", "[server]\nworkers = 2\n", 1)
    return plain.replace("[transports.simulator.pace]", f"{STORE}{FAST}{more}[transports.simulator.pace]", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("disk")
    (found / "store.key").write_bytes(bytes(range(64)))
    (found / "store.key").chmod(0o600)
    return found


@pytest.fixture(scope="module")
def gateway(folder):
    process = Gateway(folder, settings_of())
    yield process
    process.stop()


@pytest.fixture(scope="module")
def path(folder):
    return folder / "state" / "gateway.sqlite3"


def run(folder, *arguments):
    """Run a command to its end; return its status and output."""
    process = Process(*arguments, cwd=folder)
    status = process.status()
    process.stop()
    return status, process.text()


def eventually(check):
    until = time.monotonic() + 60
    while not check():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def get(gateway, path, key=KEY):
    return httpx.get(f"{gateway.base_url}{path}", headers={"Authorization": f"Bearer {key}"}, timeout=60)


def ask(gateway, key):
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{gateway.base_url}/chat/completions", headers=headers, json=CHAT, timeout=60).status_code


def video(gateway):
    body = {"model": "gemini-3-pro-video", "prompt": "a cat"}
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{gateway.base_url}/videos", headers=headers, json=body, timeout=60)


def licenses(path, work):
    """Open the store as a command does, run `work` on its licenses, and close it."""

    async def main():
        clock = SystemClock()
        with closing(SqliteStore(path, clock, Cipher(bytes(range(64))))) as store:
            return await work(LicenseStore(store, clock))

    return anyio.run(main)


def add_license(path, name):
    key = new_key()
    licenses(path, lambda kept: kept.add(License(id=name, created=0.0), key))
    return key


def listed(path):
    return {one.id for one in licenses(path, lambda kept: kept.all())}


@pytest.fixture(scope="module")
def first(gateway, path):
    """A license that every process has seen long ago."""
    key = add_license(path, "first")
    eventually(lambda: [ask(gateway, key) for _ in range(6)] == [200] * 6)
    return key


def works(check):
    """Return whether a check holds; a command may fail while a file is being replaced."""
    try:
        return check()
    except OSError:
        return False


def delete(path):
    path.unlink()


def delete_all(path):
    for file in path.parent.iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()


def delete_folder(path):
    shutil.rmtree(path.parent)


def move_folder(path):
    path.parent.rename(path.parent.with_name(f"state-{time.monotonic_ns()}"))


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "lose",
    [delete, delete_all, delete_folder, move_folder, empty],
    ids=lambda lose: lose.__name__,
)
def test_a_file_that_is_lost_comes_back(gateway, path, first, lose):
    lose(path)
    eventually(path.exists)
    eventually(lambda: works(lambda: "first" in listed(path)))
    after = add_license(path, lose.__name__)
    for one in (KEY, first, after):
        eventually(lambda one=one: [ask(gateway, one) for _ in range(6)] == [200] * 6)
    assert video(gateway).status_code == 200
    assert {"first", lose.__name__} <= listed(path)


def test_a_job_outlives_its_file(gateway, path):
    job = video(gateway).json()["id"]
    delete_all(path)
    eventually(path.exists)
    eventually(lambda: get(gateway, f"/videos/{job}").json()["status"] == "completed")


def garbage(path):
    path.write_bytes(b"no database " * 100)


def foreign(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE notes (text TEXT)")


@pytest.mark.parametrize("spoil", [garbage, foreign], ids=lambda spoil: spoil.__name__)
def test_a_foreign_file_is_named_and_chat_continues(gateway, folder, path, first, spoil):
    fresh = path.with_name("fresh")
    spoil(fresh)
    for file in [file for file in path.parent.iterdir() if file != fresh and file.is_file()]:
        file.unlink()
    fresh.rename(path)
    content = path.read_bytes()
    eventually(lambda: httpx.get(f"{gateway.origin}/readyz").json() == {"status": "ready", "store": "file_unusable"})
    assert "gateway_store_file_unusable 1.0" in httpx.get(f"{gateway.origin}/metrics").text
    assert '"store_file_unusable"' in gateway.text()
    assert [ask(gateway, one) for one in (KEY, first) * 3] == [200] * 6
    status, said = run(folder, "doctor")
    assert status == 78
    assert "is not a database of this gateway" in " ".join(said.split())
    assert path.read_bytes() == content
    path.unlink()
    eventually(path.exists)
    eventually(lambda: works(lambda: "first" in listed(path)))
    eventually(lambda: "gateway_store_file_unusable 0.0" in httpx.get(f"{gateway.origin}/metrics").text)


def served(link):
    """Return the content of a link; only the process that made it has the picture, since each has its own site."""
    while True:
        answer = httpx.get(link, timeout=60)
        assert answer.status_code in {200, 502}, answer.text
        if answer.status_code == 200:
            return answer.content


def test_media_are_passed_on_while_their_cache_cannot_be_written(gateway, folder):
    headers, body = {"Authorization": f"Bearer {KEY}"}, {"model": "gemini-3-pro-imagen", "prompt": "a cat"}
    made = httpx.post(f"{gateway.base_url}/images/generations", headers=headers, json=body, timeout=60).json()
    link, kept = made["data"][0]["url"], folder / "kept"
    kept.rmdir()
    kept.write_text("a file where the folder was")
    pictures = {served(link) for _ in range(4)}
    assert len(pictures) == 1
    eventually(lambda: '"media_cache_write_failed"' in gateway.text())
    assert "gateway_media_cache_failures_total 4.0" in httpx.get(f"{gateway.origin}/metrics").text
    status, said = run(folder, "doctor")
    assert status == 1
    assert "media.cache_dir" in said
    kept.unlink()
    assert {served(link)} == pictures
    assert len(list(kept.iterdir())) == 1


def test_records_of_another_key_stop_every_command(folder, path):
    other = folder / "other"
    other.mkdir()
    (other / "gateway.toml").write_text(settings_of().replace("workers = 2", "workers = 1"))
    (other / "store.key").write_bytes(bytes(range(64)))
    (other / "store.key").chmod(0o600)
    with closing(Site(other)) as gateway:
        assert video(gateway).status_code == 200
    before = contents(other / "state" / "gateway.sqlite3")
    (other / "store.key").write_bytes(bytes(range(1, 65)))
    processes = []
    for command in COMMANDS:
        own = other / "-".join(command).replace("/", "_")[:20].replace(":", "_")
        own.mkdir()
        processes.append(Process(*command, "--config", str(other / "gateway.toml"), cwd=own))
    said = {command: (process.status(), process.text()) for command, process in zip(COMMANDS, processes, strict=True)}
    for process in processes:
        process.stop()
    assert {command: status for command, (status, _) in said.items()} == dict.fromkeys(COMMANDS, 78), said
    for text in (text for _, text in said.values()):
        assert "sealed with another key" in " ".join(text.split())
    assert contents(other / "state" / "gateway.sqlite3") == before


def contents(path):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(
            "SELECT collection, key, value FROM record WHERE until IS NULL ORDER BY 1, 2"
        ).fetchall()


class Site(Gateway):
    """A gateway that `closing` stops."""

    def __init__(self, folder):
        super().__init__(folder, (folder / "gateway.toml").read_text())

    def close(self):
        self.stop()
