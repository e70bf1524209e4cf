"""The store that the settings describe."""

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.config.loader import SettingsError, origin_of
from service.config.schema import StoreSettings, load
from service.storage.factory import (
    cipher_of,
    location_at,
    location_of,
    open_local_replica,
    open_store,
    open_stores,
    shown_url,
)
from tests.servers import programs, servers_of
from transports.clock import SystemClock
from transports.metrics import PrometheusStoreObserver
from transports.store.port import SESSIONS

ORIGIN = origin_of(None)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "store.key"
    path.write_bytes(b"0123456789abcdef0123456789abcdef\n")
    return path


def opening(tmp_path, **settings):
    return open_store(StoreSettings(**settings), ORIGIN, tmp_path / "gateway.sqlite3", SystemClock())


async def test_secrets_are_encrypted_in_the_file(tmp_path, key_file):
    with capture_logs() as logs:
        async with opening(tmp_path, key_file=key_file) as store:
            await store.records.put(SESSIONS, "a", b"g.a000-cookie")
            files = b"".join(path.read_bytes() for path in tmp_path.glob("gateway.sqlite3*"))
    assert b"g.a000-cookie" not in files
    assert logs == []


async def test_a_gateway_without_a_key_logs_one_warning(tmp_path):
    observer, path = PrometheusStoreObserver(CollectorRegistry()), tmp_path / "gateway.sqlite3"
    with capture_logs() as logs:
        async with opening(tmp_path):
            pass  # a command that looks at the store says nothing
        async with open_stores(StoreSettings(), ORIGIN, path, SystemClock(), observer) as (store, copy):
            await store.records.put(SESSIONS, "a", b"g.a000-cookie")
            assert (await store.records.get(SESSIONS, "a")).value == b"g.a000-cookie"
            assert copy is None
    (line,) = logs
    assert (line["event"], line["log_level"], line["setting"]) == ("store_unencrypted", "warning", "store.key_file")


async def test_an_old_key_file_still_decrypts(tmp_path, key_file):
    async with opening(tmp_path, key_file=key_file) as store:
        await store.records.put(SESSIONS, "a", b"1")
    other = tmp_path / "other.key"
    other.write_bytes(b"x" * 32)
    for settings in ({"key_file": other}, {}):
        with pytest.raises(SettingsError, match=r"1 record is sealed with another key; set store\.key_file"):
            async with opening(tmp_path, **settings):
                raise AssertionError
    async with opening(tmp_path, key_file=other, old_key_files=(key_file,)) as store:
        assert (await store.records.get(SESSIONS, "a")).value == b"1"
    async with opening(tmp_path, old_key_files=(key_file,)) as store:
        assert (await store.records.get(SESSIONS, "a")).value == b"1"


@pytest.mark.parametrize("program", programs())
async def test_records_of_another_key_on_a_server_are_named_before_anything_is_read(tmp_path, key_file, program):
    other = tmp_path / "other.key"
    other.write_bytes(b"x" * 32)
    with servers_of(programs()[program]) as start:
        url = start().url
        async with opening(tmp_path, url=url, key_file=key_file) as store:
            await store.records.put(SESSIONS, "a", b"1")
            await store.records.put(SESSIONS, "b", b"1")
        with pytest.raises(SettingsError, match=r"store\.url: 2 records are sealed with another key"):
            async with opening(tmp_path, url=url, key_file=other):
                raise AssertionError
        async with opening(tmp_path, url=url, key_file=key_file) as store:
            assert len(await store.records.scan(SESSIONS)) == 2


async def test_a_store_that_cannot_be_opened_names_its_setting(tmp_path):
    (tmp_path / "gateway.sqlite3").write_bytes(b"no database at all, whatever it is")
    with pytest.raises(SettingsError, match=r"store\.path: .*gateway\.sqlite3: .*not a database"):
        async with opening(tmp_path):
            raise AssertionError


async def test_a_shared_store_has_an_encrypted_local_replica(tmp_path, key_file):
    path, clock = tmp_path / "state" / "gateway.sqlite3", SystemClock()
    async with open_local_replica(StoreSettings(key_file=key_file), ORIGIN, path, clock) as copy:
        assert copy is None
    shared = StoreSettings(url="redis://127.0.0.1:1/0", key_file=key_file)
    async with open_local_replica(shared, ORIGIN, path, clock) as copy:
        await copy.put(SESSIONS, "a", b"g.a000-cookie")
        assert (await copy.get(SESSIONS, "a")).value == b"g.a000-cookie"
    file = tmp_path / "state" / "gateway-replica.sqlite3"
    assert b"g.a000-cookie" not in file.read_bytes()
    file.write_bytes(b"no database at all, whatever it is")
    with pytest.raises(SettingsError, match=r"store\.local_replica_path: .*not a database"):
        async with open_local_replica(shared, ORIGIN, path, clock):
            raise AssertionError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('key_file = "nowhere.key"', ["store.key_file", "nowhere.key", "No such file"]),
        ('key_file = "short.key"', ["store.key_file", "short.key", "32 bytes"]),
        ('key_file = "."', ["store.key_file", "Is a directory"]),
        ('old_key_files = ["short.key"]', ["store.old_key_files", "short.key", "32 bytes"]),
        ('url = "redis://host"\nurl_file = "url"', ["store.url", "store.url_file"]),
        ('url_file = "nowhere.url"', ["store.url_file", "nowhere.url"]),
        ('url_file = "empty"', ["store.url_file", "is empty"]),
        ('url_file = "secret"', ["store.url_file", "redis://"]),
        ('url = "http://user:hidden-word@host"', ["store.url", "redis://"]),
        ('url = "redis://:hidden-word@host:66666/0"', ["store.url", "redis://"]),
        ('url = "redis://:hidden-word@host:port"', ["store.url", "redis://"]),
    ],
)
def test_an_invalid_setting_is_named_without_its_value(tmp_path, text, words):
    (tmp_path / "short.key").write_bytes(b"hidden-word".ljust(31, b" ") + b"\n")
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "secret").write_bytes(b"rediss://:hidden-word@host?no=option")
    path = tmp_path / "gateway.toml"
    path.write_text(f"[store]\n{text}\n")
    settings, origin = load(path, {}).store, origin_of(path)
    with pytest.raises(SettingsError) as raised:
        cipher_of(settings, origin)
        location_of(settings, origin, tmp_path / "gateway.sqlite3")
    message = str(raised.value)
    assert all(word in message for word in ["gateway.toml", *words]), message
    assert "hidden-word" not in message


def test_a_url_may_come_from_a_file(tmp_path):
    (tmp_path / "url").write_text("rediss://user:pass@host:6380/1\n")
    location = location_of(StoreSettings(url_file=tmp_path / "url"), ORIGIN, tmp_path / "x")
    assert (location.path, location.url) == (None, "rediss://user:pass@host:6380/1")
    assert "pass" not in f"{location} {location!r}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:p@ss@host", "redis://:***@host"),
        ("rediss://user:pass@host/1?ssl_ca_certs=ca.pem", "rediss://user:***@host/1?***"),
        ("redis://host?password=pass", "redis://host?***"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize("text", ["", "sqlite:", "gateway.sqlite3", "http://host", "redis://:hidden@host:x/0"])
def test_an_invalid_location_is_refused(text):
    with pytest.raises(ValueError, match="is not of the form") as raised:
        location_at(text)
    assert "hidden" not in str(raised.value)
