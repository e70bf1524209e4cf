import pytest
from starlette.responses import Response

from protocol.http.dialect import Dialect, HeaderKey, QueryKey

BEARER, KEY, QUERY = HeaderKey("Authorization", scheme="Bearer"), HeaderKey("X-Goog-Api-Key"), QueryKey("key")


def scope(*headers, query=b""):
    return {"headers": list(headers), "query_string": query}


@pytest.mark.parametrize("sent", [b"Bearer abc", b"bearer abc", b"  BEARER   abc "])
def test_a_key_follows_its_scheme(sent):
    assert BEARER.read(scope((b"authorization", sent))) == b"abc"


@pytest.mark.parametrize("sent", [b"", b"abc", b"Basic abc", b"Bearerabc"])
def test_a_header_without_the_scheme_has_no_key(sent):
    assert BEARER.read(scope((b"authorization", sent))) is None


def test_a_header_that_is_sent_twice_has_no_key():
    assert KEY.read(scope((b"x-goog-api-key", b"abc"), (b"x-goog-api-key", b"abd"))) is None


def test_a_query_has_a_key_once():
    assert QUERY.read(scope(query=b"alt=sse&key=a%2Bc")) == b"a+c"
    assert QUERY.read(scope(query=b"key=a&key=b")) is None
    assert QUERY.read(scope()) is None


def test_the_first_place_with_a_key_counts():
    dialect = Dialect(name="d", routes=lambda _: (), refuse=lambda _: Response(), credentials=(KEY, QUERY))
    assert dialect.license_key(scope((b"x-goog-api-key", b" one "), query=b"key=two")) == b"one"
    assert dialect.license_key(scope(query=b"key=two")) == b"two"
    assert dialect.license_key(scope()) is None
    assert dialect.unauthorized().message.endswith("as 'X-Goog-Api-Key: <license key>' or '?key=<license key>'.")
