"""`route explain` beside the gateway whose store it reads, and the header that says which way has answered."""

import base64
import json

import httpx2 as httpx
import openai
import pytest

from tests.conftest import KEY
from tests.flows import test_both_ways
from tests.flows.test_both_ways import FORM, TEAM, TOOLS, Both, user
from tests.flows.test_official_long_running import PICTURE
from tests.service.cli.conftest import run_in_process

LINK = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
SHOWN = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": LINK}}]}]
WORDS = [{"role": "user", "content": "<echo>x</echo>"}]
TIERS = {"free": "api:free", "paid": "api:paid", "more": "api:paid", "site": "web"}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(test_both_ways.KEYS, "free", "AIzaOfBoth-free:free")  # its quota is not used up
        running = Both(tmp_path_factory.mktemp("explained"))
    yield running
    running.stop()


def explained(both, model, *options):
    done = run_in_process(both.gateway.log.parent, "route", "explain", "--model", model, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("model", ["gemini-3.6-flash", "gemini-3-pro"])
@pytest.mark.parametrize("owner", ["tester", "team"])
@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ((), {}),
        (("--tools",), {"tools": TOOLS}),
        (("--json-schema",), {"response_format": FORM}),
        (("--images",), {"messages": SHOWN}),
        (("--tools", "--images"), {"tools": TOOLS, "messages": SHOWN}),
    ],
)
def test_the_hop_that_is_explained_answers(both, model, owner, options, fields):
    found = explained(both, model, "--license", owner, *options)
    client = both.team if owner == "team" else both.one
    response = client.chat.completions.with_raw_response.create(model=model, **{"messages": WORDS, **fields})
    account = both.account_of(response.headers["x-request-id"])
    assert TIERS[account] in found["first"], found
    assert response.headers["x-gateway-transport"] == found["first"][0].partition(":")[0]


@pytest.mark.parametrize("client", ["one", "team"])
def test_every_kind_of_answer_names_its_way(both, client):
    key = {"one": KEY, "team": TEAM}[client]
    origin, sdk = both.gateway.origin, getattr(both, client)
    seen = {
        "chat": sdk.chat.completions.with_raw_response.create(model="gemini-3-pro", messages=WORDS),
        "stream": sdk.chat.completions.with_raw_response.create(model="gemini-3-pro", messages=WORDS, stream=True),
        "responses": sdk.responses.with_raw_response.create(model="gemini-3-pro", input="<echo>x</echo>"),
        "embeddings": sdk.embeddings.with_raw_response.create(model="gemini-embedding-2", input="x"),
    }
    body = {"model": "gemini-3-pro", "max_tokens": 99, "messages": WORDS}
    seen["messages"] = httpx.post(f"{both.gateway.base_url}/messages", headers={"x-api-key": key}, json=body)
    native = {"contents": [{"parts": [{"text": "<echo>x</echo>"}]}]}
    for method in ("generateContent", "streamGenerateContent"):
        url = f"{origin}/gemini_official/v1beta/models/gemini-3-pro:{method}"
        seen[method] = httpx.post(url, headers={"x-goog-api-key": key}, json=native)
    named = {kind: response.headers.get("x-gateway-transport") for kind, response in seen.items()}
    assert named == dict.fromkeys(named, "api")


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_names_the_way_that_gave_it(both, stream):
    asked = {
        "model": "gemini-3-pro",
        "messages": [user('<sim http="400"/>')],
        "stream": stream,
        "response_format": FORM,
    }
    with pytest.raises(openai.APIStatusError) as failed:
        both.team.chat.completions.create(**asked)
    assert failed.value.response.headers["x-gateway-transport"] == "api"
    with pytest.raises(openai.APIStatusError) as failed:
        both.team.chat.completions.create(**asked | {"messages": []})
    assert "x-gateway-transport" not in failed.value.response.headers


def test_pictures_name_their_way(both):
    generate = both.team.images.with_raw_response.generate
    assert generate(model="gemini-3-pro-imagen", prompt="a fox").headers["x-gateway-transport"] == "api"
    generate = both.one.images.with_raw_response.generate
    assert generate(model="gemini-3-pro-imagen", prompt="a fox").headers["x-gateway-transport"] == "web"


def test_films_are_not_asked_of_free_keys(both):
    found = explained(both, "gemini-3-pro-video")
    free = next(hop for hop in found["hops"] if hop["hop"] == "api:free")
    assert [account["state"] for account in free["accounts"]] == ["not_included"]
    assert "api:free" not in found["first"]


def test_a_paused_key_is_passed_by_as_explained(both):
    folder = both.gateway.log.parent
    assert run_in_process(folder, "accounts", "pause", "free").returncode == 0
    assert explained(both, "gemini-3-pro")["first"] == ["web"]
    answering = (both.ask("<echo>x</echo>", model="gemini-3-pro")[1] for _ in range(500))
    assert next(account for account in answering if account != "free") == "site"
