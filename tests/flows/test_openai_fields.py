"""The tables of `docs/openai.md`: they have every field of OpenAI's requests, and the gateway does what they say."""

import re

import httpx2 as httpx
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.image_edit_params import ImageEditParamsBase
from openai.types.image_generate_params import ImageGenerateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from tests.conftest import KEY, ROOT, SETTINGS, Gateway
from tests.openai_schemas import description, properties

KINDS = {"honoured", "mapped", "named", "ignored", "refused"}
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|", re.MULTILINE)
SECTIONS = dict(re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^#|\Z)", (ROOT / "docs" / "openai.md").read_text()))
TABLES = {title: dict(ROW.findall(text)) for title, text in SECTIONS.items() if "| field |" in text}
CHAT, IMAGE, RESPONSE = "Create a chat completion", "Create an image", "Create a response"
REQUESTS = {
    CHAT: ((CompletionCreateParamsBase,), ("CreateChatCompletionRequest",)),
    IMAGE: ((ImageGenerateParamsBase, ImageEditParamsBase), ("CreateImageRequest", "CreateImageEditRequest")),
    RESPONSE: ((ResponseCreateParamsBase,), ("CreateResponse",)),
}


def test_the_page_has_these_tables():
    assert set(TABLES) == set(REQUESTS)


@pytest.mark.parametrize("title", REQUESTS)
def test_a_table_has_every_field_and_no_other(title):
    types, names = REQUESTS[title]
    fields = {"stream"}.union(*(kind.__annotations__ for kind in types))
    if description() is not None:
        fields |= set().union(*map(properties, names))
    table = TABLES[title]
    assert set(table) == fields
    assert list(table) == sorted(table)
    assert set(table.values()) <= KINDS


VALUES = {
    "audio": {"voice": "alloy", "format": "mp3"},
    "background": "opaque",
    "complexity": "high",
    "context_management": [{"type": "compaction"}],
    "conversation": "conv_1",
    "frame_count": 2,
    "frame_duration_ms": 100,
    "logit_bias": {"1": -100},
    "markup": "x",
    "max_tool_calls": 1,
    "metadata": {"a": "b"},
    "modalities": ["text", "image"],
    "moderation": {"model": "auto"},
    "partial_images": 1,
    "prediction": {"type": "content", "content": "x"},
    "prompt": {"id": "pmpt_1"},
    "reasoning": {"effort": "high"},
    "reasoning_effort": "high",
    "service_tier": "flex",
    "style": "vivid",
    "svg": "x",
    "top_p": 0.5,
    "truncation": "auto",
    "user": "someone",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
    "stream_options": {"include_obfuscation": True},
}
"""A value of each field that asks for something; of others any number or text does."""
BODIES = {
    CHAT: ("/chat/completions", {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "x"}]}),
    IMAGE: ("/images/generations", {"prompt": "A fox", "stream": True}),
    RESPONSE: ("/responses", {"model": "gemini-3-pro", "input": "x"}),
}
UNTESTED = {"honoured", "mapped"}
"""These have tests of their own."""


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("fields"), SETTINGS.format(key=KEY))
    headers = {"authorization": f"Bearer {gateway.key}"}
    with httpx.Client(base_url=gateway.base_url, headers=headers, timeout=90) as client:
        yield client
    gateway.stop()


@pytest.mark.parametrize(
    ("title", "field", "kind"),
    [(title, *row) for title, table in TABLES.items() for row in table.items() if row[1] not in UNTESTED],
)
def test_a_field_is_treated_as_its_row_says(http, title, field, kind):
    path, body = BODIES[title]
    response = http.post(path, json=body | {field: VALUES.get(field, 3)})
    if kind == "refused":
        assert (response.status_code, response.json()["error"]["param"]) == (400, field)
        return
    assert response.status_code == 200, response.text
    named = re.findall(r"\w+", response.headers.get("warning", "").rpartition(":")[2])
    assert (field in named) == (kind == "named")
