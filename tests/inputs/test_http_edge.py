"""The HTTP edge: what RFC 9110 and RFC 9112 require of a server, on every listener, as bytes on a socket."""

import http.client
import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import KEY, SETTINGS, Gateway
from tests.servers import free_port

ADMIN_TOKEN = "canary-token-ops-4711-edge"
V1 = "/gemini_official/v1"
CHAT = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    """A gateway with its three listeners; `ports` by name."""
    ports = {"operations": free_port(), "admin": free_port()}
    more = f"""
[operations]
port = {ports["operations"]}

[admin]
port = {ports["admin"]}

[[admin.tokens]]
name = "ops"
token = "{ADMIN_TOKEN}"
"""
    text = SETTINGS.format(key=KEY).replace("[server]\n", "[server]\nkeep_alive_seconds = 30\n")
    process = Gateway(tmp_path_factory.mktemp("edge"), text + more)
    process.ports = {"api": int(process.origin.rpartition(":")[2]), **ports}
    yield process
    process.stop()


def send(port, data, *, half_close=False):
    """Send bytes; return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # the server has closed the connection already
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received


def parsed(data):
    """Return the responses in the bytes of a connection, as `(status, headers, body)`, read by the standard library."""
    found = []
    while data:
        response = http.client.HTTPResponse(Bytes(data))
        response.begin()
        body = response.read()
        found.append((response.status, response.headers, body))
        rest = response.fp.read() if response.fp is not None else b""
        data = rest or (data[data.index(b"\r\n\r\n") + 4 + len(body) :] if response.length is not None else b"")
    return found


class Bytes:
    """A socket, to `http.client`, from which bytes are read."""

    def __init__(self, data):
        self._data = data

    def makefile(self, _mode):
        import io

        return io.BytesIO(self._data)


def is_refused(response, status):
    code, headers, body = response
    assert code == status, response
    assert headers["content-type"] == "application/json"
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".")
    assert headers["x-request-id"].startswith("req_")
    assert headers["connection"].lower() == "close"


def get(target=f"{V1}/models", *lines, version="1.1", host="x", method="GET"):
    head = [f"{method} {target} HTTP/{version}", *([f"Host: {host}"] if host is not None else []), *lines]
    return "\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1")


def post(body, *lines, target=f"{V1}/chat/completions"):
    key = f"Authorization: Bearer {KEY}"
    return get(target, key, "Content-Type: application/json", *lines, method="POST") + body


def chunked(body, *, size=None, end=b"0\r\n\r\n"):
    size = size or len(body)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


REFUSED = {
    # the request line: RFC 9112 section 3
    "long line": (get("/" + "a" * 65_000), 414),
    "long query": (get(f"{V1}/models?" + "a" * 65_000), 414),
    "long line in pieces": (b"GET /" + b"a" * 200_000, 414),
    "no line": (b"nonsense\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "a blank more": (b"GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a blank at the end": (b"GET /livez HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    "not ASCII": ("GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 400),
    "NUL in the path": (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bare CR": (b"GET /livez HTTP/1.1\rHost: x\r\n\r\n", 400),
    "a TLS client": (bytes.fromhex("16030100c8010000c40303") + bytes(200), 400),
    "many empty lines": (b"\r\n" * 1000 + get(), 400),
    "authority-form": (get("example.com:443"), 400),
    "asterisk-form of GET": (get("*"), 400),
    "a relative path": (get("livez"), 400),
    "another scheme": (get("ftp://x/livez"), 400),
    "user in the target": (get("http://u:p@x/livez"), 400),
    "no host in the target": (get("http:///livez"), 400),
    "port in the target": (get("http://x:port/livez"), 400),
    "many parameters": (get(f"{V1}/models?" + "&".join(["a=1"] * 1001)), 400),
    # versions: RFC 9110 sections 6.2 and 15.6.6
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"), 505),
    "HTTP/2.0": (get(version="2.0"), 505),
    "HTTP/3.0": (get(version="3.0"), 505),
    "HTTP/0.9 named": (get(version="0.9"), 505),
    "HTTP/11": (get(version="11"), 400),
    # methods: RFC 9110 section 9
    "CONNECT": (get("example.com:443", method="CONNECT"), 501),
    "TRACE": (get(method="TRACE"), 501),
    "an unknown method": (get(method="BREW"), 501),
    "lower case": (get(method="get"), 501),
    "no token": (get(method="G(T"), 400),
    # Host: RFC 9112 section 3.2
    "no Host": (get(host=None), 400),
    "no Host, HTTP/1.2": (get(host=None, version="1.2"), 400),
    "two Hosts": (get(f"{V1}/models", "Host: y"), 400),
    "two equal Hosts": (get(f"{V1}/models", "host: x"), 400),
    **{
        f"Host {host!r}": (get(host=host), 400)
        for host in (
            "", 'a b/<x>"', "a b", "a/b", "a?b", "a#b", "a@b", "u:p@a", "http://a", "a:b", "a:99999", "a:1:2", "a,b",
            "[::1", "::1", "[1.2.3.4]", "[g::1]", "[]", "a<b", "a\\b", "[::1]x", "é", "a:-1",
        )
    },
    "Host with a NUL": (get(host="a\0b"), 400),
    # headers: RFC 9112 section 5, RFC 9110 section 5.5
    "blank before the colon": (get("/livez", "X-A : b"), 400),
    "blank before the name": (b"GET /livez HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "no colon": (get("/livez", "X-A"), 400),
    "no name": (get("/livez", ": b"), 400),
    "NUL": (get("/livez", "X-A: a\0b"), 400),
    "control character": (get("/livez", "X-A: a\x01b"), 400),
    "escape": (get("/livez", "X-A: \x1b[31m"), 400),
    "DEL": (get("/livez", "X-A: a\x7fb"), 400),
    "bare CR in a value": (get("/livez", "X-A: a\rb"), 400),
    "long headers": (get("/livez", "X-A: " + "a" * 40_000), 431),
    "long headers in many": (get("/livez", *[f"X-{n}: {'a' * 400}" for n in range(100)]), 431),
    "many headers": (get("/livez", *["a:b"] * 300), 431),
    "headers without end": (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 30_000, 431),
    # framing: RFC 9112 section 6
    "two lengths": (get("/livez", "Content-Length: 1", "Content-Length: 2"), 400),
    "two lengths in one": (get("/livez", "Content-Length: 1, 2"), 400),
    "a signed length": (get("/livez", "Content-Length: +1"), 400),
    "a negative length": (get("/livez", "Content-Length: -1"), 400),
    "a hexadecimal length": (get("/livez", "Content-Length: 0x1"), 400),
    "an empty length": (get("/livez", "Content-Length:"), 400),
    "length and coding": (post(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    "a coding of HTTP/1.0": (get("/livez", "Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n", 400),
    "gzip, chunked": (post(b"0\r\n\r\n", "Transfer-Encoding: gzip, chunked"), 501),
    "gzip and chunked": (post(b"0\r\n\r\n", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked"), 501),
    "chunked, gzip": (post(b"0\r\n\r\n", "Transfer-Encoding: chunked, gzip"), 400),
    "gzip alone": (post(b"", "Transfer-Encoding: gzip"), 400),
    "identity": (post(b"", "Transfer-Encoding: identity"), 400),
    "chunked twice": (post(b"0\r\n\r\n", "Transfer-Encoding: chunked, chunked"), 400),
    "xchunked": (post(b"0\r\n\r\n", "Transfer-Encoding: xchunked"), 400),
    # chunks: RFC 9112 section 7.1
    "a huge chunk": (post(b"FFFFFFFFFFFFFFFFF\r\n", "Transfer-Encoding: chunked"), 413),
    "a huge chunk with some of it": (post(b"7fffffff\r\n" + b"a" * 90_000, "Transfer-Encoding: chunked"), 413),
    "a longer size yet": (post(b"F" * 400 + b"\r\n", "Transfer-Encoding: chunked"), 400),
    "a size with a sign": (post(b"-1\r\n", "Transfer-Encoding: chunked"), 400),
    "a size with a prefix": (post(b"0x1\r\na\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 400),
    "no size": (post(b"\r\na\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 400),
    "a chunk that is too long": (post(b"1\r\nab\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 400),
    "many chunks": (post(b"1\r\n \r\n" * 100_000, "Transfer-Encoding: chunked"), 400),
    "long extensions": (post((b"1;" + b"e" * 9000 + b"\r\n \r\n") * 100, "Transfer-Encoding: chunked"), 400),
    "an extension without end": (post(b"1;" + b"e" * 90_000, "Transfer-Encoding: chunked"), 400),
    "trailers without end": (post(b"0\r\n" + b"a: b\r\n" * 60_000, "Transfer-Encoding: chunked"), 400),
}  # fmt: skip


@pytest.mark.parametrize("listener", ["api", "operations", "admin"])
@pytest.mark.parametrize("name", REFUSED)
def test_an_invalid_request_is_refused_with_a_status_and_an_error(edge, name, listener):
    data, status = REFUSED[name]
    responses = parsed(send(edge.ports[listener], data))
    assert len(responses) == 1
    if listener == "api" or "sk-test" not in data.decode("latin-1"):  # else the route answers before the body is read
        is_refused(responses[0], status)


SERVED = {
    "plain": get("/livez"),
    "absolute-form": get("http://127.0.0.1:8000/livez"),
    "absolute-form, another host": get("http://example.com/livez"),
    "absolute-form, https": get("HTTPS://example.com/livez"),
    "absolute-form with IPv6": get("http://[::1]:80/livez?a=b"),
    "one empty line": b"\r\n" + get("/livez"),
    "some empty lines": b"\r\n\n\r\n" + get("/livez"),
    "HTTP/1.0 without Host": get("/livez", version="1.0", host=None),
    "HTTP/1.2": get("/livez", version="1.2"),
    "bare LF": get("/livez").replace(b"\r\n", b"\n"),
    "obs-fold": get("/livez", "X-A: a", " b"),
    "obs-text": get("/livez", "X-A: ä"),
    "tab": get("/livez", "X-A: a\tb"),
    "an empty value": get("/livez", "X-A:"),
    "an upgrade to h2c": get(
        "/livez", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA", "Connection: Upgrade"
    ),
    "an upgrade to WebSockets": get("/livez", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Connection: Upgrade"),
    "an expectation without a body": get("/livez", "Expect: 100-continue"),
    "an expectation of HTTP/1.0": get("/livez", "Expect: 100-continue", "Content-Length: 1", version="1.0") + b"x",
    "equal lengths": get("/livez", "Content-Length: 1", "Content-Length: 1") + b"x",
    "a body of GET": get("/livez", "Content-Length: 5") + b"hello",
    "more behind the last request": get("/livez") + b"\r\n\r\nGET /livez HTTP/1.1\r\n",
    "a port without a number": get("/livez", host="x:"),
    "IPv6 as Host": get("/livez", host="[2001:db8::1]:8000"),
    "an underscore": get("/livez", host="my_host.local"),
    "trailers": get("/livez", "Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\nX-A: b\r\n\r\n",
    "extensions": get("/livez", "Transfer-Encoding: Chunked") + b'1;a="b"\r\na\r\n0\r\n\r\n',
}


@pytest.mark.parametrize("half_close", [False, True])
@pytest.mark.parametrize("name", SERVED)
def test_what_a_server_must_accept_is_served(edge, name, half_close):
    [(status, headers, body)] = parsed(send(edge.ports["operations"], SERVED[name], half_close=half_close))
    assert (status, json.loads(body), headers["connection"].lower()) == (200, {"status": "ok"}, "close")


BODY = json.dumps(CHAT).encode()


@pytest.mark.parametrize(
    "data",
    [
        post(BODY, f"Content-Length: {len(BODY)}"),
        post(BODY, f"Content-Length: {len(BODY)}", target=f"http://127.0.0.1:8000{V1}/chat/completions"),
        post(chunked(BODY), "Transfer-Encoding: chunked"),
        post(chunked(BODY, size=1), "Transfer-Encoding: chunked"),
        post(chunked(BODY, size=7, end=b"0\r\nX-Digest: 1\r\n\r\n"), "Transfer-Encoding: CHUNKED"),
        b"\r\n" + post(BODY, f"Content-Length: {len(BODY)}"),
    ],
)
def test_a_chat_of_a_half_closed_client_is_answered(edge, data):
    [(status, _, body)] = parsed(send(edge.ports["api"], data, half_close=True))
    assert (status, json.loads(body)["object"]) == (200, "chat.completion")


def test_links_name_the_address_of_the_socket_if_a_request_has_no_host(edge):
    body = json.dumps({"model": "gemini-3-pro-imagen", "prompt": "a cat"}).encode()
    data = post(body, f"Content-Length: {len(body)}", target=f"{V1}/images/generations")
    data = data.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: x\r\n", b"")
    [(status, _, answer)] = parsed(send(edge.ports["api"], data))
    assert status == 200
    assert json.loads(answer)["data"][0]["url"].startswith(f"http://127.0.0.1:{edge.ports['api']}/gemini_official/")


@pytest.mark.parametrize(
    ("listener", "method", "target", "status"),
    [
        ("api", "GET", "/nope", 404), ("api", "PUT", f"{V1}/models", 405), ("api", "OPTIONS", "*", 404),
        ("api", "GET", f"{V1}/models", 401), ("api", "POST", "/gemini_official/media/x", 405),
        ("operations", "GET", "/nope", 404), ("operations", "POST", "/metrics", 405),
        ("admin", "GET", "/nope", 401), ("admin", "DELETE", "/v1/accounts", 401),
    ],
)  # fmt: skip
def test_each_route_refuses_in_json(edge, listener, method, target, status):
    [(code, headers, body)] = parsed(send(edge.ports[listener], get(target, method=method)))
    assert (code, headers["content-type"]) == (status, "application/json")
    assert json.loads(body)["error"]["code"]
    assert (status == 405) is (headers["allow"] is not None)


@pytest.mark.parametrize(
    ("listener", "target", "token"),
    [("api", f"{V1}/models", KEY), ("operations", "/metrics", KEY), ("admin", "/v1/accounts", ADMIN_TOKEN)],
)
def test_head_is_answered_as_get_without_the_body(edge, listener, target, token):
    head, whole = (
        send(edge.ports[listener], get(target, f"Authorization: Bearer {token}", method=method))
        for method in ("HEAD", "GET")
    )
    assert head.startswith(b"HTTP/1.1 200 ")
    assert head.endswith(b"\r\n\r\n")
    assert whole.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: " in head


def test_each_refusal_is_logged_with_its_reason(edge):
    [(_, headers, body)] = parsed(send(edge.ports["api"], get("/livez", "X-A : b")))
    line = json.loads(edge.wait_for(headers["x-request-id"]))
    error = json.loads(body)["error"]
    assert (line["event"], line["status"], line["error"]) == ("request_refused", 400, error["code"])
    assert line["reason"] == error["message"]


def test_the_reason_shows_nothing_that_the_client_sent(edge):
    send(edge.ports["api"], b"GET /?key=sk-hidden-1 HTTP/1.1\r\nsk-hidden-2\r\nHost: x\r\n\r\n")
    assert "sk-hidden" not in edge.text()


def test_a_client_that_expects_100_continue_is_refused_at_once(edge):
    for target, status in ((f"{V1}/nope", 404), (f"{V1}/chat/completions", 413)):
        data = post(b"", "Expect: 100-continue", "Content-Length: 99999999", target=target)
        [(code, headers, _)] = parsed(send(edge.ports["api"], data))
        assert (code, headers["connection"].lower()) == (status, "close")


def test_pipelined_requests_are_answered_until_the_first_that_is_invalid(edge):
    keep = get("/livez").replace(b"Connection: close\r\n", b"")
    answer = parsed(send(edge.ports["operations"], keep + keep + b"\r\n" + keep + b"GET\r\n\r\n" + keep))
    assert [status for status, _, _ in answer] == [200, 200, 200, 400]


TOKENS = [
    b"GET", b"POST", b"HEAD", b"PRI", b"CONNECT", b" ", b"  ", b"/", b"/livez", b"*", b"http://", b"x", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: x", b"Host:", b"Content-Length: 3",
    b"Content-Length: 99", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Expect: 100-continue",
    b"Connection: close", b"Connection: keep-alive", b"Upgrade: h2c", b":", b";", b"0\r\n\r\n", b"3\r\nabc\r\n",
    b"ffffffff\r\n", b"\0", b"\xff", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /nope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
]  # fmt: skip


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join), st.binary(max_size=200)))
def test_any_bytes_are_answered_or_end_the_connection(edge, data):
    for status, headers, body in parsed(send(edge.ports["api"], data, half_close=True)):
        assert status == 200 or 400 <= status < 600
        if status != 200 and body:
            assert headers["content-type"] == "application/json"
            assert json.loads(body)["error"]["code"]
    [(status, _, _)] = parsed(send(edge.ports["operations"], get("/livez")))
    assert status == 200
