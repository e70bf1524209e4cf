"""Every answer and chunk is valid by OpenAI's schemas: see `tests.openai_schemas`."""

import json

import httpx2 as httpx
import openai
import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageGenCompletedEvent,
    ImagesResponse,
    Model,
    Video,
    VideoDeleteResponse,
)
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject
from pydantic import BaseModel

from protocol.model import Declined, Finish, Usage, fold
from protocol.openai.chat.write import CompletionWriter
from tests.conftest import KEY, SETTINGS, Gateway
from tests.flows.test_images import drawn
from tests.openai_schemas import check
from tests.protocol.openai.chat.test_write import HEAD, rendering

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_weather", "description": "The weather.", "parameters": CITY}
FORMAT = {"type": "json_schema", "json_schema": {"name": "City", "schema": CITY, "strict": True}}
CALL = '<call name="get_weather">{"city": "Rome"}</call>'
CHATS = {
    "words": {"text": "<echo>words\n\n```python\nx\n```</echo>"},
    "thoughts": {"text": '<echo>words</echo><sim thoughts="hm, words"/>'},
    "sources": {"text": '<sim citations="2" web-images="2"/>'},
    "rewritten": {"text": '<echo>words</echo><sim rewrite="other words"/>'},
    "limit": {"text": "<echo>many words and more of these</echo>", "max_tokens": 2},
    "stop": {"text": "<echo>many words</echo>", "stop": "words"},
    "choices": {"text": "<echo>words</echo>", "n": 3},
    "calls": {"text": CALL * 2, "tools": [{"type": "function", "function": TOOL}]},
    "words then calls": {"text": CALL + "<prose-then-call/>", "tools": [{"type": "function", "function": TOOL}]},
    "calls in choices": {"text": CALL, "tools": [{"type": "function", "function": TOOL}], "n": 2},
    "older calls": {"text": CALL, "functions": [TOOL]},
    "json": {"text": '<json>{"city": "Rome"}</json>', "response_format": FORMAT},
    "any json": {"text": '<json>{"city": "Rome"}</json>', "response_format": {"type": "json_object"}},
    "picture": {"text": '<sim images="2"/>A fox', "model": "gemini-3-pro-imagen"},
    "document": {"text": "A page", "model": "gemini-3-pro-canvas"},
    "story": {"text": '<sim images="2"/>A fox', "model": "gemini-3-pro-storybook"},
    "research": {"text": "Tea", "model": "gemini-3-pro-deepsearch"},
    "film": {"text": "A fox", "model": "gemini-3-pro-video"},
    "song": {"text": "Make a song about a fox"},
}
FAST = "\n[transports.simulator]\nvideo_seconds = 0.2\nresearch_seconds = 0.2\npoll_seconds = 0.1\n"


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("valid"), SETTINGS.format(key=KEY) + FAST)
    headers = {"authorization": f"Bearer {gateway.key}"}
    with httpx.Client(base_url=gateway.base_url, headers=headers, timeout=90) as client:
        yield client
    gateway.stop()


def chat(name, **more):
    fields = dict(CHATS[name])
    messages = [{"role": "user", "content": fields.pop("text")}]
    return {"model": "gemini-3-pro", "messages": messages, **fields, **more}


def events(response):
    """Return the data of the events of a stream."""
    assert response.status_code == 200, response.text
    lines = [line for line in response.text.split("\n\n") if line and not line.startswith(":")]
    return [line.partition("data: ")[2] for line in lines]


@pytest.mark.parametrize("name", CHATS)
def test_a_whole_completion_is_valid(http, name):
    response = http.post("/chat/completions", json=chat(name))
    assert response.status_code == 200, response.text
    check(response.content, ChatCompletion, "CreateChatCompletionResponse")
    usage = response.json()["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
    if name == "thoughts":
        assert usage["completion_tokens_details"]["reasoning_tokens"] > 0


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("name", CHATS)
def test_every_chunk_is_valid(http, name, include_usage):
    options = {"stream": True, "stream_options": {"include_usage": include_usage}}
    *chunks, done = events(http.post("/chat/completions", json=chat(name, **options)))
    assert done == "[DONE]"
    for chunk in chunks:
        check(chunk, ChatCompletionChunk, "CreateChatCompletionStreamResponse")
    assert bool(json.loads(chunks[-1]).get("usage")) == include_usage


def test_the_judges_find_what_is_wrong():
    with pytest.raises(ValueError, match="choices"):
        check('{"id": "x", "created": 1, "model": "m", "object": "chat.completion"}', ChatCompletion, "")


async def test_a_refusal_is_valid():
    """The simulated model never declines."""
    usage = Usage(input_tokens=1, output_tokens=2)
    events = [Declined(text="I cannot do that."), Finish(reason="stop", usage=usage)]

    async def stream():
        for event in events:
            yield event

    writer = CompletionWriter(HEAD, rendering(), include_usage=True)
    check(writer.whole(await fold(stream())), ChatCompletion, "CreateChatCompletionResponse")
    writer = CompletionWriter(HEAD, rendering(), include_usage=True)
    data = writer.opened() + b"".join(map(writer.event, events))
    *chunks, _, _ = data.decode().split("\n\n")
    for chunk in chunks:
        check(chunk.removeprefix("data: "), ChatCompletionChunk, "CreateChatCompletionStreamResponse")


PICTURES = [
    {},
    {"response_format": "url", "n": 2},
    {"response_format": "b64_json", "size": "1024x1024", "output_format": "png", "quality": "high"},
    {"size": "333x777", "quality": "xhigh"},
    {"size": "1536x1024", "output_format": "jpeg", "quality": "hd", "background": "opaque"},
]


@pytest.mark.parametrize("fields", PICTURES)
def test_pictures_are_valid(http, fields):
    response = http.post("/images/generations", json={"prompt": "A fox", **fields})
    check(response.content, ImagesResponse, "ImagesResponse")
    edited = http.post("/images/edits", data={"prompt": "A hat", **fields}, files={"image[]": ("a", drawn())})
    check(edited.content, ImagesResponse, "ImagesResponse")


@pytest.mark.parametrize("fields", [{}, {"n": 2, "partial_images": 2, "size": "333x777", "output_format": "webp"}])
def test_events_of_pictures_are_valid(http, fields):
    fields = {"prompt": "A fox", "stream": True, **fields}
    for event in events(http.post("/images/generations", json=fields)):
        check(event, ImageGenCompletedEvent, "ImageGenCompletedEvent")
    form = {name: str(value).lower() for name, value in fields.items()}
    for event in events(http.post("/images/edits", data=form, files={"image": ("a", drawn())})):
        check(event, ImageEditCompletedEvent, "ImageEditCompletedEvent")


class ModelList(BaseModel):
    object: str
    data: list[Model]


def test_models_are_valid(http):
    check(http.get("/models").content, ModelList, "ListModelsResponse")
    check(http.get("/models/gemini-3-pro").content, Model, "Model")


class VideoList(BaseModel):
    object: str
    data: list[Video]


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_videos_are_valid(http):
    made = http.post("/videos", json={"prompt": "A fox in a film", "model": "gemini-3-pro-video"})
    check(made.content, Video, "VideoResource")
    path = f"/videos/{made.json()['id']}"
    check(http.get(path).content, Video, "VideoResource")
    with openai.OpenAI(base_url=str(http.base_url), api_key=KEY) as client:
        assert client.videos.poll(made.json()["id"], poll_interval_ms=50).status == "completed"
    check(http.get(path).content, Video, "VideoResource")
    check(http.get("/videos").content, VideoList, "VideoListResource")
    check(http.delete(path).content, VideoDeleteResponse, "DeletedVideoResource")


class ErrorBody(BaseModel):
    error: ErrorObject


@pytest.mark.parametrize(
    ("status", "path", "fields"),
    [
        (400, "/chat/completions", {"model": "gemini-3-pro", "messages": []}),
        (400, "/chat/completions", {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "x"}], "n": 9}),
        (400, "/images/generations", {"prompt": ""}),
        (401, "/models", None),
        (404, "/chat/completions", {"model": "none", "messages": [{"role": "user", "content": "x"}]}),
        (404, "/videos/video_x", None),
        (404, "/unknown", {}),
        (405, "/chat/completions", None),
        (502, "/chat/completions", chat("words") | {"messages": [{"role": "user", "content": '<sim http="500"/>'}]}),
    ],
)
def test_errors_are_valid(http, status, path, fields):
    headers = {"authorization": "Bearer sk-wrong-wrong-wrong"} if status == 401 else {}
    response = http.request("GET" if fields is None else "POST", path, json=fields, headers=headers)
    assert response.status_code == status, response.text
    check(response.content, ErrorBody, "ErrorResponse")


def test_an_error_in_a_stream_is_valid(http):
    broken = chat("words", stream=True) | {"messages": [{"role": "user", "content": '<sim drop-after="2"/>words'}]}
    *_, error = events(http.post("/chat/completions", json=broken))
    check(error, ErrorBody, "ErrorResponse")
