"""Pictures that one way has made, sent to the other one: the openai SDK, a gateway with both, and the simulator."""

import base64
import re

import httpx2 as httpx
import openai
import pytest

from tests.conftest import BASE_SETTINGS, KEY, Gateway, Site

SETTINGS = """
[transports.web]
guest = false
poll_seconds = 0.2
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
poll_seconds = 0.1
[[transports.api.accounts]]
id = "paid"
key = "AIzaOfCrossing-paid"
tier = "paid"
[[routes]]
models = ["gemini-3-pro*"]
to = ["api"]
[[routes]]
to = ["web"]
"""
API, SITE = "gemini-3-pro", "gemini-3.1-pro"
TRANSPORT = {API: "api", SITE: "web"}
PICTURE_TOKENS = 258
EACH_WAY = pytest.mark.parametrize(("maker", "reader"), [(API, SITE), (SITE, API)])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    options = ("--first-token-seconds", "0", "--profile", "strict", "--api-key", "AIzaOfCrossing-paid:paid")
    process = Site(tmp_path_factory.mktemp("site"), *options)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def client(site, tmp_path_factory):
    settings = BASE_SETTINGS.format(key=KEY) + SETTINGS.format(url=site.url, cookies=site.cookies)
    gateway = Gateway(tmp_path_factory.mktemp("crossing"), settings)
    with openai.OpenAI(base_url=gateway.base_url, api_key=KEY, max_retries=0) as client:
        yield client
    gateway.stop()


def link_of(client, maker):
    """Return the gateway's link to a new picture."""
    response = client.images.with_raw_response.generate(model=f"{maker}-imagen", prompt="a fox", response_format="url")
    assert response.headers["x-gateway-transport"] == TRANSPORT[maker]
    return response.parse().data[0].url


def shown(link, text="?"):
    return [{"type": "image_url", "image_url": {"url": link}}, {"type": "text", "text": text}]


def sees_a_picture(answer):
    """Return whether the simulator lists a picture of some length that it was sent."""
    return re.search(r"image/(png|jpeg), [1-9]\d{3,} bytes", answer) is not None


@EACH_WAY
def test_a_chat_shows_a_picture_of_the_other_way(client, maker, reader):
    messages = [{"role": "user", "content": shown(link_of(client, maker))}]
    response = client.chat.completions.with_raw_response.create(model=reader, messages=messages)
    assert response.headers["x-gateway-transport"] == TRANSPORT[reader]
    assert sees_a_picture(response.parse().choices[0].message.content)


@EACH_WAY
def test_an_answer_with_a_picture_is_continued_by_the_other_way(client, maker, reader):
    history = [{"role": "user", "content": "a fox"}]
    drawn = client.chat.completions.create(model=f"{maker}-imagen", messages=history).choices[0].message
    history += [{"role": "assistant", "content": drawn.content}, {"role": "user", "content": "what do you see?"}]
    response = client.chat.completions.with_raw_response.create(model=reader, messages=history)
    assert response.headers["x-gateway-transport"] == TRANSPORT[reader]
    answer = response.parse()
    if reader == API:  # it lists the files of the last turn only
        assert answer.usage.prompt_tokens > PICTURE_TOKENS
    else:
        assert sees_a_picture(answer.choices[0].message.content)


@EACH_WAY
def test_a_picture_of_the_other_way_is_edited(client, maker, reader):
    body = {"model": f"{reader}-imagen", "prompt": "in blue", "images": [{"image_url": link_of(client, maker)}]}
    edited = client.post("/images/edits", body=body, cast_to=openai.types.ImagesResponse)
    assert base64.b64decode(edited.data[0].b64_json).startswith((b"\x89PNG", b"\xff\xd8\xff"))


@EACH_WAY
@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_a_picture_of_the_other_way_begins_to_move(client, maker, reader):
    reference = {"image_url": link_of(client, maker)}
    body = {"model": f"{reader}-video", "prompt": '<sim ready="0.5"/> wave', "input_reference": reference}
    video = client.post("/videos", body=body, cast_to=openai.types.Video)
    video = client.videos.poll(video.id, poll_interval_ms=100)
    assert video.status == "completed", video.error
    assert client.videos.download_content(video.id).read()[4:8] == b"ftyp"


@EACH_WAY
def test_responses_take_a_picture_of_the_other_way(client, maker, reader):
    content = [{"type": "input_image", "image_url": link_of(client, maker)}, {"type": "input_text", "text": "?"}]
    answer = client.responses.create(model=reader, input=[{"role": "user", "content": content}])
    assert sees_a_picture(answer.output_text)


def test_a_picture_that_the_other_way_cannot_send_now_is_worth_another_try(client, site):
    messages = [{"role": "user", "content": shown(link_of(client, SITE))}]
    faults = f"{site.url}/simulator/faults"
    assert httpx.post(faults, json={"where": "media", "status": 503, "times": 99}).status_code == 200
    with pytest.raises(openai.InternalServerError, match="The picture of an earlier turn cannot be fetched now"):
        client.chat.completions.create(model=API, messages=messages)
    httpx.delete(faults)
    assert sees_a_picture(client.chat.completions.create(model=API, messages=messages).choices[0].message.content)
