import pytest

from service.licenses import License, LicenseBook, LicenseError, Licenses, digest_of, new_key


@pytest.fixture
def book(tmp_path):
    opened = LicenseBook(tmp_path / "gateway.sqlite3")
    yield opened
    opened.close()


def caller(licenses, key):
    return licenses.caller(b"Bearer " + key.encode())


def test_a_license_is_found_by_its_key_until_it_is_revoked(book, tmp_path):
    key = new_key()
    book.add("team", key, ["gemini-3-*"], 1.0)
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


def test_only_a_digest_is_stored(book, tmp_path):
    key = new_key()
    book.add("team", key, ["*"], 1.0)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert digest_of(key.encode()) in stored
    assert key.encode() not in stored


@pytest.mark.parametrize(
    ("identity", "key"), [("", "long-enough"), ("a b", "long-enough"), ("a", "short"), ("a", "ключ-ключ-ключ")]
)
def test_ids_and_keys_are_fit_for_logs_and_headers(book, identity, key):
    with pytest.raises(LicenseError):
        book.add(identity, key, ["*"], 1.0)


def test_an_id_is_used_once_and_only_what_exists_is_revoked(book):
    book.add("team", new_key(), ["*"], 1.0)
    with pytest.raises(LicenseError):
        book.add("team", new_key(), ["*"], 1.0)
    with pytest.raises(LicenseError):
        book.revoke("nobody", 1.0)
