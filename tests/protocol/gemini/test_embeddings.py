import httpx2 as httpx
import pytest

MODEL = "gemini-embedding-2"


@pytest.fixture(scope="module")
def http(official_gateway):
    with httpx.Client(
        base_url=official_gateway.base_url.removesuffix("/v1"), headers={"x-goog-api-key": official_gateway.key}
    ) as http:
        yield http


def embedded(http, body, verb="embedContent", version="v1beta"):
    return http.post(f"/{version}/models/{MODEL}:{verb}", json=body)


def test_one_content_is_embedded_with_names_in_snake_case_and_enums_as_numbers(http):
    body = {"content": {"parts": [{"text": "words"}]}, "task_type": 2, "title": "T", "output_dimensionality": 5}
    answer = embedded(http, body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-gateway-usage"] == "exact"
    assert len(answer.json()["embedding"]["values"]) == 5
    assert embedded(http, {"content": "words"}, version="v1").json()["usageMetadata"]["promptTokenCount"] > 0


def test_each_content_of_a_batch_has_options_of_its_own(http):
    sizes = [3, 8, 2]
    requests = [
        {"model": f"models/{MODEL}", "content": {"parts": [{"text": "words"}]}, "outputDimensionality": size}
        for size in sizes
    ]
    found = embedded(http, {"requests": requests}, "batchEmbedContents").json()["embeddings"]
    assert [len(one["values"]) for one in found] == sizes
    assert found[1]["values"][:3] == found[0]["values"]


@pytest.mark.parametrize(
    ("verb", "body", "words"),
    [
        ("embedContent", {}, "'content'"),
        ("embedContent", {"content": {"parts": [{"text": ""}]}}, "'content'"),
        ("embedContent", {"content": {"parts": [{"text": "a"}]}, "taskType": "SEARCH"}, "RETRIEVAL_QUERY"),
        ("embedContent", {"content": {"parts": [{"text": "a"}]}, "model": "models/other"}, MODEL),
        ("batchEmbedContents", {"requests": []}, "'requests'"),
        ("batchEmbedContents", {"requests": [{"content": {"parts": []}}]}, r"'requests[0].content'"),
    ],
)
def test_wrong_requests_are_refused_by_name(http, verb, body, words):
    answer = embedded(http, body, verb)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert words in answer.json()["error"]["message"]


def test_a_model_that_computes_none_is_not_found(http):
    answer = http.post("/v1beta/models/gemini-3.6-flash:embedContent", json={"content": {"parts": [{"text": "a"}]}})
    assert (answer.status_code, MODEL in answer.json()["error"]["message"]) == (404, True)
