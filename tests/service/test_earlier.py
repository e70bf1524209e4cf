"""A file of the version before loses nothing by the update: neither sessions nor licenses, keys or jobs."""

import json
import sqlite3
from contextlib import closing

import msgspec
import pytest

from protocol.model import Caller, Catalogue, Feature, GenerationRequest, Job, JobKind, Role, TextPart, Turn
from service.earlier import bring_over
from service.jobs.store import JobStore
from service.licenses.store import LicenseStore, digest_of
from service.storage.keys import stored_key
from tests.clock import ManualClock
from transports.store import SqliteStore
from transports.store.port import JOBS, KEYS, LICENSES, SESSIONS

TABLES = """
CREATE TABLE session (account TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL);
CREATE TABLE writer (account TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL);
CREATE TABLE license (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, models TEXT NOT NULL, created REAL NOT NULL, revoked REAL{});
CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE job (
    id TEXT PRIMARY KEY, license TEXT NOT NULL, kind TEXT NOT NULL, over INTEGER NOT NULL, created REAL NOT NULL,
    expires REAL NOT NULL, body BLOB NOT NULL, holder TEXT NOT NULL DEFAULT '', until REAL NOT NULL DEFAULT 0);
"""
FEATURES = ", features TEXT NOT NULL DEFAULT '*'"
SAVED = b'{"seed":"abc","cookies":{"__Secure-1PSIDTS":"secret-value"},"rotated_at":5.0}'


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gateway.sqlite3"


@pytest.fixture
def opened(path, clock):
    with closing(SqliteStore(path, clock)) as store:
        yield store


def fill(path, *rows, features=FEATURES):
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(TABLES.format(features))
        for table, *values in rows:
            database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


def tables(path):
    with closing(sqlite3.connect(path)) as database:
        return {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def job(clock, identity="video_1"):
    turns = (Turn(role=Role.USER, parts=(TextPart(text="A film"),)),)
    selection = Catalogue.build().resolve("gemini-3-pro")
    request = GenerationRequest(id="req", caller=Caller(id="team"), selection=selection, turns=turns)
    return Job(id=identity, kind=JobKind.VIDEO, request=request, model="gemini-3-pro", created=clock.wall())


async def test_sessions_and_keys_are_brought_over_and_leave_no_byte_behind(path, clock, opened):
    fill(path, ("session", "first", SAVED, 7), ("session", "second", b"2", 1), ("secret", "media", b"k" * 32))
    await bring_over(path, opened, clock)
    assert (await opened.get(SESSIONS, "first")).value == SAVED
    assert await opened.keys(SESSIONS) == ["first", "second"]
    assert await stored_key(opened, "media") == b"k" * 32
    assert not tables(path) & {"session", "license", "job", "secret"}
    await opened.remove(SESSIONS, "first")
    await bring_over(path, opened, clock)
    assert await opened.keys(SESSIONS) == ["second"]


async def test_what_is_in_the_store_already_is_newer(path, clock, opened):
    fill(path, ("session", "first", SAVED, 7), ("secret", "media", b"old"))
    await opened.put(SESSIONS, "first", b"new")
    await opened.put(KEYS, "media", b"new")
    await bring_over(path, opened, clock)
    assert (await opened.get(SESSIONS, "first")).value == b"new"
    assert (await opened.get(KEYS, "media")).value == b"new"


async def test_licenses_are_valid_as_before_and_revoked_ones_stay_so(path, clock, opened):
    digest, other = digest_of(b"key-number-1"), digest_of(b"key-number-2")
    fill(
        path,
        ("license", "team", digest, "gemini-3-* gpt*", 5.0, None, "chat images"),
        ("license", "gone", other, "*", 6.0, 7.0, "*"),
    )
    await bring_over(path, opened, clock)
    book = LicenseStore(opened, clock)
    found = await book.find(digest)
    assert (found.id, found.models, found.created) == ("team", ("gemini-3-*", "gpt*"), 5.0)
    assert set(found.features) == {Feature("chat"), Feature("images")}
    assert await book.find(other) is None
    assert [one.revoked for one in await book.all()] == [None, 7.0]


async def test_licenses_from_before_there_were_features_have_all(path, clock, opened):
    fill(path, ("license", "team", digest_of(b"key-number-1"), "*", 5.0, None), features="")
    await bring_over(path, opened, clock)
    assert set((await LicenseStore(opened, clock).find(digest_of(b"key-number-1"))).features) == set(Feature)


async def test_jobs_are_found_listed_and_gone_on_with(path, clock, opened):
    kept, over = job(clock), job(clock, "video_2")
    row = ("team", "video", 0, kept.created)
    fill(
        path,
        ("job", kept.id, *row, clock.wall() + 60.0, msgspec.json.encode(kept), "worker", clock.wall() + 60.0),
        ("job", over.id, *row, clock.wall() - 1.0, msgspec.json.encode(over), "", 0.0),
        ("job", "video_3", *row, clock.wall() + 60.0, json.dumps({"torn": True}).encode(), "", 0.0),
    )
    await bring_over(path, opened, clock)
    assert await opened.keys(JOBS) == [kept.id]
    ledger = JobStore(opened, clock)
    assert await ledger.find("team", JobKind.VIDEO, kept.id) == kept
    assert await ledger.idle(JobKind.VIDEO) == [kept.id]
    clock.advance(61.0)
    assert await ledger.find("team", JobKind.VIDEO, kept.id) is None


async def test_what_was_broken_off_is_done_again(path, clock, opened, monkeypatch):
    fill(path, ("session", "a", b"1", 1), ("session", "b", b"2", 1))

    async def fails(place, key, value, **options):
        if key == "b":
            raise OSError("the disk is full")
        return await SqliteStore.put(opened, place, key, value, **options)

    with monkeypatch.context() as patched:
        patched.setattr(opened, "put", fails)
        with pytest.raises(OSError, match="the disk is full"):
            await bring_over(path, opened, clock)
    assert "session" in tables(path)
    await opened.put(SESSIONS, "a", b"rotated since")
    await bring_over(path, opened, clock)
    assert [record.value for record in await opened.scan(SESSIONS)] == [b"rotated since", b"2"]


async def test_a_new_file_has_nothing_to_bring(path, clock, opened):
    await bring_over(path, opened, clock)
    assert await opened.keys(LICENSES) == []
