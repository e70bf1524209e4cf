import json

import pytest

from transports.web.session.cookie_export import CookieExportError, parse_export
from transports.web.session.cookies import header, merge

WANTED = {"__Secure-1PSID": "g.a000/x=", "__Secure-1PSIDTS": "sidts-1"}
ROWS = [{"name": name, "value": value, "domain": ".google.com"} for name, value in WANTED.items()]
NETSCAPE = """# Netscape HTTP Cookie File
#HttpOnly_.google.com\tTRUE\t/\tTRUE\t1800000000\t__Secure-1PSID\tg.a000/x=
.google.com\tTRUE\t/\tTRUE\t1800000000\t__Secure-1PSIDTS\tsidts-1
gemini.google.com\tFALSE\t/\tTRUE\t1800000000\tHOSTONLY\t1
"""


@pytest.mark.parametrize(
    "text",
    [
        "__Secure-1PSID=g.a000/x=; __Secure-1PSIDTS=sidts-1",
        "Cookie: __Secure-1PSID=g.a000/x=; __Secure-1PSIDTS=sidts-1\n",
        "cookie:__Secure-1PSID=g.a000/x=; __Secure-1PSIDTS=sidts-1",
        '\ufeff COOKIE: __Secure-1PSID = g.a000/x=;\r\n__Secure-1PSIDTS="sidts-1"',
        "g.a000/x=\nsidts-1\n",
        json.dumps(WANTED),
        json.dumps([*ROWS, {"name": "OTHER", "value": "1", "domain": "example.com"}]),
        json.dumps({"cookies": ROWS}),
        NETSCAPE,
    ],
    ids=[
        "header",
        "cookie-header",
        "lower-case",
        "odd-spaces",
        "two-lines",
        "json-object",
        "json-list",
        "json-cookies",
        "netscape",
    ],
)
def test_every_form_of_export_is_read(text):
    assert parse_export(text) == WANTED


@pytest.mark.parametrize(
    "text",
    [
        '__Secure-1PSID=g.a000/x=; OPTS={"a": "b", "c": 1}; __Secure-1PSIDTS=sidts-1; two words=1; x=a b',
        json.dumps([*ROWS, {"name": "OPTS", "value": '{"a": 1}'}, {"name": "N", "value": None}, {"value": "x"}]),
        NETSCAPE + ".google.com\tTRUE\t/\tTRUE\t1800000000\tOPTS\t{ a, b }\n",
    ],
    ids=["header", "json-list", "netscape"],
)
def test_an_invalid_minor_cookie_is_left_out(text):
    assert parse_export(text) == WANTED


@pytest.mark.parametrize("name", WANTED)
def test_an_invalid_sign_in_cookie_invalidates_the_export(name):
    with pytest.raises(CookieExportError, match=name):
        parse_export(json.dumps({**WANTED, name: "se cret"}))


def test_an_account_may_have_no_rolling_cookie():
    assert parse_export("__Secure-1PSID=a; NID=511=ab/cd+ef") == {"__Secure-1PSID": "a", "NID": "511=ab/cd+ef"}
    assert parse_export("only-the-psid") == {"__Secure-1PSID": "only-the-psid"}


@pytest.mark.parametrize(
    "text", ["", "{", "NID=1", "NID=1; x=2", '{"a": 1}', "a\nb\nc", "__Secure-1PSID=a\x00b", "[1, 2]", "[" * 9999]
)
def test_an_invalid_export_is_refused_without_showing_a_value(text):
    with pytest.raises(CookieExportError) as caught:
        parse_export(text)
    assert "a\x00b" not in str(caught.value)


def test_the_header_has_the_values_unquoted():
    assert header({"NID": "511=ab/cd+ef", "A": "b"}) == "NID=511=ab/cd+ef; A=b"
    assert header(WANTED | {"NID": "1"}, ("__Secure-1PSID", "missing")) == "__Secure-1PSID=g.a000/x="


def test_new_values_are_merged():
    merged = merge(WANTED, ["__Secure-1PSIDTS=sidts-2; Domain=.google.com; Secure", "SIDCC=x/y=; Path=/"])
    assert merged == {**WANTED, "__Secure-1PSIDTS": "sidts-2", "SIDCC": "x/y="}


@pytest.mark.parametrize(
    "line",
    [
        "__Secure-1PSID=another; Domain=.google.com",
        "X=1; Domain=.example.com",
        "X=1; Max-Age=0",
        "__Secure-1PSIDTS=EXPIRED; Max-Age=-1",
        "X=; Domain=.google.com",
        "\x00=\x00",
    ],
)
def test_other_identities_foreign_domains_and_invalid_cookies_are_dropped(line):
    assert merge(WANTED, [line]) == WANTED


def test_attributes_of_a_set_cookie_header_are_not_cookies():
    line = "SIDCC=a; expires=Thu, 01 Jan 2026 00:00:00 GMT; path=/; Priority=HIGH; domain=.google.com; Secure; HttpOnly"
    assert merge({}, [line]) == {"SIDCC": "a"}
    assert merge({}, [line.replace("google.com", "example.com")]) == {}
