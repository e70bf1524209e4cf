"""Runs google-genai, as its users install it, with a service account against the simulated Vertex AI.

It prints one JSON line for each step. It runs in a venv of its own. Arguments: the address, and the file with the key
of the service account. Every function `step_<name>` is a step and takes a function that makes a client.
"""

import json
import sys
import traceback

from google import genai
from google.genai import errors, types
from google.oauth2 import service_account

MODEL = "gemini-3.6-flash"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
CALLS = '<call name="get_weather">{"city": "Rome"}</call><call name="get_weather">{"city": "Oslo"}</call>'


def refused(code, call):
    try:
        call()
    except errors.ClientError as error:
        if error.code == code:
            return str(error)
        raise
    raise AssertionError("it was accepted")


def step_text_and_counts(make):
    answer = make().models.generate_content(model=MODEL, contents="<echo>hello</echo>")
    assert answer.text == "hello"
    assert (answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count) == (5, 2)


def step_a_stream(make):
    chunks = list(make().models.generate_content_stream(model=MODEL, contents='<sim length="200"/>'))
    assert len("".join(chunk.text or "" for chunk in chunks)) == 200
    assert len(chunks) > 2


def step_functions_are_called_and_answered(make):
    def get_weather(city: str) -> dict:
        """Return the weather of a city."""
        return {"sky": f"blue in {city}"}

    config = types.GenerateContentConfig(tools=[get_weather], labels={"team": "search"})
    answer = make().models.generate_content(model=MODEL, contents=CALLS, config=config)
    assert "blue in Rome" in answer.text
    assert "blue in Oslo" in answer.text


def step_cached_contents(make):
    client = make()
    config = {"system_instruction": "A long document. " * 300, "ttl": "300s"}
    kept = client.caches.create(model=MODEL, config=config)
    assert client.caches.get(name=kept.name).model.endswith(MODEL)
    answer = client.models.generate_content(
        model=MODEL, contents="<echo>hi</echo>", config={"cached_content": kept.name}
    )
    assert answer.text == "hi"
    assert answer.usage_metadata.cached_content_token_count == kept.usage_metadata.total_token_count == 1275
    assert [one.name for one in client.caches.list()] == [kept.name]
    assert client.caches.update(name=kept.name, config={"ttl": "900s"}).expire_time > kept.expire_time
    client.caches.delete(name=kept.name)
    gone = {"cached_content": kept.name}
    refused(404, lambda: client.models.generate_content(model=MODEL, contents="x", config=gone))


def step_a_picture(make):
    config = types.GenerateContentConfig(
        response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="16:9", image_size="1K")
    )
    answer = make().models.generate_content(model="gemini-3-pro-image", contents="a cat", config=config)
    assert [part.inline_data.mime_type for part in answer.parts] == ["image/png"]


def step_tokens_are_counted_and_models_listed(make):
    client = make()
    assert client.models.count_tokens(model=MODEL, contents="hello you").total_tokens == 3
    names = {model.name for model in client.models.list(config={"query_base": True, "page_size": 3})}
    assert f"publishers/google/models/{MODEL}" in names
    assert len(names) > 6


def step_another_version_of_the_api(make):
    assert make(api_version="v1").models.generate_content(model=MODEL, contents="<echo>v1</echo>").text == "v1"


def step_models_of_the_developer_api_are_missing(make):
    client = make()
    for model in ("gemini-flash-latest", "gemini-omni-1.1-flash", "gemini-2.0-flash"):
        assert "was not found" in refused(404, lambda: client.models.generate_content(model=model, contents="x"))  # noqa: B023


def step_embeddings_of_one_text_and_of_several(make):
    client, model = make(), "gemini-embedding-2"
    config = types.EmbedContentConfig(output_dimensionality=64, task_type="RETRIEVAL_QUERY")
    (one,) = client.models.embed_content(model=model, contents="waves", config=config).embeddings
    texts = [types.UserContent("waves"), types.UserContent("taxes")]
    two = client.models.embed_content(model=model, contents=texts, config=config).embeddings
    assert [len(found.values) for found in (one, *two)] == [64, 64, 64]
    assert one.values == two[0].values != two[1].values


def step_another_project_is_refused(make):
    client = make(project="other-project")
    assert "IAM_PERMISSION_DENIED" in refused(403, lambda: client.models.generate_content(model=MODEL, contents="x"))


def step_the_level_that_vertex_lacks_is_refused(make):
    config = types.GenerateContentConfig(thinking_config={"thinking_level": "XHIGH"})
    client = make()
    refused(400, lambda: client.models.generate_content(model=MODEL, contents="x", config=config))


def step_ids_of_calls_are_refused(make):
    call = types.Part(function_call=types.FunctionCall(name="f", args={}, id="1"))
    result = types.Part(function_response=types.FunctionResponse(name="f", response={}, id="1"))
    contents = [types.UserContent("x"), types.ModelContent(call), types.UserContent(result)]
    client = make()
    message = refused(400, lambda: client.models.generate_content(model=MODEL, contents=contents))
    assert 'Unknown name "id"' in message


address, file = sys.argv[1:]
CLIENTS = []
"""A client that is collected closes its connections."""


def make_client(project="simulated-project", location="europe-west4", **options):
    credentials = service_account.Credentials.from_service_account_file(file, scopes=SCOPES)
    options = types.HttpOptions(base_url=address, **options)
    client = genai.Client(
        vertexai=True, project=project, location=location, credentials=credentials, http_options=options
    )
    CLIENTS.append(client)
    return client


for name, step in list(globals().items()):
    if name.startswith("step_"):
        problem = None
        try:
            step(make_client)
        except Exception:  # noqa: BLE001 -- reported
            problem = traceback.format_exc()[-2000:]
        print(json.dumps({"step": name.removeprefix("step_"), "error": problem}), flush=True)
