"""Another model answers when no account can serve the requested one; with the `openai` SDK over a socket."""

from contextlib import ExitStack

import openai
import pytest

from tests.conftest import KEY, SETTINGS, Gateway

OWN, NARROW = "sk-test-own-fallbacks-0123456789", "sk-test-narrow-fallbacks-012345"
FALLBACKS = f"""
[transports.simulator]
poll_seconds = 0.2
research_seconds = 0.2

[models.fallbacks]
gemini-3-pro = ["gemini-3.1-pro", "gemini-3.6-flash"]
"gemini-3-pro-canvas" = ["gemini-2.5-flash"]

[[licenses]]
id = "own"
key = "{OWN}"
fallbacks = {{ gemini-3-pro = ["gemini-2.5-flash-free"] }}

[[licenses]]
id = "narrow"
key = "{NARROW}"
models = ["gemini-3*-pro"]
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway whose accounts have no quota of the pro family left."""
    process = Gateway(tmp_path_factory.mktemp("fallbacks"), SETTINGS.format(key=KEY) + FALLBACKS)
    with openai.OpenAI(base_url=process.base_url, api_key=KEY, max_retries=0) as client:
        for model in ("gemini-3.1-pro", "gemini-3.1-pro-imagen", "gemini-3.1-pro-canvas") * 2:
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": '<sim error="1037"/>'}]
                )
    yield process
    process.stop()


@pytest.fixture
def client_of(gateway):
    with ExitStack() as stack:
        yield lambda key: stack.enter_context(openai.OpenAI(base_url=gateway.base_url, api_key=key, max_retries=0))


def ask(client, text="hi", model="gemini-3-pro", **fields):
    """Return the model and the header of the whole and the streamed answer."""
    create = client.chat.completions.with_raw_response.create
    found = []
    for stream in (False, True):
        raw = create(model=model, messages=[{"role": "user", "content": text}], stream=stream, **fields)
        models = {chunk.model for chunk in raw.parse()} if stream else {raw.parse().model}
        found.append((models, raw.headers.get("x-gateway-fallback")))
    return found


@pytest.mark.parametrize(
    ("key", "model", "answering"),
    [
        (KEY, "gemini-3-pro", "gemini-3.6-flash"),
        (KEY, "gemini-3-pro-imagen", "gemini-3.6-flash-imagen"),
        (KEY, "gemini-3-pro-canvas", "gemini-2.5-flash"),
        (OWN, "gemini-3-pro", "gemini-2.5-flash-free"),
    ],
)
def test_the_first_model_that_an_account_can_serve_answers(client_of, key, model, answering):
    assert ask(client_of(key), model=model) == [({answering}, answering)] * 2


def test_pictures_come_from_another_model(client_of):
    raw = client_of(KEY).images.with_raw_response.generate(model="gemini-3-pro", prompt="a dot", n=2)
    assert raw.headers["x-gateway-fallback"] == "gemini-3.6-flash-imagen"
    assert len(raw.parse().data) == 2


def test_a_response_and_a_research_come_from_another_model(client_of):
    client = client_of(KEY)
    queued = client.responses.create(model="gemini-3-pro", input="<echo>hi</echo>", background=True)
    while (done := client.responses.retrieve(queued.id)).status in ("queued", "in_progress"):
        pass
    assert (done.status, done.output_text, done.model) == ("completed", "hi", "gemini-3.6-flash")
    answering = "gemini-3.6-flash-deepsearch"
    assert ask(client, model="gemini-3-pro-deepsearch") == [({answering}, answering)] * 2


def test_a_model_that_can_be_served_answers_itself(client_of):
    assert ask(client_of(KEY), model="gemini-3.6-flash") == [({"gemini-3.6-flash"}, None)] * 2


@pytest.mark.parametrize(("key", "model"), [(NARROW, "gemini-3-pro"), (KEY, "gemini-3.1-pro")])
def test_a_model_without_another_one_that_the_license_allows_is_refused(client_of, key, model):
    with pytest.raises(openai.RateLimitError) as caught:
        ask(client_of(key), model=model)
    assert caught.value.code == "upstream_quota_exhausted"


def test_what_another_model_cannot_take_is_refused_with_the_error_of_the_first(client_of):
    file = {"type": "file", "file": {"filename": "a.txt", "file_data": "aGVsbG8="}}
    with pytest.raises(openai.RateLimitError):
        client_of(OWN).chat.completions.create(
            model="gemini-3-pro", messages=[{"role": "user", "content": [file, {"type": "text", "text": "x"}]}]
        )


def test_another_error_asks_no_other_model(client_of):
    with pytest.raises(openai.InternalServerError):
        ask(client_of(KEY), '<sim http="500"/>', model="gemini-2.5-flash")
