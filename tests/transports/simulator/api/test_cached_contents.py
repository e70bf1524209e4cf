"""Cached contents of the simulated API; `tests/foreign/test_official_api.py` has Google's SDK use them."""

import pytest

from tests.transports.simulator.api.test_routes import FREE, MODEL, PAID, Api, judged

DOCUMENT = "A long document. " * 300
PRO = "gemini-3.1-pro-preview"


def contents(text):
    return [{"role": "user", "parts": [{"text": text}]}]


@pytest.fixture
def api(clock):
    return Api(clock)


async def sent(api, method, path="", body=None, key=PAID):
    answer = await api.http.request(method, f"cachedContents{path}", json=body, headers={"x-goog-api-key": key})
    return answer.json()


async def create(api, key=PAID, of=MODEL, **fields):
    return await sent(api, "POST", "", {"model": f"models/{of}", "contents": contents(DOCUMENT)} | fields, key)


def message_of(answer):
    return answer.get("error", {}).get("message", "")


@pytest.mark.anyio
async def test_google_s_packages_accept_what_is_shown(api):
    names = [(await create(api, displayName=name))["name"] for name in ("one", "two", "three")]
    page = await sent(api, "GET", "?pageSize=2")
    rest = await sent(api, "GET", f"?pageSize=2&pageToken={page['nextPageToken']}")
    assert [one["name"] for one in page["cachedContents"] + rest["cachedContents"]] == names
    one = await sent(api, "GET", names[0].removeprefix("cachedContents"))
    assert judged([("cached", one), ("caches", page), ("caches", rest)]) == []
    assert await sent(api, "GET", key=FREE) == {}


@pytest.mark.anyio
async def test_contents_count_as_cached_and_come_before_those_of_the_request(api):
    tools = [{"functionDeclarations": [{"name": "f"}]}]
    kept = await create(api, tools=tools)
    answer = (await api.ask('<call name="f">{}</call>', {"cachedContent": kept["name"]}, key=PAID)).json()
    assert judged([("response", answer)]) == []
    assert answer["candidates"][0]["content"]["parts"][0]["functionCall"]["name"] == "f"
    usage = answer["usageMetadata"]
    assert usage["cachedContentTokenCount"] == kept["usageMetadata"]["totalTokenCount"] == 1275
    assert usage["promptTokenCount"] == 1275 + 6


@pytest.mark.anyio
async def test_contents_expire_and_can_be_kept_longer(api, clock):
    kept = await create(api, ttl="60s")
    path = kept["name"].removeprefix("cachedContents")
    clock.advance(50)
    assert (await sent(api, "PATCH", path, {"ttl": "60s"}))["expireTime"] > kept["expireTime"]
    clock.advance(50)
    assert (await api.ask("?", {"cachedContent": kept["name"]}, key=PAID)).status_code == 200
    clock.advance(20)
    gone = await api.ask("?", {"cachedContent": kept["name"]}, key=PAID)
    assert (gone.status_code, message_of(gone.json())) == (403, "CachedContent not found (or permission denied)")
    assert await sent(api, "GET") == {}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        (MODEL, {"contents": []}, "at least one content"),
        (MODEL, {"contents": contents("short")}, "total_token_count=2, min_total_token_count=1024"),
        (PRO, {}, "min_total_token_count=4096"),
        (MODEL, {"contents": [{"role": "user"}]}, "must not be empty"),
        (MODEL, {"ttl": "1s", "expireTime": "2100-01-01T00:00:00Z"}, "oneof"),
        (MODEL, {"expireTime": "2000-01-01T00:00:00Z"}, "in the future"),
        (MODEL, {"model": MODEL}, "unexpected model name format"),
        (MODEL, {"kmsKeyName": "x"}, "Cannot find field"),
        ("gemma-4-31b-it", {}, "not supported for createCachedContent"),
    ],
)
async def test_contents_that_cannot_be_cached_are_refused(api, model, fields, words):
    assert words in message_of(await create(api, of=model, **fields))


@pytest.mark.anyio
async def test_free_keys_cache_nothing(api):
    refused = await create(api, FREE)
    assert (refused["error"]["code"], "limit=0" in message_of(refused)) == (429, True)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "more", "status"),
    [
        ({"systemInstruction": {"parts": [{"text": "x"}]}}, {}, 400),
        ({"tools": [{"googleSearch": {}}]}, {}, 400),
        ({"contents": []}, {}, 400),
        ({}, {"model": "gemini-3.5-flash"}, 400),
        ({}, {"key": FREE}, 403),
    ],
)
async def test_requests_that_do_not_fit_the_contents_are_refused(api, fields, more, status):
    kept = await create(api)
    answer = await api.ask("?", {"cachedContent": kept["name"]} | fields, **{"key": PAID} | more)
    assert answer.status_code == status


@pytest.mark.anyio
@pytest.mark.parametrize("change", [{}, {"displayName": "x"}, {"ttl": "1s", "contents": contents("x")}, {"ttl": "0s"}])
async def test_nothing_but_the_expiry_can_be_changed(api, change):
    kept = await create(api)
    path = kept["name"].removeprefix("cachedContents")
    assert (await sent(api, "PATCH", path, change))["error"]["code"] == 400
    assert (await sent(api, "PATCH", f"{path}?updateMask=model", {"ttl": "1s"}))["error"]["code"] == 400


@pytest.mark.anyio
async def test_beginnings_that_come_again_are_cached_without_being_asked_for(api, clock):
    async def cached(prompt, **more):
        usage = (await api.ask(prompt, **more)).json()["usageMetadata"]
        return usage.get("cachedContentTokenCount", 0), usage["promptTokenCount"]

    assert await cached(DOCUMENT + "one") == (0, 1276)
    assert await cached(DOCUMENT + "two") == (1024, 1276)
    assert await cached(DOCUMENT + "two", key=PAID) == (0, 1276)
    assert await cached(DOCUMENT + "two", model=PRO) == (0, 1276)
    assert [await cached("short") for _ in range(2)] == [(0, 2), (0, 2)]
    clock.advance(600)
    assert await cached(DOCUMENT + "two") == (0, 1276)
