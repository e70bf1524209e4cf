"""The commands `store check` and `store migrate`, over real files."""

import logging

import anyio
import pytest
import structlog
from click.testing import CliRunner

from service.cli.main import cli
from service.config.loader import SettingsError, origin_of
from service.config.schema import StoreSettings
from service.storage.factory import open_store
from tests.servers import RedisServer, programs
from transports.clock import SystemClock
from transports.store.port import ACCOUNTS, COOLDOWNS, SESSIONS

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.toml").write_text('[store]\nkey_file = "store.key"\n')
    (tmp_path / "store.key").write_text(SECRET)
    (tmp_path / "other.key").write_text(SECRET[::-1])
    handlers = logging.root.handlers[:]
    yield tmp_path
    structlog.reset_defaults()  # the commands' logs go to where their output went
    logging.root.handlers[:] = handlers


@pytest.fixture(params=["redis", "valkey"])
def server(request):
    started = RedisServer(programs()[request.param]).start()
    yield started
    started.stop()


def run(*arguments):
    done = CliRunner().invoke(cli, ["store", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def fill(path, key_file=None):
    async def write():
        async with open_store(StoreSettings(key_file=key_file), origin_of(None), path, SystemClock()) as store:
            await store.records.put(SESSIONS, "first", b"secret-cookie")
            await store.records.put(ACCOUNTS, "first", b"{}")
            await store.records.put(COOLDOWNS, "first/*/*", b"{}", seconds=600.0)

    anyio.run(write)


def read(path, key_file):
    async def scan():
        async with open_store(StoreSettings(key_file=key_file), origin_of(None), path, SystemClock()) as store:
            return [record for place in (SESSIONS, ACCOUNTS, COOLDOWNS) for record in await store.records.scan(place)]

    return anyio.run(scan)


def test_check_shows_the_store_and_counts_its_records(folder):
    fill(folder / "gateway.sqlite3", folder / "store.key")
    done = run("check")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[:3] == [
        f"Store: SQLite at {folder / 'gateway.sqlite3'}",
        "Writable: yes",
        "Encryption: with the key of store.key_file",
    ]
    assert {"  session\t1", "  account\t1", "  cooldown\t1", "  attention\t0"} <= set(lines)


def test_check_finds_unencrypted_and_unreadable_records(folder):
    fill(folder / "gateway.sqlite3")
    assert "  session\t1 (1 not encrypted)" in run("check").output.splitlines()
    (folder / "gateway.sqlite3").unlink()
    fill(folder / "gateway.sqlite3", folder / "other.key")
    with pytest.raises(SettingsError, match="2 records are sealed with another key"):
        run("check")


def test_check_creates_no_file(folder):
    done = run("check")
    assert done.exit_code == 0
    assert "does not exist yet" in done.output
    assert not (folder / "gateway.sqlite3").exists()


def test_check_reports_a_file_that_is_not_a_store(folder):
    (folder / "gateway.sqlite3").write_bytes(b"not a database, whatever it is")
    with pytest.raises(SettingsError, match=r"store\.path: .*not a database"):
        run("check")


def test_migrate_encrypts_a_plain_file_and_counts_what_it_moved(folder):
    fill(folder / "old.sqlite3")
    done = run("migrate", "--from", "sqlite:old.sqlite3", "--to", "sqlite:new.sqlite3")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert {"session\t1", "account\t1", "cooldown\t1", "attention\t0"} <= set(lines)
    assert lines[-1] == "Moved 3 records from SQLite at old.sqlite3 to SQLite at new.sqlite3 and verified the copy."
    assert b"secret-cookie" not in (folder / "new.sqlite3").read_bytes()
    records = read(folder / "new.sqlite3", folder / "store.key")
    assert [record.value for record in records] == [b"secret-cookie", b"{}", b"{}"]
    assert 500.0 < records[-1].seconds <= 600.0
    assert run("migrate", "--from", "sqlite:old.sqlite3", "--to", "sqlite:new.sqlite3").exit_code == 0


def test_migrate_takes_a_key_for_each_side(folder):
    fill(folder / "old.sqlite3", folder / "store.key")
    ends = ("--from", "sqlite:old.sqlite3", "--to", "sqlite:new.sqlite3")
    with pytest.raises(SettingsError, match="2 records are sealed with another key"):
        run("migrate", *ends, "--from-key-file", "other.key", "--to-key-file", "other.key")
    done = run("migrate", *ends, "--from-key-file", "store.key", "--to-key-file", "other.key")
    assert done.exit_code == 0, done.output
    assert read(folder / "new.sqlite3", folder / "other.key")[0].value == b"secret-cookie"


def test_migrate_leaves_a_target_with_other_records_alone(folder):
    fill(folder / "old.sqlite3")
    fill(folder / "new.sqlite3", folder / "store.key")

    async def change():
        settings = StoreSettings(key_file=folder / "store.key")
        async with open_store(settings, origin_of(None), folder / "new.sqlite3", SystemClock()) as store:
            await store.records.put(SESSIONS, "first", b"rotated")

    anyio.run(change)
    ends = ("--from", "sqlite:old.sqlite3", "--to", "sqlite:new.sqlite3")
    done = run("migrate", *ends)
    assert done.exit_code == 1
    assert "is not empty" in done.output
    assert read(folder / "new.sqlite3", folder / "store.key")[0].value == b"rotated"
    assert run("migrate", *ends, "--force").exit_code == 0
    assert read(folder / "new.sqlite3", folder / "store.key")[0].value == b"secret-cookie"


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("old.sqlite3", "sqlite:new.sqlite3", "--from"),
        ("sqlite:old.sqlite3", "redis://:hidden@host:x/0", "--to"),
        ("sqlite:old.sqlite3", "sqlite:old.sqlite3", "is the same store as --from"),
    ],
)
def test_migrate_reports_a_location_that_is_not_a_store(folder, source, target, words):
    fill(folder / "old.sqlite3")
    done = run("migrate", "--from", source, "--to", target)
    assert done.exit_code == 2
    assert words in done.output
    assert "hidden" not in done.output


def test_migrate_does_not_create_a_source(folder):
    with pytest.raises(SettingsError, match="no such file"):
        run("migrate", "--from", "sqlite:nowhere.sqlite3", "--to", "sqlite:new.sqlite3")
    assert not (folder / "nowhere.sqlite3").exists()


def test_all_records_are_migrated_to_a_server_and_back(folder, server):
    fill(folder / "old.sqlite3")
    there = ("--from", "sqlite:old.sqlite3", "--to", server.url)
    for _ in range(2):
        done = run("migrate", *there)
        assert done.exit_code == 0, done.output
    done = run("migrate", "--from", server.url, "--to", "sqlite:new.sqlite3")
    assert done.exit_code == 0, done.output
    records = read(folder / "new.sqlite3", folder / "store.key")
    assert [record.value for record in records] == [b"secret-cookie", b"{}", b"{}"]
    assert 500.0 < records[-1].seconds <= 600.0


def test_check_counts_the_records_of_a_server_and_reports_that_it_is_down(folder, server):
    (folder / "gateway.toml").write_text(f'[store]\nkey_file = "store.key"\nurl = "{server.url}"\n')
    fill(folder / "old.sqlite3")
    run("migrate", "--from", "sqlite:old.sqlite3", "--to", server.url)
    done = run("check")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert f"Store: the server at {server.url}" in lines
    assert {"Writable: yes", "  session\t1", "  attention\t0"} <= set(lines)
    server.kill()
    with pytest.raises(SettingsError, match=r"store\.url: the store at 127\.0\.0\.1:\d+ is unavailable"):
        run("check")


def test_an_unreachable_server_leaves_the_source_unchanged(folder, server):
    fill(folder / "old.sqlite3")
    server.kill()
    done = run("migrate", "--from", "sqlite:old.sqlite3", "--to", server.url)
    assert done.exit_code == 1
    assert "SQLite at old.sqlite3 is unchanged; fix the problem and run it again" in done.output
    assert len(read(folder / "old.sqlite3", None)) == 3


def test_a_password_is_not_printed(folder, server):
    fill(folder / "old.sqlite3")
    url = server.url.replace("redis://", "redis://:hidden-word@")
    done = run("migrate", "--from", "sqlite:old.sqlite3", "--to", url)
    assert "hidden-word" not in done.output
