"""Embeddings of the official API, with the unmodified `openai` SDK; refused by name where no transport has them."""

import math

import httpx2 as httpx
import openai
import pytest
from openai.types import CreateEmbeddingResponse

from tests.openai_schemas import check

MODEL = "gemini-embedding-2"


@pytest.fixture
def client(official_gateway):
    base_url, key = official_gateway.base_url, official_gateway.key
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        yield client


def vectors(client, *texts, **fields):
    answer = client.embeddings.create(**{"model": MODEL, "input": list(texts)} | fields)
    assert [one.index for one in answer.data] == list(range(len(texts)))
    return [one.embedding for one in answer.data]


def similarity(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("form", ["float", "base64", None])
def test_vectors_have_the_length_one_and_are_alike_where_the_words_are(client, form):
    fields = {"encoding_format": form} if form else {}
    sea, waves, tax = vectors(client, "the sea at night", "the sea in waves", "a form of the tax office", **fields)
    if form == "base64":
        assert all(isinstance(one, str) for one in (sea, waves, tax))
        return
    assert [len(sea), round(math.hypot(*sea), 5)] == [3072, 1.0]
    assert similarity(sea, waves) > similarity(sea, tax) + 0.1


def test_both_forms_are_the_same_numbers(client):
    assert vectors(client, "one", encoding_format="float")[0] == pytest.approx(vectors(client, "one")[0])


@pytest.mark.parametrize(
    ("model", "fields", "length"),
    [
        (MODEL, {"dimensions": 256}, 256),
        ("text-embedding-3-small", {}, 1536),
        ("text-embedding-ada-002", {}, 1536),
        ("text-embedding-3-large", {}, 3072),
        ("text-embedding-3-large", {"dimensions": 1024}, 1024),
        ("google/gemini-embedding-001", {}, 3072),
    ],
)
def test_a_shortened_vector_has_the_length_one(client, model, fields, length):
    (vector,) = vectors(client, "some words", model=model, **fields)
    assert (len(vector), round(math.hypot(*vector), 5)) == (length, 1.0)


def test_many_texts_are_answered_in_their_order(client):
    texts = [f"number {number}" for number in range(230)]
    found = vectors(client, *texts, dimensions=8)
    assert found[229] == pytest.approx(vectors(client, texts[229], dimensions=8)[0])


def test_an_answer_has_the_form_of_the_published_description(official_gateway):
    body = {"model": "text-embedding-3-small", "input": "hello there", "dimensions": 3, "user": "someone"}
    headers = {"authorization": f"Bearer {official_gateway.key}"}
    answer = httpx.post(f"{official_gateway.base_url}/embeddings", json=body, headers=headers)
    value = check(answer.content, CreateEmbeddingResponse, "CreateEmbeddingResponse")
    assert (value["model"], value["usage"]) == (MODEL, {"prompt_tokens": 3, "total_tokens": 3})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": []}, "input"),
        ({"input": ["words", " "]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"model": "gemini-3-pro"}, "model"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(**{"model": MODEL, "input": "x"} | fields)
    assert refused.value.param == param


def test_another_key_answers_when_one_fails(client):
    assert len(vectors(client, 'words <sim http="500" once="embeddings"/>')[0]) == 3072


def test_a_model_for_embeddings_does_not_chat_and_is_listed(client):
    with pytest.raises(openai.NotFoundError, match="/v1/embeddings"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    listed = {one.id: one for one in client.models.list()}
    assert listed[MODEL].model_extra["output_modalities"] == ["embedding"]


def test_a_gateway_without_such_a_model_refuses_by_name_and_lists_none(gateway):
    with openai.OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match=r"'/embeddings': no model here computes embeddings"):
            client.embeddings.create(model="text-embedding-3-small", input="x")
        with pytest.raises(openai.NotFoundError, match="no model here computes embeddings"):
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
        assert MODEL not in {one.id for one in client.models.list()}
