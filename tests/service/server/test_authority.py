import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from service.server.authority import Authority, parse_authority, parse_port


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("gateway.example", "https://gateway.example"),
        ("Gateway.Example.:8443", "https://Gateway.Example.:8443"),
        ("my_host-1:", "https://my_host-1"),
        ("192.0.2.1:443", "https://192.0.2.1"),
        ("[2001:db8::1]", "https://[2001:db8::1]"),
        ("[::ffff:192.0.2.1]:80", "https://[::ffff:192.0.2.1]:80"),
    ],
)
def test_a_valid_host_begins_a_url_without_the_default_port(text, url):
    assert parse_authority(text).url("https") == url


INVALID = r"""
: :80 . -- a:b a:65536 a:0 a:-1 a:+1 a:1:2 a:² a/b a\b a?b a#b u@a http://a a%00 a%2fb a,b a;b a"b a<b a'b a(b *.a é
[::1 ::1] ::1 [] [:] [::1]x [::1]x:1 [fe80::1%25eth0] [v1.a] [1.2.3.4] [::g]
"""


@pytest.mark.parametrize(
    "text", [*INVALID.split(), "", " ", "a b", "a ", " a", "a\n", "a\t:1", "a:1\n", "a" * 256, "a\0b", "a\x7fb"]
)
def test_an_invalid_host_is_refused(text):
    assert parse_authority(text) is None


@pytest.mark.parametrize(("text", "port"), [("1", 1), ("00080", 80), ("65535", 65535), ("0", None), ("65536", None)])
def test_a_port_is_a_number_up_to_65535(text, port):
    assert parse_port(text) == port


@settings(max_examples=100)
@given(st.text(alphabet=st.sampled_from("a1-._~:[]/\\@?#%\r\n\t \x00é\"'<>,;"), max_size=12))
def test_a_url_parser_reads_every_valid_host_back(text):
    authority = parse_authority(text)
    if authority is not None:
        url = URL(authority.url("https") + "/media/x")
        assert (url.path, url.user, url.query_string, url.fragment) == ("/media/x", None, "", "")
        assert url.port == (authority.port or 443)
        assert isinstance(authority, Authority)
