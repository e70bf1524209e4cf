import contextlib
import gzip
import socket
import ssl
from functools import partial

import anyio
import pytest

from protocol.http.budget import ByteBudget, Reservation
from protocol.http.spool import Spool, collect
from protocol.model import BadRequest
from service.config.schema import FetchSettings, Origin, SettingsError
from service.media import fetch
from service.media.fetch import Fetcher, fetching, refuse_to_fetch, resolve
from service.media.fetch_policy import FetchPolicy

HASTE = FetchSettings(connect_seconds=2.0, total_seconds=5.0)
AT_ONCE = tuple(tick / 100 for tick in range(501))
"""Report a failure within ten milliseconds."""
MOST = 1000


def alone():
    """Return the number of licenses."""
    return 1


async def whole(pieces):
    return await collect(pieces, Reservation(ByteBudget()), Spool(), MOST)


class Anywhere(FetchPolicy, frozen=True):
    """Takes loopback for a public address: only tests may."""

    def allows_address(self, address):
        return True


class Names:
    """Gives the answers of the test one after the other, and repeats the last one."""

    def __init__(self, port, *answers):
        self.port, self.answers, self.asked = port, list(answers or (["127.0.0.1"],)), []

    async def __call__(self, host, port):
        self.asked.append(host)
        hosts = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(each, self.port) for each in hosts]


def fetcher(resolver, reach=Anywhere(), settings=HASTE, failure_seconds=AT_ONCE, licenses=2):  # noqa: B008 -- frozen
    """Return a function that fetches for a license, `me` unless the test names another."""
    fetch = Fetcher(reach, settings, resolver, failure_seconds, licenses=lambda: licenses)
    return partial(fetch, collect=whole, most=MOST, license_id="me")


class Site:
    """A listener on loopback that counts connections and answers by path."""

    def __init__(self):
        self.connects, self.heads, self.answers = 0, [], {}

    @contextlib.asynccontextmanager
    async def open(self):
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as g:
            self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
            g.start_soon(listener.serve, self._serve)
            yield self
            g.cancel_scope.cancel()

    async def _serve(self, stream):
        self.connects += 1
        head = b""
        async with stream:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while b"\r\n\r\n" not in head:
                    head += await stream.receive()
                self.heads.append(head.decode())
                answer = self.answers[head.split()[1].decode()]
                if isinstance(answer, bytes):
                    await stream.send(answer)
                else:
                    await answer(stream)


@pytest.fixture
async def site():
    async with Site().open() as opened:
        yield opened


def ok(body, more=""):
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def to(place, status=302):
    return f"HTTP/1.1 {status} Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


async def refused(url, reach, resolver, settings=HASTE, failure_seconds=AT_ONCE):
    with pytest.raises(BadRequest) as caught:
        await fetcher(resolver, reach, settings, failure_seconds)(url)
    assert caught.value.code == "image_url_unreachable"
    return caught.value.message


async def fetched(url, resolver, reach=Anywhere()):  # noqa: B008 -- frozen
    return await fetcher(resolver, reach)(url)


async def test_nothing_is_fetched_if_fetching_is_disabled():
    with pytest.raises(BadRequest) as caught:
        await refuse_to_fetch("https://example.com/x.png", whole, most=1, license_id="me")
    assert caught.value.code == "image_url_not_allowed"
    async with fetching(FetchSettings(), "", Origin(name="x"), alone) as get:
        assert get is refuse_to_fetch


async def test_the_settings_determine_the_fetch_policy():
    settings = FetchSettings(enabled=True, allow=("images.example",), deny=("9.9.9.0/24",))
    async with fetching(settings, "https://gateway.example", Origin(name="x"), alone) as get:
        assert isinstance(get, fetch.Fetcher)
        assert not get._policy.allows_host("gateway.example")
        assert not get._policy.allows_address("9.9.9.9")
    with pytest.raises(SettingsError, match=r"fetch\.deny"):
        async with fetching(FetchSettings(deny=("9.9.9.0/99",)), "", Origin(name="x"), alone):
            pass


async def test_a_public_file_is_fetched_without_cookies_or_a_proxy(site, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    site.answers["/a.png?x=1"] = ok(b"picture", "Set-Cookie: a=b\r\n")
    names = Names(site.port)
    get = fetcher(names)
    assert await get("http://Images.Example/a.png?x=1#part") == b"picture"
    assert await get("http://images.example/a.png?x=1") == b"picture"
    assert names.asked == ["images.example"] * 2
    assert site.connects == 2
    for head in site.heads:
        headers = {line.partition(":")[0].lower() for line in head.splitlines()[1:] if line}
        assert headers == {"host", "user-agent", "accept", "accept-encoding", "connection"}
        assert "gemini-gateway" in head
        assert "Accept-Encoding: identity" in head


INSIDE_OR_ODD = """
http://127.0.0.1/ http://0.0.0.0/ http://127.1/ http://2130706433/ http://0x7f.1/ http://0177.0.0.1/ http://[::1]/
http://[::ffff:127.0.0.1]/ http://[::127.0.0.1]/ http://169.254.169.254/ http://[fd00:ec2::254]/ http://localhost/
http://[64:ff9b::a9fe:a9fe]/ http://[2002:a9fe:a9fe::]/ http://10.0.0.1/ http://172.16.0.1/ http://192.168.1.1/
http://100.64.0.1/ http://[fc00::1]/ http://[fec0::1]/ http://[ff02::1]/ http://224.0.0.1/ http://240.0.0.1/
http://192.0.0.1/ http://198.18.0.1/ http://metadata.google.internal/ http://[fe80::1%25lo]/ http://gateway/
file:///etc/passwd gopher://images.example/ ftp://images.example/x data:text/plain,x jar:http://images.example!/x
http://good@127.0.0.1/ http://good:pw@images.example/ http://:pw@images.example/ http://127.0.0.1#@good
http://good\\@127.0.0.1/ http://①②⑦.0.0.1/ http://%31%32%37.0.0.1/ http://127.0.0.1./
http://images.example:6379/ http://images.example:22/ http://images.example:99999/ http://images.example:443/
https://images.example:80/ http://images.example:0/ http:/// http://:80/ http:images.example //images.example/ x
http://images..example/ http://-/ http://images.example%00.com/
"""
LITERALS = [*INSIDE_OR_ODD.split(), "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/"]
ODD = ["", " http://images.example/", "http://images.exa\tmple/", "http://images.example/\n", "http://a b.example/"]
ODD += ["http://images.example/" + "x" * 9000, "http://images.example/\x00", "http://images.example\\x/"]


@pytest.mark.parametrize("url", LITERALS + ODD)
async def test_private_addresses_are_refused_by_text_or_address(site, url):
    names = Names(site.port)
    texts = {await refused(url, FetchPolicy(), names), await refused("http://images.example/", FetchPolicy(), Names(1))}
    assert len(texts) == 1
    assert site.connects == 0
    assert names.asked == []


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"]])
async def test_a_name_with_a_private_address_is_refused_even_if_it_has_a_public_one(site, answer):
    await refused("http://images.example/", FetchPolicy(), Names(site.port, answer))
    assert site.connects == 0


async def test_the_socket_checks_the_address_again_after_the_resolver(site):
    class Rebound(FetchPolicy, frozen=True):
        def allows_address(self, address, seen=[]):  # noqa: B006 -- keeps its state between calls
            seen.append(address)
            return len(seen) == 1  # at the resolver; no more at the socket

    await refused("http://images.example/", Rebound(), Names(site.port))
    assert site.connects == 0


async def test_a_name_rebound_between_two_redirects_is_refused(site):
    class ByName(FetchPolicy, frozen=True):
        def allows_address(self, address):
            return address == "127.0.0.1"

    site.answers["/"] = to("http://images.example/again")
    names = Names(site.port, ["127.0.0.1"], ["127.0.0.2"])
    await refused("http://images.example/", ByName(), names)
    assert names.asked == ["images.example"] * 2
    assert site.connects == 1


async def test_at_most_three_redirects_are_followed(site):
    site.answers |= {"/": to("/b", 301), "/b": to("c", 307), "/c": to("http://other.example/d"), "/d": ok(b"end")}
    names = Names(site.port)
    assert await fetched("http://images.example/", names) == b"end"
    assert names.asked == ["images.example"] * 3 + ["other.example"]
    site.answers |= {"/d": to("/e"), "/e": ok(b"too far")}
    await refused("http://images.example/", Anywhere(), Names(site.port))
    assert site.connects == 8


@pytest.mark.parametrize(
    "place", [url for url in LITERALS if "://" in url and "127.0.0.1" not in url] + ["", "http://"]
)
async def test_a_redirect_is_checked_like_the_first_url(site, place):
    class OnlyThere(FetchPolicy, frozen=True):
        def allows_address(self, address):
            return address == "127.0.0.1" or FetchPolicy.allows_address(self, address)

    site.answers["/"] = to(place)
    names = Names(site.port)
    await refused("http://images.example/", OnlyThere(), names)
    assert site.connects == 1
    assert names.asked == ["images.example"]


async def test_a_redirect_never_leaves_tls():
    async with fetching(FetchSettings(enabled=True), "", Origin(name="x"), alone) as get:
        secure = get._read("https://images.example/a", None)
        assert str(get._read("/b", secure)) == "https://images.example/b"
        assert str(get._read("//other.example/b", secure)) == "https://other.example/b"
        with pytest.raises(fetch._NotFetched):
            get._read("http://images.example/b", secure)
        assert str(get._read("https://images.example/b", get._read("http://images.example/", None)))


async def test_hosts_that_are_not_listed_are_not_resolved(site):
    names = Names(site.port)
    await refused("http://other.example/", Anywhere(hosts=("images.example",)), names)
    assert (names.asked, site.connects) == ([], 0)
    site.answers["/"] = to("http://other.example/")
    await refused("http://images.example/", Anywhere(hosts=("images.example",)), names)
    assert names.asked == ["images.example"]


async def endless(stream):
    await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await stream.send(b"x" * 500)


async def never(stream):
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
    await anyio.sleep_forever()


BAD_BODIES = {
    "endless": endless,
    "announced too long": b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\nx",
    "too long": ok(b"x" * (MOST + 1)),
    "a bomb": ok(gzip.compress(b"0" * 100_000), "Content-Encoding: gzip\r\n"),
    "broken off": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    "missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx",
    "no http": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "silent": b"",
}


async def test_all_failures_have_the_same_message(site):
    texts = set()
    for answer in BAD_BODIES.values():
        site.answers["/"] = answer
        texts.add(await refused("http://images.example/", Anywhere(), Names(site.port)))
    assert site.connects >= len(BAD_BODIES)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        texts.add(await refused("http://images.example/", Anywhere(), Names(closed.getsockname()[1])))
    texts.add(await refused("https://images.example/", Anywhere(), Names(site.port)))
    texts.add(await refused("http://127.0.0.1/", FetchPolicy(), Names(1)))
    assert len(texts) == 1


async def test_a_body_that_takes_too_long_is_refused(site):
    site.answers["/"] = never
    settings = FetchSettings(connect_seconds=0.1, total_seconds=0.2)
    await refused("http://images.example/", Anywhere(), Names(site.port), settings)


@pytest.mark.parametrize(
    ("took", "reported"), [(0.0, 1.0), (1.0, 1.0), (1.1, 4.0), (3.2, 4.0), (4.1, 10.0), (10.1, 10.0)]
)
def test_failures_are_reported_at_fixed_times(took, reported):
    assert Fetcher(FetchPolicy(), FetchSettings(), Names(1), licenses=alone).failure_after(took) == reported


async def test_every_failure_waits_for_its_time(site, monkeypatch):
    times = []

    async def sleep_until(deadline):
        times.append(round(deadline - anyio.current_time()))

    site.answers["/"] = BAD_BODIES["missing"]
    url = "http://images.example/"
    missing, closed = (url, Anywhere(), Names(site.port)), (url, Anywhere(), Names(1))
    monkeypatch.setattr(fetch.anyio, "sleep_until", sleep_until)
    for each in (
        missing,
        closed,
        (url, FetchPolicy(), Names(site.port)),
        ("http://10.0.0.1/", FetchPolicy(), Names(1)),
    ):
        await refused(*each, failure_seconds=(100.0,))
    assert times == [100] * 4


async def test_a_body_of_exactly_the_size_limit_is_accepted(site):
    site.answers["/"] = ok(b"x" * MOST)
    assert await fetched("http://images.example/", Names(site.port)) == b"x" * MOST


async def test_fetching_verifies_certificates(site, tmp_path):
    from service.server.certificate import write_certificate

    certificate, key = write_certificate(tmp_path, 1e9)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    secure = anyio.streams.tls.TLSListener(listener, context, handshake_timeout=2.0)
    served = []

    async def serve(stream):
        served.append(stream)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(secure.serve, serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        await refused("https://images.example/", Anywhere(), Names(port))
        tasks.cancel_scope.cancel()
    assert served == []


async def test_a_license_that_names_dead_addresses_takes_no_slot_of_another(site):
    async def silent(stream):
        await anyio.sleep_forever()

    site.answers |= {"/dead": silent, "/picture": ok(b"picture")}
    get = Fetcher(Anywhere(), FetchSettings(), Names(site.port), AT_ONCE, licenses=lambda: 2)
    again = partial(get, collect=whole, most=MOST)
    async with anyio.create_task_group() as tasks:
        for _ in range(32):
            tasks.start_soon(partial(again, license_id="a"), "http://images.example/dead")
        await anyio.wait_all_tasks_blocked()
        for _ in range(5):
            assert await again("http://images.example/picture", license_id="b") == b"picture"
        tasks.cancel_scope.cancel()


async def test_a_name_is_looked_up_in_threads_of_the_fetches():
    limiter = anyio.CapacityLimiter(1)
    assert ("127.0.0.1", 80) in await resolve(limiter, "localhost", 80)
    with pytest.raises(socket.gaierror):
        await resolve(limiter, "missing.invalid", 80)
