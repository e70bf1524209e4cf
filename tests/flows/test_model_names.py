"""Names of models that clients hard-code and operators add, with the official `openai` SDK over a socket."""

import openai
import pytest

from tests.conftest import KEY, SETTINGS, Gateway

OWN = "sk-test-own-names-0123456789"
NAMES = f"""
[[licenses]]
id = "own"
key = "{OWN}"
models = ["gemini-2.5-*", "gpt-*"]
aliases = {{ "gpt-4o" = "gemini-2.5-flash-canvas", "gemini-3-pro" = "gemini-2.5-flash" }}

[models.aliases]
"house-*" = "gemini-3-pro"
painter = "gemini-3-pro-imagen"
"""


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    process = Gateway(tmp_path_factory.mktemp("names"), SETTINGS.format(key=KEY) + NAMES)
    yield process
    process.stop()


@pytest.fixture(params=[KEY, OWN])
def key(request):
    return request.param


@pytest.fixture
def client(names, key):
    with openai.OpenAI(base_url=names.base_url, api_key=key, max_retries=0) as client:
        yield client


def model_of(client, name):
    return client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}]).model


@pytest.mark.parametrize("key", [KEY])
@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt-4o", "gemini-3.6-flash"),
        ("openai/gpt-5-mini", "gemini-3.5-flash-lite"),
        ("claude-sonnet-4-5-20250929", "gemini-3.1-pro"),
        ("House-small-extended", "gemini-3-pro-extended"),
    ],
)
def test_a_name_that_a_client_hard_codes_is_answered_by_the_model_most_like_it(client, name, model):
    assert model_of(client, name) == model
    assert client.models.retrieve(name).model_extra["alias_of"]


@pytest.mark.parametrize("key", [OWN])
def test_a_license_has_names_of_its_own_and_no_name_opens_another_model(client):
    assert model_of(client, "gpt-4o") == "gemini-2.5-flash-canvas"
    assert model_of(client, "gemini-3-pro") == "gemini-2.5-flash"
    with pytest.raises(openai.PermissionDeniedError, match=r"gemini-3\.1-pro"):
        model_of(client, "gpt-5")
    assert {"gpt-4o", "gemini-3-pro"} <= {one.id for one in client.models.list()}


@pytest.mark.parametrize("key", [KEY])
def test_pictures_by_any_name_are_base64_and_links(client):
    for name in ("gpt-image-1", "dall-e-3", "painter"):
        picture = client.images.generate(model=name, prompt="a dot").data[0]
        assert (picture.b64_json is not None, picture.url is not None) == (True, True)
    picture = client.images.generate(model="gpt-image-1", prompt="a dot", response_format="url").data[0]
    assert (picture.b64_json is not None, picture.url is not None) == (False, True)
    assert "painter" in {one.id for one in client.models.list()}


@pytest.mark.parametrize("name", ["text-embedding-3-small", "tts-1", "whisper-1"])
def test_a_name_of_a_model_unlike_any_is_refused_with_what_to_use(client, name):
    with pytest.raises(openai.NotFoundError, match=r"embeddings|speech|input_audio"):
        model_of(client, name)
