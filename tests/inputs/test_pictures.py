"""What would change a picture is done or refused by its name; limits of words keep what was made."""

import base64
import json
import re
from io import BytesIO

import httpx2 as httpx
import pytest
from PIL import Image

from tests.conftest import KEY, SETTINGS, Gateway

MODEL = "gemini-3-pro-imagen"
WISHES = {"aspect_ratio": "16:9", "image_size": "512", "output_format": "webp"}
CAMEL = {"aspectRatio": "16:9", "imageSize": "512", "outputMimeType": "image/webp"}
LINK = re.compile(r"\]\((http[^)]+)\)")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway over a site that draws in a plain chat, too."""
    profile = '\n[transports.simulator]\nprofile = "site"\n'
    process = Gateway(tmp_path_factory.mktemp("gateway"), SETTINGS.format(key=KEY) + profile)
    yield process
    process.stop()


def opened(data):
    image = Image.open(BytesIO(data))
    image.load()
    return image


def fetched(url):
    response = httpx.get(url, timeout=60)
    assert response.status_code == 200, response.text
    return opened(response.content)


def generate(http, fields, path="/images/generations"):
    return http.post(path, json={"model": MODEL, "prompt": "a fox", "response_format": "b64_json", **fields})


def fill_form(http, fields, path="/images/generations"):
    given = {"model": MODEL, "prompt": "a fox", "response_format": "b64_json", **fields}
    return http.post(path, files={name: (None, str(value)) for name, value in given.items()})


def pictures_of(response):
    assert response.status_code == 200, response.text
    body = response.json()
    if "data" in body:
        return [opened(base64.b64decode(one["b64_json"])) for one in body["data"]]
    return [fetched(one["image_url"]["url"]) for one in body["choices"][0]["message"]["images"]]


def chat(http, fields, path="/chat/completions"):
    return http.post(path, json={"model": MODEL, "messages": [{"role": "user", "content": "a fox"}], **fields})


def film(http, fields):
    return http.post("/videos", json={"model": "gemini-3-pro-video", "prompt": "a fox", **fields})


IMAGEN = {
    "aspectRatio": "16:9",
    "sampleImageSize": "512",
    "outputOptions": {"mimeType": "image/webp", "compressionQuality": 80},
    "sampleCount": 1,
}
QUERY = "?aspect_ratio=16%3A9&image_size=512&output_format=webp"
PLACES = {
    "JSON": lambda http: generate(http, WISHES),
    "JSON, in camel case": lambda http: generate(http, CAMEL),
    "google": lambda http: generate(http, {"google": WISHES}),
    "extra_body.google.image_config": lambda http: generate(http, {"extra_body": {"google": {"image_config": WISHES}}}),
    "generationConfig.imageConfig": lambda http: generate(http, {"generationConfig": {"imageConfig": CAMEL}}),
    "parameters of Imagen": lambda http: generate(http, {"parameters": IMAGEN}),
    "config of the SDK": lambda http: generate(http, {"config": IMAGEN}),
    "image_output_options": lambda http: chat(
        http,
        {
            "image_config": {
                "aspect_ratio": "16:9",
                "image_size": 512,
                "image_output_options": {"mimeType": "image/webp"},
            }
        },
    ),
    "Imagen's names": lambda http: generate(http, IMAGEN),
    "query": lambda http: generate(http, {}, "/images/generations" + QUERY),
    "form": lambda http: fill_form(http, WISHES),
    "form, in brackets": lambda http: fill_form(http, {f"google[image_config][{k}]": v for k, v in WISHES.items()}),
    "form, in JSON": lambda http: fill_form(http, {"extra_body": json.dumps({"google": CAMEL})}),
    "form and query": lambda http: fill_form(http, {}, "/images/generations" + QUERY),
    "chat": lambda http: chat(http, WISHES),
    "chat, image_config": lambda http: chat(http, {"image_config": WISHES}),
    "chat, extra_body.google": lambda http: chat(http, {"extra_body": {"google": CAMEL}}),
    "chat, query": lambda http: chat(http, {}, "/chat/completions" + QUERY),
    "plain chat": lambda http: chat(
        http, {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "Draw a picture of a fox"}], **WISHES}
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_parameters_of_a_picture_are_done_wherever_they_stand(http, place):
    [picture] = pictures_of(PLACES[place](http))
    assert (picture.size, picture.format) == ((512, 288), "WEBP")


BAD = {"aspect_ratio": "wide"}
REFUSED = {
    "JSON": (lambda http: generate(http, BAD), "aspect_ratio"),
    "google": (lambda http: generate(http, {"google": BAD}), "google.aspect_ratio"),
    "form": (lambda http: fill_form(http, BAD), "aspect_ratio"),
    "form, in brackets": (lambda http: fill_form(http, {"google[aspect_ratio]": "wide"}), "google.aspect_ratio"),
    "query": (lambda http: generate(http, {}, "/images/generations?aspect_ratio=wide"), "?aspect_ratio"),
    "chat": (lambda http: chat(http, {"image_config": BAD}), "image_config.aspect_ratio"),
    "chat, query": (lambda http: chat(http, {}, "/chat/completions?size=wide"), "?size"),
    "plain chat": (lambda http: chat(http, {"model": "gemini-3-pro", "size": "wide"}), "size"),
    "chat, film": (lambda http: chat(http, {"model": "gemini-3-pro-video", "size": "512x512"}), "size"),
    "video": (lambda http: film(http, {"google": {"aspectRatio": "1:1"}}), "google.aspectRatio"),
    "video, contradiction": (lambda http: film(http, {"size": "720x1280", "aspect_ratio": "16:9"}), "aspect_ratio"),
    "parameters": (lambda http: generate(http, {"parameters": BAD}), "parameters.aspect_ratio"),
    "output options": (
        lambda http: chat(http, {"image_output_options": {"mime_type": "image/tiff"}}),
        "image_output_options.mime_type",
    ),
    "edit": (lambda http: generate(http, {"extra_body": BAD}, "/images/edits"), "extra_body.aspect_ratio"),
    "contradiction": (lambda http: generate(http, {"size": "512x512", "aspectRatio": "16:9"}), "aspectRatio"),
    "chat, many pictures": (lambda http: chat(http, {"google": {"numberOfImages": 99}}), "google.numberOfImages"),
    "chat, transparent": (lambda http: chat(http, {"background": "transparent"}), "background"),
}


@pytest.mark.parametrize("place", REFUSED)
def test_what_cannot_be_done_is_refused_by_its_path(http, place):
    send, path = REFUSED[place]
    response = send(http)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == path


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"size": "256x256"}, (256, 256)),
        ({"size": "1792x1024"}, (1792, 1024)),
        ({"size": "1024x1536"}, (1024, 1536)),
        ({"size": "640x360"}, (640, 360)),
        ({"aspect_ratio": "21:9"}, (1024, 439)),
        ({"image_size": "2K"}, (2048, 2048)),
        ({"size": "1K", "aspect_ratio": "4:5"}, (819, 1024)),
        ({"return_origin_image": "true"}, (2048, 2048)),
        ({"return_origin_image": True, "aspect_ratio": "1:2"}, (1024, 2048)),
    ],
    ids=str,
)
def test_the_size_is_what_was_asked_for_in_images_and_in_chat(http, fields, size):
    for response in (generate(http, fields), chat(http, fields)):
        [picture] = pictures_of(response)
        assert picture.size == size


@pytest.mark.parametrize(
    ("fields", "size"),
    [({"aspect_ratio": "9:16"}, "720x1280"), ({"google": {"aspectRatio": "16:9"}}, "1280x720"), ({}, "1280x720")],
)
def test_a_film_has_the_shape_that_was_asked_for(http, fields, size):
    assert film(http, fields).json()["size"] == size


def test_a_link_of_a_generation_leads_to_the_picture_that_was_asked_for(http):
    [one] = generate(http, {"google": WISHES, "response_format": "url"}).json()["data"]
    assert fetched(one["url"]).size == (512, 288)


def streamed(http, body):
    with http.stream("POST", "/chat/completions", json={**body, "stream": True}) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    assert lines[-1] == "[DONE]"
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    reason = next(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"])
    message = {name: [x for d in deltas for x in d.get(name, ())] for name in ("images", "videos", "audios")}
    return message | {"content": "".join(delta.get("content") or "" for delta in deltas)}, reason


def whole(http, body):
    response = http.post("/chat/completions", json=body)
    assert response.status_code == 200, response.text
    [choice] = response.json()["choices"]
    return choice["message"], choice["finish_reason"]


@pytest.mark.parametrize("answer", [whole, streamed])
@pytest.mark.parametrize(("limit", "reason"), [({"max_tokens": 1}, "length"), ({"stop": ["e"]}, "stop")], ids=str)
@pytest.mark.parametrize(
    ("model", "prompt", "kind"),
    [
        (MODEL, "a fox", "images"),
        ("gemini-3-pro", "Draw a picture of a fox", "images"),
        ("gemini-3-pro", "Compose a song of a fox", "audios"),
        ("gemini-3-pro-storybook", "a fox", "images"),
    ],
)
def test_limits_of_words_keep_what_was_made(http, answer, limit, reason, model, prompt, kind):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    free, _ = whole(http, body)
    message, ended = answer(http, body | limit)
    assert len(message[kind]) == len(free[kind]) > 0
    assert len(LINK.findall(message["content"])) == len(LINK.findall(free["content"]))
    words = LINK.sub("", message["content"])
    assert len(words) < len(LINK.sub("", free["content"]))
    assert ended == reason


def corner(name, orientation, size=(400, 300)):
    """Return a picture whose EXIF says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = BytesIO()
    Image.new("RGB", size, "magenta").save(out, name, exif=exif)
    return out.getvalue()


def mask(size, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 50, 50))
    out = BytesIO()
    image.save(out, "PNG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("picture", "mask", "status"),
    [
        (corner("JPEG", 6), mask((300, 400)), 200),
        (corner("PNG", 8), mask((300, 400)), 200),
        (corner("WEBP", 5), mask((300, 400)), 200),
        (corner("JPEG", 3), mask((400, 300)), 200),
        (corner("JPEG", 1), mask((300, 400), 6), 200),
        (corner("JPEG", 6), mask((400, 300)), 400),
        (corner("JPEG", 1), mask((300, 400)), 400),
    ],
    ids=["JPEG", "PNG", "WebP", "upside down", "the mask is turned", "stored size", "not turned"],
)
def test_a_mask_covers_the_picture_as_a_person_sees_it(http, picture, mask, status):
    files = {"image": ("a", picture), "mask": ("m", mask)}
    response = http.post("/images/edits", data={"model": MODEL, "prompt": "a fox"}, files=files)
    assert response.status_code == status, response.text
    url = {name: f"data:;base64,{base64.b64encode(data).decode()}" for name, data in (("i", picture), ("m", mask))}
    response = generate(http, {"image": url["i"], "mask": url["m"]}, "/images/edits")
    assert response.status_code == status, response.text
