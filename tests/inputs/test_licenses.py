"""What a license is narrowed to holds for what comes out, and ends with the license: a gateway over sockets.

The simulator's profile `site` draws, films and sings in a plain chat whose words ask for it.
"""

import json
import re

import httpx2 as httpx
import pytest

from tests.conftest import BASE_SETTINGS, Gateway

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

    def __init__(self, http, gateway, name):
        self._http, self._base = http, gateway.base_url
        self._headers = {"Authorization": f"Bearer {key_of(name)}"}

    def request(self, method, path, **body):
        more = {"json": body} if body else {}
        return self._http.request(method, f"{self._base}/{path}", headers=self._headers, **more)

    def chat(self, model, words, *, stream=False, messages=()):
        turns = [*messages, {"role": "user", "content": words}]
        return self.request("POST", "chat/completions", model=model, messages=turns, stream=stream)

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
        yield {name: Client(http, gateway, name) for name in (*LICENSES, "tester")}


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


def test_a_continued_conversation_hands_out_nothing_else(client):
    words = "Draw a picture of a fox"
    first, _ = client["chat"].said("gemini-3-pro", words)
    history = [{"role": "user", "content": words}, {"role": "assistant", "content": first}]
    second, whole = client["chat"].said("gemini-3-pro", "Draw a picture of a cat", messages=history)
    assert "/media/" not in whole
    assert "'images'" in second
