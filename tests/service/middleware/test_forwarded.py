import ipaddress

import pytest

from service.middleware.forwarded import PublicAddress

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"),)


def base(headers=(), *, public_url="", client=("10.1.2.3", 5), trusted=TRUSTED):
    pairs = [(b"host", b"inner:8000"), *((name.encode(), value.encode()) for name, value in headers)]
    scope = {"scheme": "http", "client": client, "headers": pairs}
    return PublicAddress(public_url=public_url, prefix="/p", trusted=trusted).base(scope)


def test_without_forwarding_headers_the_request_determines_the_address():
    assert base() == "http://inner:8000/p"


def test_the_public_url_setting_takes_precedence():
    assert base([("x-forwarded-host", "evil")], public_url="https://gw.example/") == "https://gw.example/p"


@pytest.mark.parametrize(
    "headers",
    [
        [("x-forwarded-proto", "https"), ("x-forwarded-host", "gw.example")],
        [("x-forwarded-proto", "https, http"), ("x-forwarded-host", "gw.example, inner")],
        [("forwarded", 'for=1.2.3.4;proto=https;host="gw.example", for=10.0.0.1')],
        [("forwarded", "Host=gw.example; Proto=https"), ("x-forwarded-host", "other")],
    ],
)
def test_forwarding_headers_count_only_from_a_trusted_proxy(headers):
    assert base(headers) == "https://gw.example/p"
    for client in (("192.168.0.1", 5), None, ("unix", 0)):
        assert base(headers, client=client) == "http://inner:8000/p"
    assert base(headers, trusted=()) == "http://inner:8000/p"


def test_a_forwarded_scheme_other_than_http_and_https_is_ignored():
    assert base([("x-forwarded-proto", "javascript")]) == "http://inner:8000/p"
