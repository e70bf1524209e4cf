"""`/v1/models` lists what an account can serve now, short if the operator wants that; with the `openai` SDK."""

import openai
import pytest

from tests.conftest import KEY, SETTINGS, Gateway


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    settings = SETTINGS.format(key=KEY) + "\n[models]\nlist_suffixes = false\n"
    process = Gateway(tmp_path_factory.mktemp("available"), settings)
    with openai.OpenAI(base_url=process.base_url, api_key=KEY, max_retries=0) as client:
        yield client
    process.stop()


def available(client):
    return {one.id: one.model_extra["available"] for one in client.models.list()}


def test_a_model_whose_quota_is_used_up_is_not_available(client):
    before = available(client)
    assert all(before.values())
    assert not [name for name in before if name.endswith(("-imagen", "-canvas", "-extended"))]
    messages = [{"role": "user", "content": '<sim error="1037"/>'}]
    for _ in range(3):
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model="gemini-3-pro", messages=messages)
    now = available(client)
    assert (now["gemini-3-pro"], now["gemini-3.1-pro"], now["gemini-3.6-flash"]) == (False, False, True)
    assert client.models.retrieve("gemini-3-pro-canvas").id == "gemini-3-pro-canvas"
