import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.http.errors import HttpError
from service.config.schema import Origin, ServerSettings, SettingsError
from service.middleware.forwarded import PublicAddress

HTTPS = "X-Forwarded-Proto: https"
TWO_HOSTS = "X-Forwarded-Host: gw.example", "X-Forwarded-Host: inner"
TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:a::/48"))


def base(
    *headers, host="inner:8000", public_url="", client=("10.1.2.3", 5), trusted=TRUSTED, server=("127.0.0.1", 8000)
):
    pairs = [(b"host", host.encode())] if host is not None else []
    for line in headers:
        name, _, value = line.partition(": ")
        pairs.append((name.lower().encode(), value.encode("latin-1")))
    scope = {"scheme": "http", "client": client, "server": server, "headers": pairs}
    return PublicAddress(public_url=public_url, prefix="/p", trusted=trusted).base(scope)


@pytest.mark.parametrize(
    ("host", "server", "expected"),
    [
        ("inner:8000", None, "http://inner:8000/p"),
        ("inner:80", None, "http://inner/p"),
        ("[::1]:8000", None, "http://[::1]:8000/p"),
        (None, ("127.0.0.1", 8000), "http://127.0.0.1:8000/p"),
        (None, ("fe80::1%eth0", 80), "http://[fe80::1]/p"),
        (None, None, "http://localhost/p"),
        ("", ("127.0.0.1", 8000), "http://127.0.0.1:8000/p"),
        ('a b/<x>"', ("127.0.0.1", 8000), "http://127.0.0.1:8000/p"),
    ],
)
def test_without_forwarding_headers_the_request_determines_the_address(host, server, expected):
    assert base(host=host, server=server) == expected


@pytest.mark.parametrize(
    ("public_url", "expected"),
    [
        ("https://gw.example", "https://gw.example/p"),
        ("https://gw.example/", "https://gw.example/p"),
        ("https://h:8443/ai", "https://h:8443/ai/p"),
        ("https://h/a/i/", "https://h/a/i/p"),
        ("https://h/ai/p", "https://h/ai/p"),
        ("https://p", "https://p/p"),
    ],
)
def test_the_public_url_setting_takes_precedence(public_url, expected):
    assert base("X-Forwarded-Host: evil", "X-Forwarded-Prefix: /x", public_url=public_url) == expected


GATEWAY = [
    ["X-Forwarded-Host: gw.example", HTTPS],
    ["X-Forwarded-Host: gw.example, inner", "X-Forwarded-Proto: https, http"],
    ["X-Forwarded-Host: gw.example:443", "X-Forwarded-Proto: WSS"],
    ["X-Forwarded-Host: gw.example", "X-Forwarded-Port: 443", HTTPS],
    ["X-Forwarded-Host: gw.example:", "X-Forwarded-Prefix: /", HTTPS],
    ["X-Forwarded-Host: gw.example", "X-Forwarded-Prefix: /p/", HTTPS],
    ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: evil, gw.example", "X-Forwarded-Proto: http, https"],
    ["X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.2", "X-Forwarded-Host: evil, gw.example, inner", HTTPS],
    ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 10.0.0.2:99", *TWO_HOSTS, HTTPS],
    ["X-Forwarded-For: 2001:db8::1, 2001:db8:a::1", *TWO_HOSTS, HTTPS],
    ["X-Forwarded-For: unknown", "X-Forwarded-Host: gw.example", HTTPS],
    ['Forwarded: for=1.2.3.4;proto=https;host="gw.example", for=10.0.0.1'],
    ['Forwarded: for=6.6.6.6;host=evil;proto=http, for="1.2.3.4:4711";host=gw.example;proto=https, for=10.0.0.2'],
    ['Forwarded: host=evil, for="[2001:db8::1]:8";host=gw.example;proto=https, for="[2001:db8:a::1]"'],
    ["Forwarded: for=_hidden;host=gw.example;proto=https", "X-Forwarded-For: 6.6.6.6"],
    ["Forwarded: Host=gw.example; Proto=https", "X-Forwarded-Host: other"],
    ["Forwarded: proto=HTTPS", "X-Forwarded-Host: gw.example", "X-Forwarded-Proto: http"],
    ["Forwarded: for=10.0.0.9", "Forwarded: ;host=gw.example;;proto=https,,"],
    ['Forwarded: host="gw\\.example";by="a,b;c=\\"";proto=https'],
]


@pytest.mark.parametrize("headers", GATEWAY)
def test_forwarding_headers_count_only_from_a_trusted_proxy(headers):
    assert base(*headers) == "https://gw.example/p"
    assert base(*headers, client=("::ffff:10.1.2.3", 5)) == "https://gw.example/p"
    for client in (("192.168.0.1", 5), None, ("unix", 0), ("", 0)):
        assert base(*headers, client=client) == "http://inner:8000/p"
    assert base(*headers, trusted=()) == "http://inner:8000/p"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["X-Forwarded-Prefix: /ai"], "http://inner:8000/ai/p"),
        (["X-Forwarded-Prefix: /ai/"], "http://inner:8000/ai/p"),
        (["X-Forwarded-Prefix: /a, /b"], "http://inner:8000/a/b/p"),
        (["X-Forwarded-Prefix: /ai", "X-Forwarded-Prefix: /ai"], "http://inner:8000/ai/p"),
        (["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Prefix: /evil, /ai"], "http://inner:8000/ai/p"),
        (["X-Forwarded-Port: 8443", "X-Forwarded-Proto: https"], "https://inner:8443/p"),
        (["X-Forwarded-Port: 443", "X-Forwarded-Proto: https"], "https://inner/p"),
        (["X-Forwarded-Ssl: on"], "https://inner:8000/p"),
        (["X-Forwarded-Ssl: off"], "http://inner:8000/p"),
        (["X-Forwarded-Scheme: https"], "https://inner:8000/p"),
        (["X-Forwarded-Protocol: HTTPS"], "https://inner:8000/p"),
        (["X-Forwarded-Proto: https", "X-Forwarded-Ssl: off"], "https://inner:8000/p"),
        (["X-Forwarded-Host: gw:8080", "X-Forwarded-Port: 443", "X-Forwarded-Proto: https"], "https://gw:8080/p"),
        (["X-Forwarded-Host: [2001:db8::1]", "X-Forwarded-Port: 8443"], "http://[2001:db8::1]:8443/p"),
        (['Forwarded: host="[2001:db8::1]:8443";proto=https'], "https://[2001:db8::1]:8443/p"),
        (["X-Forwarded-Host: "], "http://inner:8000/p"),
    ],
)
def test_links_open_from_where_the_client_is(headers, expected):
    assert base(*headers) == expected


GARBAGE = [
    *(f"X-Forwarded-Host: {text}" for text in ('a b/<x>"', "http://evil", "a/b", "u@h")),
    *(f"X-Forwarded-Host: {text}" for text in ("h:99999", "[::1", "a\x00b", "é")),
    "X-Forwarded-Ssl: perhaps",
    "X-Forwarded-Scheme: ftp",
    *(f"X-Forwarded-Proto: {text}" for text in ("javascript", "https://", "h\x00ttp", "file")),
    *(f"X-Forwarded-Port: {text}" for text in ("0", "65536", "-1", "8 0", "x", "²")),
    *(f"X-Forwarded-Prefix: {text}" for text in ("ai", "//evil", "/a//b", "/..", "/a/../b", "/.", "/a?b", "/a#b")),
    *(f"X-Forwarded-Prefix: {text}" for text in ("/a\\b", "/a b", "/%2e%2e", "https://evil", "/a\x00", '/"><x>')),
    *(f"Forwarded: {text}" for text in ("garbage", "host", "host=a b", 'host="a', "host=a;host=b", "=a", "for=x y")),
    *(f"Forwarded: {text}" for text in ('host="a b"', "host=//evil", "proto=ftp", 'host="a"b', "h ost=a")),
]  # fmt: skip


@pytest.mark.parametrize("line", GARBAGE)
def test_an_invalid_header_of_a_trusted_proxy_is_refused_and_one_of_another_peer_ignored(line):
    with pytest.raises(HttpError) as caught:
        base(line)
    assert (caught.value.status, caught.value.code) == (400, "invalid_value")
    assert base(line, client=("192.168.0.1", 5)) == "http://inner:8000/p"


@settings(max_examples=100)
@given(
    st.sampled_from(["Forwarded", "X-Forwarded-Host", "X-Forwarded-Prefix", "X-Forwarded-For"]),
    st.text(alphabet=st.sampled_from('ahostfr=;,:"\\[]./%@# \t1'), max_size=30),
)
def test_no_header_leads_a_link_out_of_its_form(name, value):
    try:
        found = base(f"{name}: {value}")
    except HttpError:
        return
    scheme, _, place = found.partition("://")
    assert scheme == "http"
    assert place.endswith("/p")
    assert not set(place) & set('"\\@#% \t,;=')
    assert "//" not in place
    assert "/.." not in place


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (ServerSettings(trusted_proxies=("10.0.0.0/8", "proxy")), ["server.trusted_proxies[1]", "10.0.0.0/8"]),
        (ServerSettings(public_url="https://a b"), ["server.public_url", "https://HOST/PATH"]),
        (ServerSettings(public_url="https://[::1/ai"), ["server.public_url"]),
    ],
)
def test_invalid_settings_are_named(server, words):
    with pytest.raises(SettingsError) as caught:
        PublicAddress.of(server, Origin(name="gateway.toml"))
    assert all(word in str(caught.value) for word in words)
