import sqlite3

import pytest

from protocol.model import Feature
from service.book import License, LicenseBook, LicenseError, digest_of
from service.licenses import new_key


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gateway.sqlite3"


@pytest.fixture
def book(path):
    opened = LicenseBook(path)
    yield opened
    opened.close()


def find(book, key):
    return book.find(digest_of(key.encode()))


def test_only_a_digest_is_stored(book, tmp_path):
    key = new_key()
    book.add(License(id="team"), key)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest_of(key.encode()) in stored
    assert key.encode() not in stored


@pytest.mark.parametrize(
    ("identity", "key"), [("", "long-enough"), ("a b", "long-enough"), ("a", "short"), ("a", "ключ-ключ-ключ")]
)
def test_ids_and_keys_are_fit_for_logs_and_headers(book, identity, key):
    with pytest.raises(LicenseError):
        book.add(License(id=identity), key)


def test_an_id_and_a_key_are_used_once_and_only_what_exists_is_revoked(book):
    key = new_key()
    book.add(License(id="team"), key)
    for again in (("team", new_key()), ("other", key), ("team", key)):
        with pytest.raises(LicenseError, match="exists already"):
            book.add(License(id=again[0]), again[1])
    with pytest.raises(LicenseError):
        book.revoke("nobody", 1.0)
    assert find(book, key).id == "team"


def test_a_revoked_id_may_be_added_anew_and_its_old_key_stays_worthless(book):
    old, new = new_key(), new_key()
    book.add(License(id="bob", created=1.0), old)
    book.revoke("bob", 2.0)
    book.add(License(id="bob", models=("gemini-3-*",), features=(Feature.CHAT,), created=3.0), new)
    again = License(id="bob", models=("gemini-3-*",), features=(Feature.CHAT,), created=3.0)
    assert find(book, old) is None
    assert find(book, new) == again
    assert book.all() == [again]
    with pytest.raises(LicenseError, match="exists already"):
        book.add(License(id="bob"), new_key())


def test_features_are_kept(book):
    key = new_key()
    book.add(License(id="team", features=(Feature.CHAT, Feature.IMAGES)), key)
    assert find(book, key).features == (Feature.CHAT, Feature.IMAGES)
    every = new_key()
    book.add(License(id="all"), every)
    assert find(book, every).features == tuple(Feature)


def test_an_older_database_is_brought_up_to_date_and_its_licenses_are_for_everything(path):
    key = new_key()
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE license (id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, models TEXT NOT NULL,"
            " created REAL NOT NULL, revoked REAL)",
        )
        old.execute("INSERT INTO license VALUES ('team', ?, '*', 1.0, NULL)", (digest_of(key.encode()),))
    old.close()
    for _ in range(2):
        book = LicenseBook(path)
        assert find(book, key).features == tuple(Feature)
        assert book.valid("team")
        book.close()


@pytest.mark.parametrize("ruin", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_broken_database_is_an_error_that_says_so(path, ruin):
    path.write_bytes(ruin)
    with pytest.raises(OSError, match="database") as caught:
        LicenseBook(path)
    assert caught.value.filename == str(path)


def test_readers_do_not_wait_for_a_writer(book, path):
    key = new_key()
    book.add(License(id="team"), key)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE license SET revoked = 1.0")
    assert find(book, key).id == "team"
    writer.execute("COMMIT")
    writer.close()
    assert find(book, key) is None
