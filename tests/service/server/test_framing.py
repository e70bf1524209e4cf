import h11
import pytest

from service.server.framing import Framing, tokens_of

DATE = [b"date: now"]


def framing(headers=(), *, status=200, method="GET", version="1.1", close=False):
    request = h11.Request(method=method, target="/", headers=[("host", "gateway")], http_version=version)
    return Framing({"status": status, "headers": list(headers)}, request, DATE, close=close)


def lines_of(head):
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def test_a_body_of_known_length_is_sent_as_it_is():
    response = framing([(b"content-length", b"5")])
    assert lines_of(response.head) == [b"HTTP/1.1 200 ", b"content-length: 5", b"date: now"]
    assert response.piece(b"he") + response.piece(b"llo") + response.end() == b"hello"
    assert response.keeps


def test_a_body_of_unknown_length_is_sent_in_chunks():
    response = framing()
    assert lines_of(response.head)[-1] == b"Transfer-Encoding: chunked"
    pieces = response.piece(b"hello"), response.piece(b""), response.piece(b"x" * 16), response.end()
    assert pieces == (b"5\r\nhello\r\n", b"", b"10\r\n" + b"x" * 16 + b"\r\n", b"0\r\n\r\n")


def test_an_http_1_0_client_finds_the_end_of_the_body_at_the_end_of_the_connection():
    response = framing(version="1.0")
    assert lines_of(response.head)[-1] == b"Connection: close"
    assert response.piece(b"hello") + response.end() == b"hello"
    assert not response.keeps


@pytest.mark.parametrize(("status", "method"), [(200, "HEAD"), (204, "GET"), (304, "GET")])
def test_a_response_without_a_body_writes_none(status, method):
    response = framing([(b"content-length", b"5")], status=status, method=method)
    assert response.piece(b"hello") + response.end() == b""
    assert response.keeps


@pytest.mark.parametrize(
    ("headers", "close", "line"),
    [
        ([], True, b"Connection: close"),
        ([(b"connection", b"Close")], False, b"connection: close"),
        ([(b"connection", b"keep-alive, x")], True, b"Connection: close, x"),
    ],
)
def test_a_connection_that_closes_is_announced_once(headers, close, line):
    response = framing(headers, close=close)
    assert not response.keeps
    assert [one for one in lines_of(response.head) if one.lower().startswith(b"connection")] == [line]


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nb", b"a\rb", b"a\0b"])
def test_a_header_value_with_a_line_break_is_refused(value):
    with pytest.raises(h11.LocalProtocolError):
        framing([(b"x-header", value)])


def test_a_body_that_differs_from_its_announced_length_is_refused():
    long, short = framing([(b"content-length", b"4")]), framing([(b"content-length", b"6")])
    with pytest.raises(h11.LocalProtocolError, match="Too much data"):
        long.piece(b"hello")
    short.piece(b"hello")
    with pytest.raises(h11.LocalProtocolError, match="Too little data"):
        short.end()


def test_tokens_of_a_header_are_joined_over_its_lines_in_lower_case():
    headers = [(b"connection", b"Keep-Alive, Upgrade"), (b"x", b"y"), (b"connection", b"close")]
    assert tokens_of(headers, b"connection") == {b"keep-alive", b"upgrade", b"close"}
    assert tokens_of(headers, b"upgrade") == set()
