"""The official `openai` Python SDK, unmodified, against a gateway on a socket."""

import httpx2 as httpx
import openai
import pytest

HARD_TEXTS = [
    "Hello, world.",
    "Grüße, 你好, 😀👩‍👩‍👧‍👦 \U0001f9ff end",
    'a "quoted" \\ backslash \\n and a \\* star',
    "```python\nprint('hi')\n```\nafter\n```\n",
    "ends with a fence\n```",
    "trailing backslash \\",
    "line\n\n\n- list\n  - nested\t tab\r\n\u2028sep\u2029",
    "<b>html & entities</b> \x01\x7f",
    "`" * 40 + " many ticks " + "`" * 3,
    "0123456789" * 10_000,
]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(gateway):
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        yield client


def echo(text):
    return [{"role": "user", "content": f"<echo>{text}</echo>"}]


@pytest.mark.parametrize("text", HARD_TEXTS, ids=range(len(HARD_TEXTS)))
def test_a_whole_answer_is_the_text(client, text):
    answer = client.chat.completions.create(model="gemini-3-pro", messages=echo(text))
    assert answer.choices[0].message.content == text
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.model == "gemini-3-pro"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("text", HARD_TEXTS, ids=range(len(HARD_TEXTS)))
def test_streamed_deltas_concatenate_to_the_text(client, text):
    chunks = list(client.chat.completions.create(model="gemini-2.5-flash", messages=echo(text), stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_the_async_client_gets_the_same_text(async_client):
    answer = await async_client.chat.completions.create(model="gemini-3-pro", messages=echo("asynchronously"))
    assert answer.choices[0].message.content == "asynchronously"
    stream = await async_client.chat.completions.create(model="gemini-3-pro", messages=echo("streamed"), stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "streamed"


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for(client):
    chunks = list(
        client.chat.completions.create(
            model="gemini-3-pro",
            messages=echo("counted"),
            stream=True,
            stream_options={"include_usage": True},
        ),
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 1
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_thoughts_come_as_reasoning_content(client):
    messages = [{"role": "user", "content": '<sim thoughts="first this, then that"/><echo>done</echo>'}]
    answer = client.chat.completions.create(model="gemini-3-pro", messages=messages)
    assert answer.choices[0].message.reasoning_content == "first this, then that"
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0
    chunks = list(client.chat.completions.create(model="gemini-3-pro", messages=messages, stream=True))
    thoughts = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks)
    assert thoughts == "first this, then that"


def test_the_guest_model_needs_no_account(client):
    answer = client.chat.completions.create(model="gemini-2.5-flash-free", messages=echo("as a guest"))
    assert answer.choices[0].message.content == "as a guest"


def test_every_role_is_carried_without_losing_a_character(client):
    answer = client.chat.completions.create(
        model="gemini-3-pro",
        messages=[
            {"role": "system", "content": "SYSTEM ünïcode"},
            {"role": "developer", "content": [{"type": "text", "text": "DEVELOPER"}]},
            {"role": "user", "content": [{"type": "text", "text": "first"}, {"type": "text", "text": "second"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "x"}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "TOOL"},
            {"role": "user", "content": "last <echo>ok</echo>"},
        ],
    )
    assert answer.choices[0].message.content == "ok"


def test_a_stop_sequence_ends_the_answer(client):
    answer = client.chat.completions.create(model="gemini-3-pro", messages=echo("one STOP two"), stop=["STOP"])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one ", "stop")
    chunks = list(
        client.chat.completions.create(model="gemini-3-pro", messages=echo("one STOP two"), stop="STOP", stream=True),
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one "


def test_models_are_listed_and_retrieved(client):
    listed = {model.id: model for model in client.models.list()}
    assert {"gemini-2.5-flash-free", "gemini-2.5-flash", "gemini-3-pro", "gemini-2.5-pro"} <= listed.keys()
    assert {"gemini-3-pro-video", "gemini-3-pro-canvas-extended", "gemini-3.6-flash-storybook"} <= listed.keys()
    assert "gemini-2.5-flash-video" not in listed
    assert listed["gemini-3-pro"].object == "model"
    assert listed["gemini-3-pro"].owned_by == "google"
    assert client.models.retrieve("gemini-3-pro").id == "gemini-3-pro"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-2")
    assert caught.value.code == "model_not_found"


def test_a_deprecated_model_is_answered_by_its_replacement(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="gemini-2.5-pro", messages=echo("x"))
    assert raw.parse().model == "gemini-3-pro"
    assert raw.headers["deprecation"].startswith("@")
    assert "gemini-3-pro" in raw.headers["warning"]
    client.chat.completions.create(model="gemini-2.5-pro", messages=echo("x"))
    assert gateway.text().count('"deprecated_model_requested"') == 1


ERRORS = [
    ('<sim error="1037"/>', openai.RateLimitError, 429, "upstream_quota_exhausted"),
    ('<sim http="429" retry-after="7"/>', openai.RateLimitError, 429, "rate_limit_exceeded"),
    ('<sim http="500"/>', openai.InternalServerError, 502, "upstream_rejected"),
    ('<sim drop-after="0"/>', openai.InternalServerError, 502, "upstream_reset"),
    ('<sim eof-after="0"/>', openai.InternalServerError, 502, "upstream_truncated"),
    ('<sim garbage-after="0"/>', openai.InternalServerError, 502, "upstream_protocol_error"),
    ('<sim error="1052"/>', openai.InternalServerError, 502, "upstream_rejected"),
    ('<sim error="1053"/>', openai.BadRequestError, 400, "unsupported_value"),
    ('<sim error="1060"/>', openai.InternalServerError, 503, "no_account_available"),
    (
        '<sim http="302" location="https://accounts.google.com/x"/>',
        openai.InternalServerError,
        503,
        "no_account_available",
    ),
    ('<sim html="true"/>', openai.InternalServerError, 503, "no_account_available"),
]


@pytest.mark.parametrize(("prompt", "kind", "status", "code"), ERRORS, ids=[row[0] for row in ERRORS])
@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_error_before_the_first_event_is_a_status(start_gateway, prompt, kind, status, code, stream):
    gateway = start_gateway()
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        with pytest.raises(kind) as caught:
            client.chat.completions.create(
                model="gemini-3-pro",
                messages=[{"role": "user", "content": prompt}],
                stream=stream,
            )
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.request_id.startswith("req_")
    assert ("retry-after" in caught.value.response.headers) == (status in (429, 503))


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ('<sim drop-after="3" frames="6"/>', "upstream_reset"),
        ('<sim eof-after="3" frames="6"/>', "upstream_truncated"),
        ('<sim error="1037" after="3" frames="6"/>', "upstream_quota_exhausted"),
        ('<sim garbage-after="3" frames="6"/>', "upstream_protocol_error"),
    ],
)
def test_an_error_in_mid_stream_raises_after_the_text_so_far(start_gateway, tag, code):
    gateway = start_gateway()
    text = "words and words and words and words"
    seen = ""
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        stream = client.chat.completions.create(
            model="gemini-3-pro",
            messages=[{"role": "user", "content": f"{tag}<echo>{text}</echo>"}],
            stream=True,
        )
        with pytest.raises(openai.APIError) as caught:
            for chunk in stream:
                seen += chunk.choices[0].delta.content or ""
    assert caught.value.code == code
    assert seen
    assert text.startswith(seen)


def test_a_wrong_or_missing_key_is_401(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key="sk-wrong-000000", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
    assert caught.value.code == "invalid_api_key"
    bare = httpx.get(f"{gateway.base_url}/models")
    assert bare.status_code == 401
    assert bare.json() == caught.value.response.json()


def test_the_routes_answer_without_the_prefix_too(gateway):
    with openai.OpenAI(base_url=f"{gateway.origin}/v1", api_key=gateway.key, max_retries=0) as client:
        answer = client.chat.completions.create(model="gemini-3-pro", messages=echo("bare"))
    assert answer.choices[0].message.content == "bare"
