import sqlite3

import pytest

from protocol.model import Feature, Saturated
from service.book import License, LicenseBook
from service.licenses import Licenses, fixed_licenses, new_key
from service.settings import LicenseSetting, Origin, SettingsError


@pytest.fixture
def book(tmp_path):
    opened = LicenseBook(tmp_path / "gateway.sqlite3")
    yield opened
    opened.close()


def caller(licenses, key):
    return licenses.caller(b"Bearer " + key.encode())


def test_a_license_is_found_by_its_key_until_it_is_revoked(book, tmp_path):
    key = new_key()
    book.add(License(id="team", models=("gemini-3-*",), created=1.0), key)
    licenses = Licenses([], book)
    found = caller(licenses, key)
    assert (found.id, found.models) == ("team", ("gemini-3-*",))
    other = LicenseBook(tmp_path / "gateway.sqlite3")
    other.revoke("team", 2.0)
    other.close()
    assert caller(licenses, key) is None
    assert book.all() == [License(id="team", models=("gemini-3-*",), created=1.0, revoked=2.0)]


def test_the_settings_licenses_hold_beside_the_books(book):
    licenses = Licenses([("fixed-key-1", License(id="fixed"))], book)
    assert caller(licenses, "fixed-key-1").id == "fixed"
    assert caller(licenses, "fixed-key-2") is None


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer short",
        b"Basic fixed-key-1",
        b"fixed-key-1",
        b"Bearer \xff\xfe\xfd\xfc" * 3,
        b"Bearer " + b"x" * 10_000,
        b"Bearer fixed key 1",
        b"Bearer fixed-key-1\x00",
    ],
)
def test_what_is_no_key_is_nobody(book, header):
    assert Licenses([("fixed-key-1", License(id="fixed"))], book).caller(header) is None


def test_the_caller_has_the_licenses_features(book):
    key = new_key()
    book.add(License(id="team", features=(Feature.CHAT,)), key)
    licenses = Licenses([("fixed-key-1", License(id="fixed", features=(Feature.IMAGES,)))], book)
    assert caller(licenses, key).features == (Feature.CHAT,)
    assert caller(licenses, "fixed-key-1").features == (Feature.IMAGES,)


def test_a_locked_book_is_told_at_once_and_the_settings_licenses_go_on(book, tmp_path):
    key = new_key()
    book.add(License(id="team"), key)
    licenses = Licenses([("fixed-key-1", License(id="fixed"))], book)
    other = sqlite3.connect(tmp_path / "gateway.sqlite3", isolation_level=None)
    book._reader.execute("PRAGMA journal_mode=DELETE").fetchall()
    other.execute("BEGIN EXCLUSIVE")
    assert caller(licenses, "fixed-key-1").id == "fixed"
    assert licenses.valid("fixed")
    for ask in (lambda: caller(licenses, key), lambda: licenses.valid("team")):
        with pytest.raises(Saturated) as caught:
            ask()
        assert (caught.value.code, caught.value.retry_after) == ("state_unavailable", 5.0)
    other.execute("ROLLBACK")
    other.close()
    assert caller(licenses, key).id == "team"


def settings_of(*licenses):
    return tuple(LicenseSetting(**fields) for fields in licenses)


def test_a_key_may_be_in_a_file(tmp_path):
    (tmp_path / "key").write_text("key-in-a-file\n")
    found = fixed_licenses(settings_of({"id": "a", "key_file": tmp_path / "key"}), Origin(name="x"))
    assert found == [("key-in-a-file", License(id="a"))]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read: No such file"), (b"\xff\xfe" * 9, "not UTF-8"), (b"", "8 to 256")]
)
def test_a_file_that_holds_no_key_is_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(SettingsError, match=rf"x: licenses\[0\].*{words}"):
        fixed_licenses(settings_of({"id": "a", "key_file": tmp_path / "key"}), Origin(name="x"))
