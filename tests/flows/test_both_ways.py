"""The openai SDK over a gateway with both ways to Gemini: an account of the site, and keys of the official API."""

import base64
import json
import re
import signal

import httpx2 as httpx
import openai
import pytest

from tests.conftest import BASE_SETTINGS, KEY, Gateway, Site

TEAM = "sk-team-0123456789abcdef"
KEYS = {"free": "AIzaOfBoth-free:free:0:2", "paid": "AIzaOfBoth-paid:paid", "more": "AIzaOfBoth-more:paid"}
SETTINGS = """
[[licenses]]
id = "team"
key = "{team}"
[models.upstream]
"gemini-2.5-flash" = {{api = "gemini-2.0-flash"}}
"gemini-3.1-pro" = {{api = "gemini-2.0-flash"}}
[models.fallbacks]
"gemini-3.1-pro" = ["gemini-3.6-flash"]
[transports.web]
guest = false
[transports.web.hosts]
site = "{url}"
accounts = "{url}"
upload = "{url}"
[[transports.web.accounts]]
id = "site"
per_minute = 0
cookies = "{cookies}"
[transports.api]
base_url = "{url}"
[[transports.api.accounts]]
id = "free"
key = "AIzaOfBoth-free"
[[transports.api.accounts]]
id = "paid"
key = "AIzaOfBoth-paid"
tier = "paid"
[[transports.api.accounts]]
id = "more"
key = "AIzaOfBoth-more"
tier = "paid"
"""
ROUTES = """
[[routes]]
json_schema = true
to = ["api:paid"]
[[routes]]
models = ["gemini-3.1-pro"]
to = ["api:paid"]
[[routes]]
licenses = ["team"]
to = ["api:paid", "web"]
"""
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORM = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": CITY}}]
CALL = '<call name="get_weather">{"city": "Rome"}</call>'


class Both:
    """The gateway, its upstreams, and a client of each license."""

    def __init__(self, folder):
        options = [word for key in KEYS.values() for word in ("--api-key", key)]
        self.site = Site(folder, "--first-token-seconds", "0", *options)
        given = {"team": TEAM, "url": self.site.url, "cookies": self.site.cookies}
        self.settings = BASE_SETTINGS.format(key=KEY) + SETTINGS.format(**given)
        self.gateway = Gateway(folder, self.settings + ROUTES)
        self.one, self.team = (
            openai.OpenAI(base_url=self.gateway.base_url, api_key=key, max_retries=0) for key in (KEY, TEAM)
        )

    def account_of(self, request_id):
        """Return the account that served a request, as the log names it; None: none did."""
        return json.loads(self.gateway.wait_for(f'"request": "{request_id}", "method"', seconds=10))["account"]

    def ask(self, *messages, client=None, model="gemini-3.6-flash", **fields):
        """Return the answer's message, and the account that gave it."""
        create = (client or self.one).chat.completions.with_raw_response.create
        said = [user(one) if isinstance(one, str) else one for one in messages]
        response = create(model=model, messages=said, **fields)
        return response.parse().choices[0].message, self.account_of(response.headers["x-request-id"])

    def order(self, **fault):
        assert httpx.post(f"{self.site.url}/simulator/faults", json=fault).status_code == 200

    def seen(self, what):
        return httpx.get(f"{self.site.url}/simulator/state").json()["seen"].get(what, 0)

    def stop(self):
        self.one.close()
        self.team.close()
        self.gateway.stop()
        self.site.stop()


def user(text):
    return {"role": "user", "content": text}


def assistant(message):
    return message.model_dump(exclude_none=True, exclude={"annotations", "images"})


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    running = Both(tmp_path_factory.mktemp("both"))
    yield running
    running.stop()


def test_options_apply_where_the_transport_that_answers_knows_them(both):
    fields = {"model": "gemini-3.7-flash", "messages": [user("<echo>x</echo>")], "temperature": 0.5, "seed": 7}

    def ask(client, **more):
        response = client.chat.completions.with_raw_response.create(**fields, **more)
        return response.headers["x-gateway-transport"], response.headers.get("warning")

    assert ask(both.team, logit_bias={"1": 2}) == ("api", '299 - "These fields have no effect here: logit_bias."')
    assert ask(both.team) == ("api", None)
    assert ask(both.team, stream=True) == ("api", None)
    found = [ask(both.one, n=count) for count in (1, 1, 1)]
    assert set(found) == {("api", None), ("web", '299 - "These fields have no effect here: seed, temperature."')}


def test_models_that_the_keys_list_are_names_and_only_keys_serve_them(both):
    listed = {one.id: one for one in both.one.models.list()}
    for name in (
        "gemini-4-argon",
        "gemma-4-31b-it",
        "gemini-flash-latest",
        "gemini-3.1-pro-preview",
        "gemini-4-neon-imagen",
    ):
        assert listed[name].model_extra["available"], name
    assert not {"lyria-3.5", "gemini-2.0-flash"} & {*listed}
    aliases = {
        name: listed[name].model_extra["alias_of"] for name in ("gemini-3.5-flash", "gemini-3-pro", "gemini-4-argon")
    }
    assert aliases == {"gemini-3.5-flash": None, "gemini-3-pro": "gemini-pro-latest", "gemini-4-argon": None}
    asked = both.one.chat.completions.with_raw_response.create(
        model="gemini-4-argon", messages=[user("<echo>x</echo>")]
    )
    assert asked.headers["x-gateway-upstream-model"] == "gemini-4-argon"
    assert (asked.parse().model, asked.headers["x-gateway-transport"]) == ("gemini-4-argon", "api")
    drawn, account = both.ask("A fox.", model="gemini-nano-banana-2.1")
    assert drawn.model_extra["images"]
    assert account in KEYS
    names = httpx.get(f"{both.gateway.origin}/v1beta/models", headers={"x-goog-api-key": KEY}).json()["models"]
    limits = {one["name"]: one["inputTokenLimit"] for one in names}
    assert limits["models/gemini-4-argon"] == 1048576
    claude = httpx.get(f"{both.gateway.base_url}/models", headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"})
    assert "gemini-4-argon" in [one["id"] for one in claude.json()["data"]]


def test_a_storybook_by_keys_has_the_form_of_the_website(both):
    pages = "<echo>Once.\n\n---\n\nThen.\n\n---\n\nThe end.</echo>"

    def told(client):
        book, account = both.ask(pages, client=client, model="gemini-3.7-flash-storybook")
        assert len(book.model_extra["images"]) == 3
        return account, re.sub(r"http[^)]*|A picture of: |!\[[^]]*", "", book.content).split()

    by_keys, by_site = told(both.team), told(both.one)
    assert by_keys[0] in {"paid", "more"}
    assert by_keys[1][by_keys[1].index("Once.") :] == by_site[1][by_site[1].index("Once.") :]


def test_free_keys_come_first_then_the_site_and_paid_keys_last(both):
    accounts = [both.ask("<echo>x</echo>")[1] for _ in range(4)]
    assert accounts == ["free", "free", "site", "site"], "the free key has two requests per day and model"
    both.order(where="generate", status=503, times=9)
    assert both.ask("<echo>x</echo>")[1] in {"paid", "more"}
    httpx.delete(f"{both.site.url}/simulator/faults")


def test_conditions_choose_the_way(both):
    assert both.ask("<echo>x</echo>", client=both.team, model="gemini-3.5-flash")[1] in {"paid", "more"}
    assert both.ask("?", model="gemini-3.5-flash", response_format=FORM)[1] in {"paid", "more"}
    assert both.ask("<echo>x</echo>", model="gemini-3.5-flash")[1] == "free"


def test_a_conversation_that_the_site_holds_goes_back_to_it(both):
    first = user('<sim error="1013" once="held" text="held by the site"/>')  # the API fails, the site tries again
    answer, account = both.ask(first, model="gemini-3-pro")
    assert (answer.content, account) == ("held by the site", "site")
    assert both.ask(first, assistant(answer), "<echo>more</echo>", model="gemini-3-pro")[1] == "site"


def test_a_conversation_whose_way_is_dead_goes_on_elsewhere_with_its_history(both):
    first = user('<sim error="1013" once="left" text="known to the site alone"/>')
    answer, account = both.ask(first, model="gemini-3-pro")
    assert account == "site"
    both.order(where="generate", status=503, times=9)
    create = both.one.chat.completions.with_raw_response.create
    said = [first, assistant(answer), user("<echo>more</echo>")]
    response = create(model="gemini-3-pro", messages=said)
    httpx.delete(f"{both.site.url}/simulator/faults")
    assert response.headers["x-gateway-transport"] == "api"
    alone = both.team.chat.completions.create(model="gemini-3-pro", messages=[user("<echo>more</echo>")])
    assert response.parse().usage.prompt_tokens > 2 * alone.usage.prompt_tokens


def test_calls_go_back_to_the_key_whose_signatures_they_have(both):
    for _ in range(4):
        calls, account = both.ask(CALL, client=both.team, tools=TOOLS)
        results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls.tool_calls]
        answer, after = both.ask(CALL, assistant(calls), *results, client=both.team, tools=TOOLS)
        assert (after, "rain" in answer.content) == (account, True)


def test_a_model_that_the_api_does_not_have_is_asked_of_the_site(both):
    refused = both.seen("api_404")
    accounts = {both.ask("<echo>x</echo>", model="gemini-2.5-flash")[1] for _ in range(3)}
    assert accounts == {"site"}
    assert both.seen("api_404") == refused + 1, "it is remembered that the key lacks the model"


def test_a_fallback_model_takes_its_own_route(both):
    assert both.ask("<echo>x</echo>", model="gemini-3.1-pro")[0].content == "x"
    assert both.gateway.wait_for("model_fallback_used")


def test_nothing_is_asked_after_the_first_event(both):
    before = both.seen("generate")
    with pytest.raises(openai.APIError):
        list(
            both.team.chat.completions.create(
                model="gemini-3.5-flash", messages=[user('<sim length="900" drop-after="2"/>')], stream=True
            )
        )
    assert both.seen("generate") == before


def test_a_picture_of_unknown_outcome_is_not_drawn_again(both):
    before = both.seen("generate"), both.seen("api_generateContent")
    with pytest.raises(openai.APIError) as failed:
        both.team.images.generate(model="gemini-3-pro-imagen", prompt='<sim drop-after="1"/>')
    assert failed.value.code == "upstream_outcome_unknown"
    assert (both.seen("generate"), both.seen("api_generateContent")) == (before[0], before[1] + 1)


def test_a_picture_of_the_site_is_shown_to_the_site_again(both):
    made = both.one.images.generate(model="gemini-3-pro-imagen", prompt="a fox", response_format="b64_json").data[0]
    assert base64.b64decode(made.b64_json)
    answer, account = both.ask("a cat", model="gemini-3-pro-imagen")
    assert account == "site", "free keys have no pictures"
    assert both.ask("a cat", assistant(answer), "in blue", model="gemini-3-pro-imagen")[1] == "site"


def test_an_error_names_no_way(both):
    with pytest.raises(openai.APIError) as failed:
        both.ask('<sim http="503"/>')
    assert not any(word in str(failed.value) for word in ("AIza", "free", "paid", "web", "api:"))


def test_changed_routes_are_reloaded(both):
    settings = both.settings + '[[routes]]\nto = ["web"]\n'
    (both.gateway.log.parent / "gateway.toml").write_text(settings)
    both.gateway.signal(signal.SIGHUP)
    both.gateway.wait_for("config_reloaded")
    assert both.ask("<echo>x</echo>", client=both.team, model="gemini-3.5-flash-lite")[1] == "site"
    assert "config_restart_required" not in both.gateway.text()
