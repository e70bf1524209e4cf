"""The gateway takes the JSON bodies and form fields of SDKs and front-ends, and names each field that it refuses."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.http.body import decode_body
from protocol.model import Catalogue, GatewayError
from protocol.openai.chat import wire
from protocol.openai.chat.read import read
from tests.protocol.conftest import make_context

BOM = b"\xef\xbb\xbf"
CHAT = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>hi</echo>"}]}
DRAW = {"model": "gemini-3-pro-imagen", "prompt": "A red fox"}
FILM = {"model": "gemini-3-pro-video", "prompt": "A red fox"}
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZF"
    "QAAAAABJRU5ErkJggg=="
)
ANSWERED = {"role": "assistant", "content": "x"}


def messages(*extra, **fields):
    return {"messages": [*extra, {"role": "user", "content": "<echo>hi</echo>", **fields}]}


OPTIONAL = (
    "metadata top_logprobs temperature top_p user safety_identifier prompt_cache_key "
    "prompt_cache_retention service_tier modalities verbosity reasoning_effort max_completion_tokens "
    "frequency_penalty presence_penalty web_search_options response_format audio store moderation stream "
    "stop logit_bias logprobs max_tokens n prediction seed stream_options tools tool_choice "
    "parallel_tool_calls function_call functions prompt_cache_options"
)
"""The optional fields of OpenAI's create-chat request."""


@pytest.mark.parametrize("empty", [None, "", [], {}], ids=repr)
def test_every_optional_field_of_a_chat_may_be_empty(http, empty):
    response = http.post("/chat/completions", json=CHAT | dict.fromkeys(OPTIONAL.split(), empty))
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] == "hi"


DRAWN = (
    "n quality response_format output_format output_compression stream partial_images size moderation "
    "background style user input_fidelity image images mask"
)
"""The optional fields of OpenAI's create-image and edit-image requests."""


@pytest.mark.parametrize("empty", [None, "", [], {}], ids=repr)
def test_every_optional_field_of_an_image_may_be_empty(http, empty):
    body = DRAW | dict.fromkeys(DRAWN.split(), empty)
    assert http.post("/images/generations", json=body).status_code == 200
    assert http.post("/images/edits", json=body | {"image": PNG}).status_code == 200
    assert http.post("/images/edits", json=body | {"images": [{"image_url": PNG, "file_id": empty}]}).status_code == 200
    video = http.post("/videos", json=FILM | dict.fromkeys(("input_reference", "seconds", "size"), empty))
    assert video.status_code == 200, video.text


def test_every_optional_field_of_a_form_may_be_empty(http):
    fields = dict.fromkeys(DRAWN, (None, "")) | {name: (None, value) for name, value in DRAW.items()}
    for path, more in (("/images/generations", {}), ("/images/edits", {"image": (None, PNG)})):
        response = http.post(path, files=fields | more)
        assert response.status_code == 200, response.text
    film = {name: (None, value) for name, value in (FILM | {"input_reference": "", "seconds": "", "size": ""}).items()}
    assert http.post("/videos", files=film).status_code == 200


TAKEN = {
    "content is one object": messages(content={"type": "text", "text": "<echo>hi</echo>"}),
    "messages are one object": {"messages": messages()["messages"][0]},
    "stop is empty": {"stop": ""},
    "stop has an empty sequence": {"stop": ["", "unheard"]},
    "one modality": {"modalities": "text"},
    "detail: original": messages(content=[{"type": "text", "text": "<echo>hi</echo>"}]),
    "a whole number with a point": {"max_tokens": 100.0, "n": 1.0, "top_logprobs": 0.0},
    "numbers as strings": {"max_tokens": "100", "n": " 1 ", "temperature": "0.7"},
    "booleans as strings": {"stream": "false", "logprobs": "False"},
    "hints of any value": {
        "temperature": 3,
        "top_p": 7,
        "seed": "x",
        "user": 5,
        "reasoning_effort": "enormous",
        "frequency_penalty": -9,
        "verbosity": {},
        "service_tier": 1,
    },
    "options of a stream without one": {"stream_options": {"include_usage": True, "include_obfuscation": False}},
    "the plain format": {"response_format": {"type": "text"}},
    "no tools": {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
    "an empty system message": messages({"role": "system", "content": None}),
    "a message without content": messages({"role": "system"}, ANSWERED),
    "an empty name": messages({"role": "system", "content": "s", "name": ""}, name=""),
    "empty fields of an answer": messages(
        ANSWERED | {"refusal": "", "images": [], "tool_calls": [], "function_call": {}, "name": None}
    ),
    "a call and a result without an id": messages(
        {"role": "assistant", "tool_calls": [{"id": "", "function": {"name": "f", "arguments": ""}}]},
        {"role": "tool", "content": "", "tool_call_id": ""},
    ),
    "one call": messages({"role": "assistant", "tool_calls": {"id": "c", "function": {"name": "f", "arguments": ""}}}),
    "a tool choice without a choice": {"tool_choice": {"type": None}},
    "a format without a type": {"response_format": {"type": None, "json_schema": None}},
    "arguments as an object": messages(
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": [1, None]}}}]},
        {"role": "tool", "content": "", "tool_call_id": "c"},
    ),
    "no arguments": messages(
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": None}}]},
        {"role": "assistant", "function_call": {"name": "f"}},
    ),
    "a schema of Go": {
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "parameters": {
                        "type": "object",
                        "properties": {"a": {"enum": ["x", None], "default": None, "items": None}},
                        "required": None,
                    },
                },
            }
        ],
        "tool_choice": "none",
    },
    "half of an emoji": messages(content="\ud83d <echo>hi</echo> \\ud83d \udc00\ud83d", name="a"),
    "the other half at the end": messages({"role": "system", "content": "\\\ude00 \U0001f600\ude00"}),
    "fields that elsewhere hold parameters of pictures": {"config": "x", "parameters": [1]},
    "unknown fields": {"top_k": 40, "extra_body": {"google": {}}, "chat_template_kwargs": {}},
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_chat_is_taken(http, name):
    body = json.dumps(CHAT | TAKEN[name])
    response = http.post("/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text
    assert "hi" in response.json()["choices"][0]["message"]["content"]


async def test_half_of_a_character_is_replaced_and_nothing_else():
    sent = ["\ud83d", "\ude00\ud83d", "\U0001f600\ud83d", "\\ud83d", "\\\ud83d\n", "\ud83da\\n\udc00"]
    read = await decode_body(json.dumps(sent).encode(), msgspec.json.decode)
    assert read == ["\ufffd", "\ufffd\ufffd", "\U0001f600\ufffd", "\\ud83d", "\\\ufffd\n", "\ufffda\\n\ufffd"]


@pytest.mark.parametrize(
    "image",
    [
        {"type": "image_url", "image_url": {"url": PNG, "detail": "original"}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": ""}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": {"any": 1}}},
        {"type": "image_url", "image_url": PNG},
    ],
    ids=["original", "empty", "object", "text"],
)
def test_an_image_is_taken(http, image):
    body = CHAT | {"messages": [{"role": "user", "content": image}]}
    response = http.post("/chat/completions", json=body)
    assert response.status_code == 200, response.text
    assert "image/png" in response.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (
            "/images/generations",
            {"n": "1", "stream": "False", "quality": "fine", "moderation": "none", "user": 1},
        ),
        ("/images/generations", {"output_compression": 100, "input_fidelity": "so-so", "partial_images": 0.0}),
        ("/images/edits", {"images": PNG}),
        ("/images/edits", {"images": {"image_url": PNG}}),
        ("/images/edits", {"image": [PNG], "mask": ""}),
        ("/videos", {"seconds": "4"}),
        ("/videos", {"seconds": 4.0, "input_reference": {}}),
    ],
)
def test_a_request_for_media_is_taken(http, path, fields):
    response = http.post(path, json=(FILM if path == "/videos" else DRAW) | fields)
    assert response.status_code == 200, response.text


def test_every_parameter_of_a_query_may_be_empty(http):
    assert http.get("/videos?limit=&order=&after=").status_code == 200


@pytest.mark.parametrize("path", ["/chat/completions", "/images/generations", "/images/edits", "/videos"])
def test_a_byte_order_mark_is_ignored(http, path):
    body = {"/chat/completions": CHAT, "/videos": FILM}.get(path, DRAW) | {"image": PNG if "edits" in path else None}
    response = http.post(path, content=BOM + json.dumps(body).encode())
    assert response.status_code == 200, response.text


REFUSED = [
    ("/chat/completions", {"messages": [{"role": "robot"}]}, "messages[0].role", "'user'"),
    ("/chat/completions", messages(content=[{"type": "video"}]), "messages[0].content[0].type", "'image_url'"),
    ("/chat/completions", messages(content={"type": "video"}), "messages[0].content[0].type", "'image_url'"),
    ("/chat/completions", {"max_tokens": 1.5}, "max_tokens", "`int"),
    ("/chat/completions", {"n": "many"}, "n", "`int"),
    ("/chat/completions", {"stream": "perhaps"}, "stream", "`bool"),
    ("/chat/completions", {"messages": "hi"}, "messages", "`array`"),
    ("/images/generations", {"response_format": "gif"}, "response_format", "'b64_json' or 'url'"),
    ("/images/generations", {"output_format": "tiff"}, "output_format", "'jpeg', 'png' or 'webp'"),
    ("/images/generations", {"size": "huge"}, "size", "<width>x<height>"),
    ("/images/generations", {"n": "11"}, "n", "<= 10"),
    ("/videos", {"seconds": "5"}, "seconds", "'4', '8' or '12'"),
    ("/videos", {"size": "1x1"}, "size", "'1280x720'"),
]


@pytest.mark.parametrize(("path", "fields", "param", "words"), REFUSED, ids=range(len(REFUSED)))
def test_a_refusal_names_the_field_and_what_goes(http, path, fields, param, words):
    body = {"/chat/completions": CHAT, "/videos": FILM}.get(path, DRAW) | fields
    answers = [http.post(path, json=body)]
    if path != "/chat/completions":
        answers.append(http.post(path, files={name: (None, str(value)) for name, value in body.items()}))
    for response in answers:
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, param)
        assert words in error["message"]


LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "hi", " 1 ", "1.0", "true", "null", "auto", PNG, f" {PNG}", "https://x/a", "\ud800"])
)
INNER = (
    "role content type text image_url url file file_data filename file_id input_audio data name tool_calls function "
    "arguments id refusal images include_usage"
)
ANY = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER.split()), inner, min_size=1, max_size=4)
    ),
    max_leaves=6,
)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "file", "input_audio", "refusal"])},
    optional=dict.fromkeys(["text", "image_url", "file", "input_audio", "refusal"], ANY),
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool", "function", "x"])},
    optional={"content": st.lists(PART | ANY, max_size=3) | PART | ANY, "name": ANY, "tool_calls": ANY, "images": ANY},
)
BODY = st.fixed_dictionaries(
    {"model": st.sampled_from(["gemini-3-pro", "gemini-3-pro-imagen"]), "messages": st.lists(MESSAGE) | MESSAGE | ANY},
    optional=dict.fromkeys(OPTIONAL.split(), ANY),
)
CATALOGUE = Catalogue.build()


@settings(max_examples=50)
@given(BODY)
async def test_every_chat_is_read_or_refused(body):
    """Any other error than a refusal fails the test."""
    with suppress(GatewayError):
        chat = await decode_body(json.dumps(body).encode(), wire.decode_request)
        await read(chat, CATALOGUE.resolve(chat.model), CATALOGUE, make_context())
