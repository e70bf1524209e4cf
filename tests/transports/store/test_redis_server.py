import pytest

from service.server.certificate import write_certificate
from tests.clock import ManualClock
from tests.servers import RecordingStoreObserver, RedisServer, programs
from transports.clock import SystemClock
from transports.store.port import SESSIONS
from transports.store.redis import RedisOptions, open_redis
from transports.store.redis_server import RedisAddress

SECRET = "pa55"


@pytest.mark.parametrize(
    ("url", "where", "tls"),
    [
        ("redis://cache.example", "cache.example:6379", False),
        (f"redis://:{SECRET}@cache.example:6380/1", "cache.example:6380", False),
        (f"rediss://me:{SECRET}@cache.example?ssl_ca_certs=ca.pem", "cache.example:6379", True),
    ],
)
def test_a_url_becomes_an_address(url, where, tls):
    address = RedisAddress.of(url)
    assert (address.name, address.tls) == (where, tls)
    assert SECRET not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@cache.example",
        f"cache.example:{SECRET}",
        f"redis://:{SECRET}/x@cache.example",
        f"unix:///tmp/{SECRET}",
        f"redis://:{SECRET}@cache.example?socket_timeout=60",
        "",
    ],
)
def test_an_invalid_url_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match="is not of the form redis://") as caught:
        RedisAddress.of(url)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__}"
    assert caught.value.__context__ is None or caught.value.__suppress_context__


async def test_tls_needs_a_trusted_certificate(tmp_path):
    certificate, key = write_certificate(tmp_path, SystemClock().wall())
    words = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no")
    server = RedisServer(programs()["redis"])
    try:
        server.start("--tls-port", str(server.tls_port), *map(str, words))
        trusting = f"rediss://localhost:{server.tls_port}/0?ssl_ca_certs={certificate}"
        async with open_redis(RedisOptions(url=trusting), ManualClock(), RecordingStoreObserver()) as store:
            assert await store.put(SESSIONS, "a", b"1", expected=0)
        observer = RecordingStoreObserver()
        async with open_redis(RedisOptions(url=trusting.partition("?")[0]), ManualClock(), observer):
            assert observer.breaker == [True]
    finally:
        server.stop()
