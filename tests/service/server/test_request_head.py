import h11
import pytest

from protocol.http.errors import HttpError
from service.server.request_head import HeadLimits, check_head, parse_error

SOCKET = ("127.0.0.1", 8000)


def head(target="/a?b=c", headers=(("Host", "x"),), version="1.1", address=SOCKET, **limits):
    request = h11.Request(method="GET", target=target, headers=list(headers), http_version=version)
    return check_head(request, HeadLimits(**limits), address)


def status_of(*arguments, **options):
    with pytest.raises(HttpError) as caught:
        head(*arguments, **options)
    return caught.value.status


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        ("/a?b=c", b"/a", b"b=c", b"x"),
        ("/a%20b", b"/a%20b", b"", b"x"),
        ("/a?b?c", b"/a", b"b?c", b"x"),
        ("//a", b"//a", b"", b"x"),
        ("http://y", b"/", b"", b"y"),
        ("http://y?b=c", b"/", b"b=c", b"y"),
        ("HTTP://Y:80/a?b", b"/a", b"b", b"Y:80"),
        ("https://[::1]/a", b"/a", b"", b"[::1]"),
        ("http://y//a", b"//a", b"", b"y"),
    ],
)
def test_a_target_is_taken_in_origin_form_and_absolute_form(target, path, query, host):
    checked = head(target)
    assert (checked.path, checked.query, dict(checked.headers)) == (path, query, {b"host": host})


@pytest.mark.parametrize(
    ("address", "host"),
    [(SOCKET, b"127.0.0.1:8000"), (("::1", 80), b"[::1]:80"), (None, b"localhost:80")],
)
def test_a_request_of_http_1_0_without_host_gets_that_of_the_socket(address, host):
    assert head(headers=(), version="1.0", address=address).headers == [(b"host", host)]


def test_the_request_line_and_the_whole_head_are_limited():
    line = len("GET /aaaaaaaa HTTP/1.1\r\n")
    assert head("/aaaaaaaa", header_bytes=line + len("Host: x\r\n")).path == b"/aaaaaaaa"
    assert status_of("/aaaaaaaa", header_bytes=line + len("Host: x\r\n") - 1) == 431
    assert status_of("/aaaaaaaa", header_bytes=line - 1) == 414


def test_headers_and_parameters_are_counted():
    many = [("Host", "x"), *[("a", "b")] * 199]
    assert len(head(headers=many).headers) == 200
    assert status_of(headers=[*many, ("a", "b")]) == 431
    assert head("/?" + "&".join("a" * 500)).path == b"/"
    assert status_of("/?" + "&".join("a" * 501)) == 400


def test_the_error_for_what_h11_refuses_shows_nothing_of_the_request():
    error = h11.RemoteProtocolError("illegal header line: bytearray(b'sk-secret')", error_status_hint=400)
    found = parse_error(error, b"GET / HTTP/1.1\r\nsk-secret\r\n", HeadLimits())
    assert (found.status, found.message) == (400, "The request is not valid HTTP/1.1: illegal header line.")
