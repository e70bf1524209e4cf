"""Links open from where the client is, however a trusted proxy says where that is; the answers of a real gateway."""

import json
import socket

import pytest

from tests.conftest import KEY, SETTINGS, Gateway

PATH = "/gemini_official"
BODY = json.dumps({"model": "gemini-3-pro-imagen", "prompt": "a dot", "response_format": "url"}).encode()


@pytest.fixture(scope="module")
def behind_proxy(tmp_path_factory):
    """A gateway that trusts this machine as its proxy."""
    settings = SETTINGS.format(key=KEY).replace(
        "port = 0", 'port = 0\ntrusted_proxies = ["127.0.0.1", "10.0.0.0/8"]', 1
    )
    process = Gateway(tmp_path_factory.mktemp("proxied"), settings)
    yield process
    process.stop()


def ask(gateway, *lines, version="1.1", method="POST", path=f"{PATH}/v1/images/generations", body=BODY):
    """Send a request with exactly these header lines; return the status and the JSON of the response."""
    host, _, port = gateway.origin.partition("://")[2].partition(":")
    head = [f"{method} {path} HTTP/{version}", *lines, f"Authorization: Bearer {KEY}", "Connection: close"]
    head += [f"Content-Length: {len(body)}", "Content-Type: application/json"] if body else []
    with socket.create_connection((host, int(port)), timeout=90) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    top, _, content = answer.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(content)


INNER = "Host: inner:8000"
LINKS = [
    ([INNER], "http://inner:8000"),
    ([INNER, "X-Forwarded-Prefix: /ai"], "http://inner:8000/ai"),
    ([INNER, "X-Forwarded-Prefix: /ai/", "X-Forwarded-Host: h", "X-Forwarded-Proto: https"], "https://h/ai"),
    ([INNER, "X-Forwarded-Prefix: /ai", "X-Forwarded-Prefix: /ai"], "http://inner:8000/ai"),
    ([INNER, "X-Forwarded-Prefix: /a, /b"], "http://inner:8000/a/b"),
    ([INNER, "X-Forwarded-Host: h:8443", "X-Forwarded-Proto: https"], "https://h:8443"),
    ([INNER, "X-Forwarded-Host: h", "X-Forwarded-Port: 8443", "X-Forwarded-Proto: https"], "https://h:8443"),
    ([INNER, "X-Forwarded-Host: h", "X-Forwarded-Port: 443", "X-Forwarded-Proto: https"], "https://h"),
    ([INNER, "X-Forwarded-Host: [2001:db8::1]", "X-Forwarded-Port: 8443"], "http://[2001:db8::1]:8443"),
    ([INNER, "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: evil.example, h"], "http://h"),
    ([INNER, "X-Forwarded-For: 192.0.2.7, 10.0.0.1", "X-Forwarded-Host: h, inner"], "http://h"),
    ([INNER, "X-Forwarded-Host: h, inner"], "http://h"),
    ([INNER, 'Forwarded: for=192.0.2.7;host="h:8443";proto=https, for=10.0.0.1'], "https://h:8443"),
    ([INNER, 'Forwarded: for="[2001:db8::1]";proto=https', "X-Forwarded-Host: h"], "https://h"),
    ([INNER, 'forwarded: Host="[2001:db8::1]";PROTO=HTTPS', "X-Forwarded-Prefix: /ai"], "https://[2001:db8::1]/ai"),
    (["Host: [::1]:8000"], "http://[::1]:8000"),
]


@pytest.mark.parametrize(("lines", "base"), LINKS)
def test_a_link_opens_from_where_the_client_is(behind_proxy, lines, base):
    status, answer = ask(behind_proxy, *lines)
    assert status == 200
    link = answer["data"][0]["url"]
    assert link.startswith(f"{base}{PATH}/media/")
    assert link.count("//") == 1


def test_a_request_of_http_1_0_without_a_host_gets_links_to_the_address_of_the_socket(behind_proxy):
    status, answer = ask(behind_proxy, version="1.0")
    assert status == 200
    assert answer["data"][0]["url"].startswith(f"{behind_proxy.origin}{PATH}/media/")


GARBAGE = [
    'X-Forwarded-Host: a b/<x>"',
    "X-Forwarded-Host: https://evil.example/",
    "X-Forwarded-Host: h:99999",
    "X-Forwarded-Host: [::1",
    "X-Forwarded-Host: u@evil.example",
    "X-Forwarded-Proto: javascript",
    "X-Forwarded-Port: 0",
    "X-Forwarded-Port: 8 0",
    "X-Forwarded-Prefix: //evil.example",
    "X-Forwarded-Prefix: /a/../b",
    "X-Forwarded-Prefix: ai",
    "X-Forwarded-Prefix: https://evil.example",
    "Forwarded: host=a b",
    'Forwarded: host="a',
    "Forwarded: proto=ftp",
]


@pytest.mark.parametrize("line", GARBAGE)
@pytest.mark.parametrize("path", ["/livez", f"{PATH}/v1/models"])
def test_an_invalid_header_of_a_trusted_proxy_is_refused_on_every_route(behind_proxy, line, path):
    status, answer = ask(behind_proxy, INNER, line, method="GET", path=path, body=b"")
    assert (status, answer["error"]["code"]) == (400, "invalid_value")
    assert "proxy" in answer["error"]["message"]


@pytest.mark.parametrize(
    "line", [GARBAGE[0], GARBAGE[-3], "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"]
)
def test_no_header_of_another_peer_counts(gateway, line):
    status, answer = ask(gateway, INNER, line)
    assert status == 200
    assert answer["data"][0]["url"].startswith(f"http://inner:8000{PATH}/media/")
