"""What a license is narrowed to holds for what comes out, and ends with the license: a gateway over sockets.

The simulator's profile `site` draws, films and sings in a plain chat whose words ask for it.
"""

import http.client
import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from tests.conftest import BASE_SETTINGS, Gateway
from tests.servers import programs, servers_of
from tests.service.cli.conftest import run_in_process

ALL = ("chat", "images", "video", "music", "canvas", "research", "storybook")
SIMULATOR = """
[transports.simulator]
profile = "site"
video_seconds = 0.2
research_seconds = 0.2
poll_seconds = 0.1

[transports.simulator.pace]
first_token_seconds = 0.0
tokens_per_second = 0.0
"""
CAPABILITIES = {
    "chat": ("gemini-3-pro", "<echo>Hello</echo>"),
    "images": ("gemini-3-pro-imagen", "A fox"),
    "video": ("gemini-3-pro-video", "A boat"),
    "canvas": ("gemini-3-pro-canvas", '<document lang="html" title="T">```html\n<p>Hi</p>\n```</document>'),
    "research": ("gemini-3-pro-deepsearch", "tea"),
    "storybook": ("gemini-3-pro-storybook", '<sim images="1"/> A fox'),
}
"""The model of each feature, and a prompt for it."""
DOCUMENT = 'Look: <document lang="html" title="T">```html\n<p>Hi</p>\n```</document>'
UNASKED = {
    "images": "Draw a picture of a fox",
    "video": 'Make a video of a fox <sim ready="0"/>',
    "music": "Make a song of a fox",
    "canvas": DOCUMENT,
}
"""What a plain chat makes, and the words for it."""
_LINK = re.compile(r"https?://[^\s()\"]*/media/[\w-]+")


def key_of(name):
    return f"sk-of-{name}-0123456789"


def license_of(name, features):
    return f'[[licenses]]\nid = "{name}"\nkey = "{key_of(name)}"\nfeatures = {json.dumps(features)}\n'


def settings_of(licenses):
    tester = BASE_SETTINGS.format(key=key_of("tester"))
    return tester + "".join(license_of(name, features) for name, features in licenses.items()) + SIMULATOR


LICENSES = {
    **{name: [name] for name in ALL},
    **{f"no-{name}": [one for one in ALL if one != name] for name in ALL},
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    process = Gateway(tmp_path_factory.mktemp("licenses"), settings_of(LICENSES))
    yield process
    process.stop()


class Client:
    """Asks a gateway with one license."""

    def __init__(self, http, gateway, key):
        self.http, self._base = http, gateway.base_url
        self.headers = {"Authorization": f"Bearer {key}"}

    def request(self, method, path, **body):
        more = {"json": body} if body else {}
        return self.http.request(method, f"{self._base}/{path}", headers=self.headers, **more)

    def chat(self, model, words, *, stream=False, messages=()):
        turns = [*messages, {"role": "user", "content": words}]
        return self.request("POST", "chat/completions", model=model, messages=turns, stream=stream)

    @contextmanager
    def stream(self, words, model="gemini-3-pro"):
        """Begin a stream; yield its response and the rest of its lines, once the first content has come."""
        body = {"model": model, "messages": [{"role": "user", "content": words}], "stream": True}
        with self.http.stream("POST", f"{self._base}/chat/completions", headers=self.headers, json=body) as response:
            lines = response.iter_lines()
            next(line for line in lines if '"content":"' in line or '"reasoning_content":"' in line)
            yield response, lines

    def said(self, model, words, *, stream=False, messages=()):
        """Return the content of an answer, and all of the response."""
        answer = self.chat(model, words, stream=stream, messages=messages)
        assert answer.status_code == 200, answer.text
        if not stream:
            return answer.json()["choices"][0]["message"]["content"], answer.text
        assert answer.text.endswith("data: [DONE]\n\n")
        chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas), answer.text


@pytest.fixture(scope="module")
def client(gateway):
    with httpx.Client() as http:
        yield {name: Client(http, gateway, key_of(name)) for name in (*LICENSES, "tester")}


def check_refused(answer, feature):
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (403, "license_required", "permission_error")
    assert f"'{feature}'" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("feature", CAPABILITIES)
@pytest.mark.parametrize("name", [*CAPABILITIES, "music"])
def test_a_chat_needs_the_feature_of_its_model(client, name, feature, stream):
    model, words = CAPABILITIES[feature]
    if name == feature:
        content, whole = client[name].said(model, words, stream=stream)
        assert content
        assert "left out" not in whole
    else:
        check_refused(client[name].chat(model, words, stream=stream), feature)


@pytest.mark.parametrize("name", ALL)
def test_each_endpoint_needs_its_feature(client, name):
    picture = "data:image/png;base64,aGVsbG8="
    calls = {
        "images": [
            ("POST", "images/generations", {"prompt": "A fox"}),
            ("POST", "images/edits", {"prompt": "A fox", "images": [{"image_url": picture}]}),
        ],
        "video": [
            ("POST", "videos", {"prompt": "A fox"}),
            ("GET", "videos", {}),
        ],
    }
    for feature, requests in calls.items():
        for method, path, body in requests:
            answer = client[name].request(method, path, **body)
            if name != feature:
                check_refused(answer, feature)
            else:
                assert answer.status_code != 403, answer.text


@pytest.mark.parametrize("name", ALL)
def test_the_list_has_only_the_models_that_the_license_may_use(client, name):
    listed = client[name].request("GET", "models").json()["data"]
    feature = {"imagen": "images", "deepsearch": "research"}
    assert {feature.get(model["capability"], model["capability"]) for model in listed} == {name} - {"music"}
    model, _ = CAPABILITIES["images" if name == "chat" else "chat"]
    check_refused(client[name].request("GET", f"models/{model}"), "images" if name == "chat" else "chat")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("feature", UNASKED)
def test_a_plain_chat_hands_out_what_the_license_includes(client, feature, stream):
    content, whole = client["tester"].said("gemini-3-pro", UNASKED[feature], stream=stream)
    assert "left out" not in whole
    assert ("<p>Hi</p>" in content) if feature == "canvas" else _LINK.search(content)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("feature", UNASKED)
@pytest.mark.parametrize("only", [False, True])
def test_a_plain_chat_hands_out_nothing_else_and_says_why(client, feature, stream, only):
    name = "chat" if only else f"no-{feature}"
    content, whole = client[name].said("gemini-3-pro", UNASKED[feature], stream=stream)
    assert "/media/" not in whole
    assert "Hi</p>" not in whole
    for field in ("images", "videos", "audios", "document"):
        assert f'"{field}"' not in whole
    assert content.count("was left out: this license does not include") == 1
    assert f"'{feature}'" in content
    said = content.partition("(")[0].strip()
    assert said  # the words of the answer stay


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "feature"), [("chat", "images"), ("no-video", "video"), ("tester", None)])
def test_a_link_to_media_of_the_site_in_the_text_is_left_out(client, name, feature, stream):
    words = "See ![it](https://lh3.googleusercontent.com/gg-dl/abc=s0) there."
    content, whole = client[name].said("gemini-3-pro", f"<echo>{words}</echo>", stream=stream)
    if feature is None:
        assert content == words
    else:
        assert content.startswith("See ![it]() there.")
        assert content.count(f"'{feature}'") == 1
        assert "gg-dl" not in whole


def test_a_continued_conversation_hands_out_nothing_else(client):
    words = "Draw a picture of a fox"
    first, _ = client["chat"].said("gemini-3-pro", words)
    history = [{"role": "user", "content": words}, {"role": "assistant", "content": first}]
    second, whole = client["chat"].said("gemini-3-pro", "Draw a picture of a cat", messages=history)
    assert "/media/" not in whole
    assert "'images'" in second


ENDLESS = '<sim length="100000" tokens-per-second="5"/>'


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A gateway whose licenses are in its store, and in its settings."""
    process = Gateway(tmp_path_factory.mktemp("stored"), settings_of({"fixed": list(ALL)}))
    yield process
    process.stop()


@pytest.fixture
def http_client():
    with httpx.Client(timeout=90) as client:
        yield client


class Operator:
    """Runs `gemini-gateway licenses` in a gateway's folder."""

    def __init__(self, gateway, http):
        self.gateway, self._http = gateway, http

    def run(self, *arguments):
        done = run_in_process(self.gateway.log.parent, "licenses", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def add(self, name, *options):
        return Client(self._http, self.gateway, self.run("add", name, *options))

    def generating(self):
        """Return how many turns run at the simulated site."""
        state = json.loads(self.gateway.wait_for('"simulator_started"'))["state"]
        return sum(account["generating"] for account in self._http.get(state).json()["accounts"])

    def until_idle(self):
        until = time.monotonic() + 90
        while self.generating():
            assert time.monotonic() < until
            time.sleep(0.02)


@pytest.fixture
def operator(stored, http_client):
    return Operator(stored, http_client)


def check_ended(lines):
    """Check that a stream ends with an error event, and without a reset."""
    last = [line for line in lines if line.startswith("data: ")][-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("license_revoked", "invalid_request_error")


def check_revoked(answer, code="license_revoked"):
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)


def test_a_revocation_ends_open_streams_and_frees_their_accounts(operator):
    client = operator.add("streams")
    with client.stream(ENDLESS) as (_, lines):
        assert operator.generating() == 1
        operator.run("revoke", "streams")
        check_ended(lines)
    operator.until_idle()
    check_revoked(client.request("GET", "models"), "invalid_api_key")


def test_a_revocation_ends_waiting_requests(operator):
    client = operator.add("waits")
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(client.chat, "gemini-3-pro", ENDLESS) for _ in range(6)]
        waiting.append(pool.submit(client.chat, "gemini-3-pro", ENDLESS, stream=True))
        while operator.generating() < 5:
            time.sleep(0.02)
        operator.run("revoke", "waits")
        for one in waiting[:-1]:
            check_revoked(one.result())
        streamed = waiting[-1].result()
        if streamed.status_code == 200:
            check_ended(streamed.iter_lines())
        else:
            check_revoked(streamed)
    operator.until_idle()


def test_a_revocation_ends_requests_whose_body_still_comes(operator):
    client = operator.add("slow")
    target = urlsplit(operator.gateway.base_url)
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=90)
    connection.putrequest("POST", f"{target.path}/chat/completions")
    connection.putheader("Authorization", client.headers["Authorization"])
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"{")
    other = operator.add("quick")
    assert other.chat("gemini-3-pro", "<echo>Hi</echo>").status_code == 200  # the first request has been read by now
    operator.run("revoke", "slow")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (401, "license_revoked")
    connection.close()


def test_a_name_that_is_used_again_opens_nothing_of_the_earlier_license(operator):
    first = operator.add("again")
    picture, _ = first.said("gemini-3-pro-imagen", "A bear")
    link = _LINK.search(picture)[0]
    research = first.chat("gemini-3-pro-deepsearch", "coffee").json()["id"]
    video = first.request("POST", "videos", prompt='<sim ready="600"/> A ship').json()["id"]
    while first.request("GET", f"videos/{video}").json()["status"] != "in_progress":
        time.sleep(0.02)
    assert first.http.get(link).status_code == 200
    operator.run("revoke", "again")
    assert first.http.get(link).status_code == 404
    operator.until_idle()
    second = operator.add("again")
    assert second.http.get(link).status_code == 404
    assert second.request("GET", "videos").json()["data"] == []
    paths = (f"videos/{video}", f"videos/{video}/content", f"chat/completions/{research}")
    for method, path in (*(("GET", path) for path in paths), ("DELETE", paths[0])):
        assert second.request(method, path).status_code == 404
    edit = {"prompt": "A hat", "images": [{"image_url": link}], "model": "gemini-3-pro-imagen"}
    assert second.request("POST", "images/edits", **edit).json()["error"]["code"] == "media_gone"


def reload(gateway, settings):
    """Write new settings, and wait until the gateway has read them."""
    reloads = gateway.text().count("config_reload")
    (gateway.log.parent / "gateway.toml").write_text(settings)
    gateway.signal(signal.SIGHUP)
    until = time.monotonic() + 90
    while gateway.text().count("config_reload") == reloads:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_license_that_the_settings_narrow_or_drop_gets_less_at_once(stored, http_client):
    client = Client(http_client, stored, key_of("fixed"))
    link = _LINK.search(client.said("gemini-3-pro-imagen", "A wolf")[0])[0]
    research = client.chat("gemini-3-pro-deepsearch", "cocoa").json()["id"]
    video = client.request("POST", "videos", prompt="A train").json()["id"]
    while client.request("GET", f"videos/{video}").json()["status"] != "completed":
        time.sleep(0.02)
    with client.stream(ENDLESS) as (_, lines):
        everything = settings_of({"fixed": list(ALL)})
        reload(stored, everything.replace('id = "fixed"', 'id = "fixed"\nmodels = ["gemini-2.5-*"]'))
        for path in (f"chat/completions/{research}", f"videos/{video}", f"videos/{video}/content"):
            answer = client.request("GET", path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")
        reload(stored, settings_of({"fixed": ["chat"]}))
        check_refused(http_client.get(link), "images")
        check_refused(client.request("GET", f"chat/completions/{research}"), "research")
        for path in ("videos", f"videos/{video}", f"videos/{video}/content"):
            check_refused(client.request("GET", path), "video")
        assert client.request("DELETE", f"videos/{video}").status_code == 200
        history = [{"role": "user", "content": "A wolf"}, {"role": "assistant", "content": f"![A wolf]({link})"}]
        _, whole = client.said("gemini-3-pro", "Draw a picture of it again", messages=history)
        assert "/media/" not in whole.replace(link, "")
        reload(stored, settings_of({}))
        check_ended(lines)
    check_revoked(client.request("GET", "models"), "invalid_api_key")
    assert http_client.get(link).status_code == 404
    reload(stored, settings_of({"fixed": list(ALL)}))
    assert http_client.get(link).status_code == 200


def test_a_reload_does_not_break_the_locks_of_the_store(operator):
    folder = operator.gateway.log.parent
    reload(operator.gateway, (folder / "gateway.toml").read_text())
    client = operator.add("later")  # a command that took itself for the last one would delete the write-ahead log
    assert (folder / "gateway.sqlite3-wal").exists()
    assert client.request("GET", "models").status_code == 200


def test_settings_that_take_the_id_of_a_license_of_the_store_change_nothing(operator):
    client = operator.add("taken")
    settings = (operator.gateway.log.parent / "gateway.toml").read_text()
    reload(operator.gateway, settings + license_of("taken", ["chat"]) + license_of("more", ["chat"]))
    assert "'taken' is in the store, too" in operator.gateway.text()
    assert client.request("GET", "models").status_code == 200
    more = Client(client.http, operator.gateway, key_of("more"))
    assert more.request("GET", "models").status_code == 401
    reload(operator.gateway, settings)


def test_a_revocation_ends_the_requests_of_every_process_that_shares_a_redis(start_gateway, http_client):
    with servers_of(programs()["redis"]) as start:
        settings = settings_of({}) + f'\n[store]\nurl = "{start().url}"\n'
        first, second = start_gateway(settings), start_gateway(settings)
        operator = Operator(first, http_client)
        client = operator.add("shared")
        link = _LINK.search(client.said("gemini-3-pro-imagen", "A fox")[0])[0]
        elsewhere = Client(http_client, second, client.headers["Authorization"].removeprefix("Bearer "))
        with client.stream(ENDLESS) as (_, lines), elsewhere.stream(ENDLESS) as (_, others):
            operator.run("revoke", "shared")
            check_ended(lines)
            check_ended(others)
        for gateway in (first, second):
            moved = link.replace(first.origin, gateway.origin)
            assert http_client.get(moved).status_code == 404
        operator.until_idle()
