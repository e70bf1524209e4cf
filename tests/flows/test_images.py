"""The images endpoints, by the official SDK and by hand, against a gateway on a socket; pictures are opened."""

import base64
import json
import struct
import zlib
from io import BytesIO

import httpx2 as httpx
import openai
import pytest
from PIL import Image

from tests.conftest import KEY, SETTINGS

MAGENTA = (255, 0, 255)


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture
def http(gateway):
    headers = {"authorization": f"Bearer {gateway.key}"}
    with httpx.Client(base_url=gateway.base_url, headers=headers, timeout=60) as http:
        yield http


def drawn(size=(64, 48), *, colour=MAGENTA, mode="RGB", name="PNG"):
    out = BytesIO()
    Image.new(mode, size, colour).save(out, name)
    return out.getvalue()


def mask(size=(64, 48), hole=(0, 0, 32, 48)):
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    if hole:
        image.paste((0, 0, 0, 0), hole)
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def opened(data):
    image = Image.open(BytesIO(data))
    image.load()
    return image


def fetched(url):
    """Open a link as a browser would: without a key."""
    response = httpx.get(url, timeout=60)
    assert response.status_code == 200, response.text
    image = opened(response.content)
    assert response.headers["content-type"] == Image.MIME[image.format]
    return image


def inline(image):
    return opened(base64.b64decode(image.b64_json, validate=True))


def has_colour(image, colour, tolerance=24):
    image = image.convert("RGB").resize((64, 64), Image.Resampling.NEAREST)
    return any(
        max(abs(a - b) for a, b in zip(image.getpixel((x, y)), colour, strict=True)) <= tolerance
        for x in range(64)
        for y in range(64)
    )


def data_url(data, mime="image/png"):
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def test_a_picture_comes_as_a_link_that_opens_without_a_key_and_in_base64(client):
    answer = client.images.generate(prompt="a red fox")
    assert answer.created > 1_700_000_000
    [image] = answer.data
    assert inline(image).size == fetched(image.url).size
    assert "a red fox" in image.revised_prompt
    assert "googleusercontent" not in image.url
    assert max(fetched(image.url).size) == 1024
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0


def test_a_picture_comes_in_base64(client):
    answer = client.images.generate(prompt="a fox", model="gemini-3-pro-imagen", response_format="b64_json")
    [image] = answer.data
    assert image.url is None
    assert inline(image).size == (1024, 1024)
    assert answer.size == "x".join(map(str, inline(image).size))
    assert answer.output_format == inline(image).format.lower()


@pytest.mark.parametrize("model", ["gemini-3-pro", "gemini-3.6-flash", "gemini-2.5-flash-imagen", None])
def test_a_base_model_or_none_selects_an_image_model(client, model):
    more = {} if model is None else {"model": model}
    assert len(client.images.generate(prompt="a fox", **more).data) == 1


@pytest.mark.parametrize("response_format", ["url", "b64_json"])
def test_more_pictures_than_a_turn_gives_come_from_several_turns(client, response_format):
    answer = client.images.generate(prompt="ten foxes", n=10, response_format=response_format)
    assert len(answer.data) == 10
    for image in answer.data:
        assert max((fetched(image.url) if response_format == "url" else inline(image)).size) == 1024


def test_more_pictures_than_were_asked_for_are_cut(client):
    answer = client.images.generate(prompt='<sim images="4"/>foxes', n=3)
    assert len({image.url for image in answer.data}) == 3


@pytest.mark.parametrize("size", ["1024x1024", "1792x1024", "256x256", "333x777", "64x4096", "2048x64"])
@pytest.mark.parametrize("response_format", ["url", "b64_json"])
def test_with_a_size_the_picture_has_exactly_those_pixels(client, size, response_format):
    answer = client.images.generate(prompt="a fox", size=size, response_format=response_format)
    [image] = answer.data
    image = fetched(image.url) if response_format == "url" else inline(image)
    assert image.size == tuple(map(int, size.split("x")))
    assert answer.size == (size if size == "1024x1024" else None)  # OpenAI's schema has three sizes


def test_the_aspect_ratio_is_requested_from_the_model(client):
    assert "16:9" in client.images.generate(prompt="a fox", size="1280x720").data[0].revised_prompt
    assert "9:16" in client.images.generate(prompt="a fox", size="720x1300").data[0].revised_prompt
    assert "ratio" not in client.images.generate(prompt="a fox", size="auto").data[0].revised_prompt


@pytest.mark.parametrize("name", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("response_format", ["url", "b64_json"])
def test_the_requested_image_format_is_returned(client, name, response_format):
    answer = client.images.generate(prompt="a fox", output_format=name, response_format=response_format)
    [image] = answer.data
    assert (fetched(image.url) if response_format == "url" else inline(image)).format == name.upper()
    assert answer.output_format == name


@pytest.mark.parametrize("response_format", ["url", "b64_json"])
def test_compression_makes_the_image_smaller(client, response_format):
    def length(compression):
        answer = client.images.generate(
            prompt="a fox",
            output_format="webp",
            output_compression=compression,
            response_format=response_format,
        )
        [image] = answer.data
        return len(httpx.get(image.url).content if response_format == "url" else base64.b64decode(image.b64_json))

    assert length(5) < length(95)


@pytest.mark.parametrize("response_format", ["url", "b64_json"])
def test_the_original_has_up_to_2k(client, response_format):
    answer = client.images.generate(
        prompt="a fox",
        response_format=response_format,
        extra_body={"return_origin_image": True},
    )
    [image] = answer.data
    assert max((fetched(image.url) if response_format == "url" else inline(image)).size) == 2048


@pytest.mark.parametrize(("said", "longest"), [("true", 2048), ("false", 1024)])
def test_a_form_is_equivalent_to_json(http, said, longest):
    form = {"prompt": "ein Füchslein", "n": "2", "return_origin_image": said, "model": "gemini-3-pro-imagen"}
    response = http.post("/images/generations", files={name: (None, value) for name, value in form.items()})
    assert response.status_code == 200, response.text
    images = response.json()["data"]
    assert len(images) == 2
    assert "ein Füchslein" in images[0]["revised_prompt"]
    assert max(fetched(images[0]["url"]).size) == longest


def test_a_streamed_picture_is_an_event(client):
    events = list(client.images.generate(prompt="a fox", stream=True, n=2, partial_images=0, size="512x512"))
    assert [event.type for event in events] == ["image_generation.completed"] * 2
    assert {inline(event).size for event in events} == {(512, 512)}
    assert events[0].size == "auto"
    assert events[0].usage.total_tokens > 0
    assert (events[0].background, events[0].quality) == ("opaque", "auto")


def test_a_streamed_edit_is_an_event_of_its_own(client):
    image = ("fox.png", drawn(), "image/png")
    [event] = client.images.edit(image=image, prompt="more red", stream=True, partial_images=2)
    assert event.type == "image_edit.completed"
    assert has_colour(inline(event), MAGENTA)


def test_a_stream_is_refused_with_a_status_if_the_model_declines(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt='<sim refuse="safety"/>', stream=True)
    assert caught.value.code == "content_filter"


def test_one_picture_is_edited(client):
    answer = client.images.edit(image=("../../fox.png", drawn(), "image/png"), prompt="make it blue")
    assert has_colour(fetched(answer.data[0].url), MAGENTA)


def test_several_pictures_are_edited_as_one(client):
    images = [(f"{number}.jpg", drawn(name="JPEG"), "image/jpeg") for number in range(3)]
    answer = client.images.edit(
        image=images,
        prompt="join them",
        size="640x480",
        response_format="b64_json",
        extra_body={"return_origin_image": True},
    )
    assert inline(answer.data[0]).size == (640, 480)
    assert has_colour(inline(answer.data[0]), MAGENTA)


def test_a_mask_is_described_in_the_prompt(client):
    answer = client.images.edit(image=drawn(), mask=mask(), prompt="a hat")
    words = answer.data[0].revised_prompt
    assert "between 0% and 50% of its width" in words
    assert "between 0% and 100% of its height" in words


@pytest.mark.parametrize(
    "unfit",
    [mask((32, 32)), mask(hole=None), drawn(), drawn(name="JPEG"), mask()[:60], b""],
    ids=["other size", "no hole", "no alpha", "no PNG", "cut", "empty"],
)
def test_a_mask_that_cannot_be_used_is_refused(client, unfit):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=drawn(), mask=("mask.png", unfit), prompt="a hat")
    assert caught.value.param == "mask"


@pytest.mark.parametrize(
    "sources",
    [
        {"image": data_url(drawn())},
        {"image": [data_url(drawn()), data_url(drawn(name="JPEG"), "image/jpeg")]},
        {"images": [{"image_url": data_url(drawn())}, data_url(drawn())]},
        {"image": {"image_url": data_url(drawn())}, "mask": data_url(mask())},
    ],
    ids=["one", "list", "objects", "mask"],
)
def test_json_names_pictures_by_url(http, sources):
    response = http.post("/images/edits", json={"prompt": "blue", **sources})
    assert response.status_code == 200, response.text
    assert has_colour(fetched(response.json()["data"][0]["url"]), MAGENTA)


def test_a_picture_that_was_made_here_is_edited_by_its_link(http, client):
    made = client.images.edit(image=drawn((1024, 1024)), prompt="first").data[0].url
    response = http.post("/images/edits", json={"prompt": "again", "image": made})
    assert response.status_code == 200, response.text
    assert has_colour(fetched(response.json()["data"][0]["url"]), MAGENTA)


def test_a_url_is_not_fetched_unless_the_settings_allow_it(http):
    response = http.post("/images/edits", json={"prompt": "x", "images": ["http://127.0.0.1/x.png"]})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "image_url_not_allowed"
    assert response.json()["error"]["param"] == "images[0]"


WRONG = [
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": "  \n"}, "prompt"),
    ({"prompt": "x" * 32_001}, "prompt"),
    ({"prompt": 3}, "prompt"),
    ({"n": 0}, "n"),
    ({"n": 11}, "n"),
    ({"n": 1.5}, "n"),
    ({"size": "large"}, "size"),
    ({"size": "63x64"}, "size"),
    ({"size": "4097x64"}, "size"),
    ({"size": "64x99999999999"}, "size"),
    ({"size": "-64x64"}, "size"),
    ({"size": "٦٤x٦٤"}, "size"),
    ({"size": 64}, "size"),
    ({"response_format": "png"}, "response_format"),
    ({"output_format": "gif"}, "output_format"),
    ({"output_compression": 101, "output_format": "jpeg"}, "output_compression"),
    ({"output_compression": 50}, "output_compression"),
    ({"background": "transparent"}, "background"),
    ({"style": 5}, "style"),
    ({"google": {"aspectRatio": "wide"}}, "google.aspectRatio"),
    ({"partial_images": 4, "stream": True}, "partial_images"),
    ({"partial_images": 1}, "partial_images"),
    ({"return_origin_image": "yes"}, "return_origin_image"),
    ({"svg": {"model": "x"}}, "svg"),
    ({"image": "data:,"}, "image"),
    ({"model": "gemini-3-pro-video"}, "model"),
    ({"model": "gemini-3-pro-canvas"}, "model"),
    ({"model": "gemini-3-pro-extended"}, "model"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG, ids=[json.dumps(fields)[:48] for fields, _ in WRONG])
def test_a_wrong_field_is_named(http, fields, param):
    body = {name: value for name, value in {"prompt": "a fox", **fields}.items() if value is not None}
    response = http.post("/images/generations", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_an_unknown_model_is_404(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(prompt="a fox", model="painter-3")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_model_that_returns_no_picture_is_a_400_with_its_text(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt='<sim refuse="safety"/>a fox', n=2)
    assert caught.value.code == "content_filter"
    assert "It answered: " in caught.value.message


def post_form(http, content, boundary="xx", path="/images/edits"):
    return http.post(path, content=content, headers={"content-type": f"multipart/form-data; boundary={boundary}"})


PART = b'--xx\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        PART % (b"prompt", b"", b"x"),
        PART % (b"prompt", b"", b"x") + b"--xx--",
        PART % (b"prompt", b"", b"x") * 2 + b"--xx--\r\n",
        PART % (b"prompt", b"", b"x") + PART % (b"image", b'; filename="x.png"', b"no picture \0") + b"--xx--\r\n",
        PART % (b"prompt", b"", b"x") + PART % (b"other", b'; filename="x.png"', drawn()) + b"--xx--\r\n",
        PART % (b"prompt", b"", b"x") + PART % (b"image", b'; filename="a\0b"', drawn()) + b"--xx--\r\n",
        PART % (b"prompt", b"", b"x") + PART % (b"image", b'; filename="x.png"', drawn()) * 11 + b"--xx--\r\n",
        b"".join(PART % (b"f%d" % number, b"", b"x") for number in range(100_000)) + b"--xx--\r\n",
    ],
    ids=["empty", "no end", "no image", "twice", "no picture", "other", "NUL", "eleven", "many"],
)
def test_a_form_that_is_wrong_is_refused(http, content):
    response = post_form(http, content)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


def claiming(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (claiming(30_000, 30_000), "image_too_large"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='x'/>", "unsupported_image"),
        (b"<!doctype html><script>x</script>", "unsupported_image"),
        (drawn(name="TIFF"), "unsupported_image"),
        (b"words that are a text", "unsupported_image"),
        (b"", "invalid_image"),
    ],
    ids=["bomb", "svg", "html", "tiff", "text", "empty"],
)
def test_a_file_that_is_not_a_picture_cannot_be_edited(client, data, code):
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=("x.png", data), prompt="x")
    assert (caught.value.code, caught.value.param) == (code, "image")


def test_a_license_without_images_is_refused(start_gateway):
    settings = SETTINGS.format(key=KEY).replace('id = "tester"', 'id = "tester"\nfeatures = ["chat"]')
    gateway = start_gateway(settings)
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.images.generate(prompt="a fox")
    assert (caught.value.code, caught.value.type) == ("license_required", "permission_error")
    assert "'images'" in caught.value.message


def test_an_upstream_error_is_a_status_and_the_log_names_the_model(start_gateway):
    gateway = start_gateway()
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        client.images.generate(prompt="a fox", model="gemini-3-pro")
        with pytest.raises(openai.InternalServerError) as caught:
            client.images.generate(prompt='<sim drop-after="0"/>')
        assert (caught.value.status_code, caught.value.code) == (502, "upstream_outcome_unknown")
        with pytest.raises(openai.RateLimitError):
            client.images.generate(prompt='<sim error="1037"/>')
    gateway.wait_for('"status": 429')
    lines = [json.loads(line) for line in gateway.text().splitlines() if '"/v1/images/generations"' in line]
    assert lines[0]["model"] == "gemini-3-pro-imagen"
    assert lines[0]["output_tokens"] > 0
    assert lines[0]["account"]
    assert [line["status"] for line in lines] == [200, 502, 429]
