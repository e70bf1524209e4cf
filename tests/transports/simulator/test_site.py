"""Changes one part of a valid request of the web transport at a time: the site must notice each change."""

import json

import aiohttp
import msgspec
import pytest

from tests.transports.conftest import ACCOUNT
from tests.transports.simulator.conftest import CALL, MODEL
from transports.simulator import export_of
from transports.web import wire
from transports.web.codec import encode
from transports.web.codec.frames import FrameParser


async def test_requests_of_the_web_transport_are_accepted(browser):
    assert (await browser.generate())[0] == 200
    assert (await browser.batch(("otAQ7b", "[]")))[0] == 200


HEADERS = sorted(encode.generate_headers(CALL, "http://x"))


@pytest.mark.parametrize("name", [name for name in HEADERS if name != wire.MODEL_HEADER])
@pytest.mark.parametrize("value", [None, "wrong"])
async def test_every_header_is_checked(browser, site, name, value):
    def spoil(headers, query, form):
        headers.pop(name)
        if value:
            headers[name] = value

    assert (await browser.generate(spoil=spoil))[0] == 400
    assert name.lower() in (await site.state())["departures"][-1].lower()


@pytest.mark.parametrize("name", ["bl", "f.sid", "hl", "_reqid", "rt"])
async def test_every_query_parameter_is_checked(browser, name):
    assert (await browser.generate(spoil=lambda headers, query, form: query.pop(name)))[0] == 400


@pytest.mark.parametrize("slot", [0, 1, 2, *wire.FIXED_SLOTS, 59, 79, 80, 3, 12, 70])
async def test_every_slot_is_checked(browser, site, slot):
    def spoil(headers, query, form):
        outer = json.loads(form["f.req"])
        inner = json.loads(outer[1])
        inner[slot] = ["spoiled"]
        form["f.req"] = json.dumps([None, json.dumps(inner)])

    assert (await browser.generate(spoil=spoil))[0] == 400
    assert (await site.seen("departures")) == 1


@pytest.mark.parametrize("size", [80, 82])
async def test_the_number_of_slots_is_checked(browser, size):
    def spoil(headers, query, form):
        inner = json.loads(json.loads(form["f.req"])[1])
        form["f.req"] = json.dumps([None, json.dumps([*inner, None][:size])])

    assert (await browser.generate(spoil=spoil))[0] == 400


@pytest.mark.parametrize("field", ["at", "f.req"])
async def test_every_form_field_is_checked(browser, field):
    assert (await browser.generate(spoil=lambda headers, query, form: form.pop(field)))[0] == 400
    assert (await browser.generate(spoil=lambda headers, query, form: form.update({field: "x"})))[0] == 400
    assert (await browser.generate(spoil=lambda headers, query, form: form.update({"more": "x"})))[0] == 400


@pytest.mark.parametrize("index", range(17))
async def test_every_field_of_the_model_header_is_checked(browser, index):
    def spoil(headers, query, form):
        model = json.loads(headers[wire.MODEL_HEADER])
        model[index] = "spoiled" if not isinstance(model[index], str) else 7
        headers[wire.MODEL_HEADER] = json.dumps(model)

    assert (await browser.generate(spoil=spoil))[0] == 400


@pytest.mark.parametrize("change", [{"id": "0123456789abcdef"}, {"capacity": 4}, {"number": 1}])
async def test_a_model_header_that_does_not_match_the_account_is_1052(browser, change):
    call = msgspec.structs.replace(CALL, model=msgspec.structs.replace(MODEL, **change))
    status, body = await browser.generate(call)
    assert status == 200
    assert b"[1052]" in body


async def test_a_field_13_account_and_a_missing_model_header_are_accepted(browser):
    field13 = msgspec.structs.replace(CALL, model=msgspec.structs.replace(MODEL, field13=True))
    assert b"ok" in (await browser.generate(field13))[1]


@pytest.mark.parametrize("name", ["rpcids", "source-path"])
async def test_the_query_of_a_batch_is_checked(browser, name):
    assert (await browser.batch(("otAQ7b", "[]"), spoil=lambda headers, query, form: query.pop(name)))[0] == 400


@pytest.mark.parametrize(
    "call",
    [
        ("otAQ7b", "[1]"),
        ("ESY5D", "[]"),
        ("MaZiqc", "[13]"),
        ("hNvQHb", '["c_1"]'),
        ("hNvQHb", "5"),
        ("GzXR5e", "[5]"),
        ("nobody", "[]"),
        ("otAQ7b", "{"),
    ],
)
async def test_the_payloads_of_a_batch_are_checked(browser, call):
    assert (await browser.batch(call))[0] == 400


async def test_rotation_requires_the_sentinel_its_content_type_and_two_cookies_only(site):
    good = {"Content-Type": "application/json", "Cookie": export_of(ACCOUNT)}
    attempts = [
        (b"[]", good, 400),
        (wire.ROTATE_BODY, {**good, "Content-Type": "text/plain"}, 400),
        (wire.ROTATE_BODY, {**good, "Cookie": export_of(ACCOUNT) + "; NID=1"}, 401),
        (wire.ROTATE_BODY, {**good, "Cookie": "__Secure-1PSID=nobody"}, 401),
        (wire.ROTATE_BODY, good, 200),
        (wire.ROTATE_BODY, good, 429),
    ]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for body, headers, status in attempts:
            async with http.post(f"{site.base}/RotateCookies", data=body, headers=headers) as response:
                assert response.status == status
                assert ("Set-Cookie" in response.headers) == (status == 200)


def parts(body):
    frames = [json.loads(frame) for frame in FrameParser(1 << 20).feed(body)]
    return {part[1]: json.loads(part[2]) for frame in frames for part in frame if part[0] == "wrb.fr"}


async def test_a_saved_conversation_is_listed_read_and_deleted(browser):
    await browser.generate(CALL)  # a temporary one is not kept
    await browser.generate(msgspec.structs.replace(CALL, temporary=False, prompt="<echo>kept</echo>"))
    _, body = await browser.batch(("MaZiqc", "[13,null,[0,null,1]]"))
    ((cid, title, *_),) = parts(body)["MaZiqc"][2]
    assert title == "<echo>kept</echo>"
    _, body = await browser.batch(("hNvQHb", json.dumps([cid, 10, None, 1, [1], [4], None, 1])))
    (turn,) = parts(body)["hNvQHb"][0]
    assert turn[2][0][0] == "<echo>kept</echo>"
    assert turn[3][0][0][1][0] == "kept"
    await browser.batch(("GzXR5e", json.dumps([cid])))
    _, body = await browser.batch(("MaZiqc", "[13,null,[0,null,1]]"))
    assert parts(body)["MaZiqc"][2] == []
