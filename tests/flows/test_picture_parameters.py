"""Parameters of pictures at every endpoint that draws, as clients of several services send them, over a socket."""

import base64
import re
from io import BytesIO

import httpx2 as httpx
import pytest
from PIL import Image

from tests.conftest import KEY, SETTINGS, Gateway

DRAWS = "gemini-3-pro-imagen"
TOOL = {"model": "gemini-3-pro", "input": "a dot", "tool_choice": {"type": "image_generation"}}
FOREIGN = {"guidance_scale": 7.5, "watermark": True, "personGeneration": "ALLOW_ALL", "ratio": "16:9", "num_images": 2}


@pytest.fixture(scope="module", params=["strict", "site"])
def http(request, tmp_path_factory):
    profile = f'\n[transports.simulator]\nprofile = "{request.param}"\n'
    gateway = Gateway(tmp_path_factory.mktemp("pictures"), SETTINGS.format(key=KEY) + profile)
    with httpx.Client(base_url=gateway.origin, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client
    gateway.stop()


def dot():
    out = BytesIO()
    Image.new("RGB", (200, 100), "red").save(out, "PNG")
    return out.getvalue()


def size_of(data):
    return Image.open(BytesIO(data)).size


def in_base64(text):
    return size_of(base64.b64decode(text))


def images(http, path, fields, **sent):
    """Return the sizes of the pictures of `/v1/images/…`, which come as links and in base64, and the warning."""
    answer = http.post(f"/v1/images/{path}", **sent, json={"model": DRAWS, "prompt": "a dot", **fields})
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    found = [in_base64(image["b64_json"]) for image in data]
    assert found == [size_of(http.get(image["url"]).content) for image in data]
    return found, answer.headers.get("warning")


def edits(http, fields, **sent):
    picture = f"data:image/png;base64,{base64.b64encode(dot()).decode()}"
    return images(http, "edits", {**fields, "image": picture}, **sent)


def variations(http, fields, **sent):
    picture = base64.b64encode(dot()).decode()
    return images(http, "variations", {**fields, "image": picture}, **sent)


def chat(http, fields, **sent):
    body = {"model": DRAWS, "messages": [{"role": "user", "content": "a dot"}], **fields}
    answer = http.post("/v1/chat/completions", **sent, json=body)
    assert answer.status_code == 200, answer.text
    text = answer.json()["choices"][0]["message"]["content"]
    links = re.findall(r"\]\((http[^)]+)\)", text)
    return [size_of(http.get(link).content) for link in links], answer.headers.get("warning")


def responses(http, fields):
    answer = http.post("/v1/responses", json={**TOOL, "tools": [{"type": "image_generation", **fields}]})
    assert answer.status_code == 200, answer.text
    found = [in_base64(item["result"]) for item in answer.json()["output"] if "result" in item]
    return found, answer.headers.get("warning")


def gemini(http, fields, **sent):
    config = {"maxOutputTokens": 1, "stopSequences": ["e"], "imageConfig": fields}
    path = f"/v1beta/models/{DRAWS}:generateContent"
    answer = http.post(path, **sent, json={"contents": "a dot", "generationConfig": config})
    assert answer.status_code == 200, answer.text
    parts = answer.json()["candidates"][0]["content"]["parts"]
    found = [in_base64(part["inlineData"]["data"]) for part in parts if "inlineData" in part]
    return found, answer.headers.get("warning")


def generations(http, fields, **sent):
    return images(http, "generations", fields, **sent)


WAYS = [generations, edits, variations, chat, responses, gemini]


@pytest.mark.parametrize("way", WAYS)
def test_parameters_of_other_services_are_named_in_a_warning(http, way):
    found, warning = way(http, FOREIGN)
    assert found == [(1024, 1024)]
    for name in FOREIGN:
        assert name.replace("_", "").lower() in warning.replace("_", "").lower()
    assert way(http, {"watermark": False, "seed": None})[1] is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"size": "512x256"}, (512, 256)),
        ({"return_origin_image": "true"}, (2048, 2048)),
        ({"aspect_ratio": "9:16", "image_size": "2K"}, (1152, 2048)),
        ({"google": {"aspectRatio": "16:9"}}, (1024, 576)),
        ({"extra_body": {"google": {"image_config": {"aspect_ratio": "16:9"}}}}, (1024, 576)),
    ],
)
def test_a_size_is_honoured_in_every_spelling(http, way, fields, size):
    assert way(http, fields) == ([size], None)


@pytest.mark.parametrize("way", [generations, edits, variations, chat, gemini])
def test_a_size_is_honoured_in_the_query(http, way):
    assert way(http, {}, params={"size": "512x256"}) == ([(512, 256)], None)
    assert way(http, {}, params={"return_origin_image": "1"}) == ([(2048, 2048)], None)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limit", [{"max_tokens": 1}, {"stop": ["e", "a"]}])
def test_a_limit_of_the_text_never_drops_a_picture(http, limit, stream):
    body = {"model": DRAWS, "messages": [{"role": "user", "content": "a dot"}], "stream": stream, **limit}
    assert "](http" in http.post("/v1/chat/completions", json=body).text


def test_ten_pictures_come_in_one_answer(http):
    assert len(images(http, "generations", {"n": 10})[0]) == 10
