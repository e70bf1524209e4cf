from types import SimpleNamespace

import httpx2 as httpx
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from protocol.http.context import attach
from protocol.http.errors import HttpError
from protocol.http.operation import Dialect
from protocol.model import Saturated
from service.middleware.routing import RequestRouter, normal_path


def dialect(name):
    def refuse(error):
        return Response(f"{name} {error.code}", 418, {"x-message": error.message})

    def recognizes(scope):
        return (b"x-dialect", name.encode()) in scope["headers"]

    missing = {
        f"/{name}-only": "use something",
        f"/{name}-only/{{id}}/part": "use a part",
        "/videos/cuts": "cut",
        "/Capital": "shout",
    }
    return Dialect(
        name=name,
        routes=lambda _: (),
        refuse=refuse,
        credentials=(),
        recognizes=recognizes,
        not_offered=missing,
        guide="Go there." if name == "two" else "",
    )


def answer(name):
    async def endpoint(request):
        return PlainTextResponse(f"{name} {request.path_params} {request.scope['route'].path}")

    return endpoint


ONE, TWO = dialect("one"), dialect("two")
ROUTES = [
    (Route("/one/chat", answer("chat"), methods=["POST"]), ONE),
    (Route("/one/chat", answer("second"), methods=["POST", "DELETE"]), ONE),
    (Route("/two/models", answer("models"), methods=["GET"]), TWO),
    (Route("/two/models/{model:path}", answer("model"), methods=["GET"]), TWO),
    (Route("/two/models/behind", answer("behind"), methods=["GET", "POST"]), TWO),
    (Route("/v1/chat/completions", answer("completions"), methods=["POST"]), ONE),
    (Route("/v1/videos", answer("videos"), methods=["POST"]), ONE),
    (Route("/v1/videos", answer("list"), methods=["GET"]), ONE),
    (Route("/v1/videos/{video}", answer("video"), methods=["DELETE"]), ONE),
    (Route("/v1/shared", answer("one's"), methods=["GET"]), ONE),
    (Route("/v1/shared/{name:path}", answer("one's"), methods=["GET"]), ONE),
    (Route("/v1/shared", answer("two's"), methods=["GET", "PATCH"]), TWO),
    (Route("/v1/shared/{name}:go", answer("two's verb"), methods=["POST"]), TWO),
    (Route("/v1/shared/{name:path}", answer("two's"), methods=["GET"]), TWO),
]
FIXED = [Route("/metrics", answer("metrics"), methods=["GET"])]


@pytest.fixture
def record():
    return SimpleNamespace(error=None)


@pytest.fixture
def client(record):
    router = RequestRouter(
        dialect("default"), ROUTES, fixed=FIXED, prefix="/api", base_url=lambda _: "http://gateway/api"
    )

    async def with_context(scope, receive, send):
        attach(scope, SimpleNamespace(record=record))
        app = router.refuse(Saturated("full")) if dict(scope["headers"]).get(b"x-shed") else router
        await app(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(with_context), base_url="http://gateway")


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("POST", "/one/chat", "chat {} /one/chat"),
        ("DELETE", "/one/chat", "second {} /one/chat"),
        ("GET", "/two/models", "models {} /two/models"),
        ("HEAD", "/two/models", ""),
        ("GET", "/two/models/a/b", "model {'model': 'a/b'} /two/models/{model:path}"),
        ("GET", "/two/models/behind", "model {'model': 'behind'} /two/models/{model:path}"),
        ("POST", "/two/models/behind", "behind {} /two/models/behind"),
    ],
)
async def test_the_first_route_that_matches_path_and_method_answers(client, method, path, text):
    response = await client.request(method, path)
    assert (response.status_code, response.text) == (200, text)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/one/chat", "one"),
        ("/two/models", "two"),
        ("/two/models/a/b", "two"),
        ("/one/chat/", "one"),
        ("/nowhere", "default"),
    ],
)
async def test_middleware_refuses_in_the_dialect_of_the_path(client, path, name):
    assert (await client.get(path, headers={"x-shed": "1"})).text == f"{name} overloaded"


@pytest.mark.parametrize(
    ("path", "name", "allowed"),
    [
        ("/one/chat", "one", "DELETE, OPTIONS, POST"),
        ("/ONE//chat/", "one", "DELETE, OPTIONS, POST"),
        ("/two/models", "two", "GET, HEAD, OPTIONS"),
        ("/v1/videos", "one", "GET, HEAD, OPTIONS, POST"),
        ("/metrics", "default", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_method_that_is_not_allowed_is_refused_in_the_dialect_of_the_path(client, record, path, name, allowed):
    response = await client.put(path)
    assert (response.status_code, response.text) == (418, f"{name} method_not_allowed")
    assert response.headers["allow"] == allowed
    assert record.error == "method_not_allowed"


async def test_options_lists_the_methods_of_a_path(client):
    response = await client.options("/api/v1/videos/")
    assert (response.status_code, response.text) == (204, "")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/", "/"),
        ("", "/"),
        ("/api", "/"),
        ("/models/", "/models"),
        ("//api//v1//models", "/models"),
        ("/API/V1/models", "/models"),
        ("/v1/v1/api/api/v1/models", "/models"),
        ("/api;a=1/v1;b/models;c=d;e", "/models"),
        ("/api/v1 /models\n", "/models"),
        ("/./api/x/../v1/models/.", "/models"),
        ("/../../../v1/models", "/models"),
        ("/v1/models/Models/v1/api", "/models/Models/v1/api"),
        ("/apis/v1/models", "/apis/v1/models"),
    ],
)
def test_a_path_has_one_normal_form(path, normal):
    assert normal_path(path, "/api") == normal
    assert normal_path(normal, "/api") == normal


@pytest.mark.parametrize("prefix", ["", "/a/b", "/v1"])
def test_any_prefix_is_removed(prefix):
    assert normal_path(f"{prefix}/v1/models/x", prefix) == "/models/x"
    assert normal_path("/models/x", prefix) == "/models/x"


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("POST", "/api/v1/chat/completions", "completions {} /v1/chat/completions"),
        ("POST", "/v1beta/openai/chat/completions", "completions {} /v1/chat/completions"),
        ("POST", "/Chat//Completions/", "completions {} /v1/chat/completions"),
        ("POST", "/api/one/chat", "chat {} /one/chat"),
        ("GET", "/api/two/models/A//b/", "model {'model': 'A/b'} /two/models/{model:path}"),
        ("DELETE", "/v1/Videos/Id_X", "video {'video': 'Id_X'} /v1/videos/{video}"),
        ("GET", "/metrics", "metrics {} /metrics"),
    ],
)
async def test_each_way_to_write_a_path_leads_to_its_route(client, method, path, text):
    response = await client.request(method, path)
    assert (response.status_code, response.text) == (200, text)


@pytest.mark.parametrize(
    "path", ["/METRICS", "//metrics", "/metrics/", "/metrics%0a", "/api/metrics", "/x/%2e%2e/metrics"]
)
async def test_metrics_have_one_spelling(client, path):
    response = await client.get(path)
    assert response.text == "default not_found"


async def test_an_unknown_path_gets_the_base_url_and_what_is_below_it(client):
    response = await client.get("/api/v1/embeddings")
    assert response.headers["x-message"] == (
        "There is nothing at this path. The base URL is 'http://gateway/api/v1'; "
        "below it are /chat/completions, /videos, /shared."
    )


async def test_a_dialect_with_a_guide_shows_it_in_place_of_the_paths(client):
    response = await client.get("/api/v1/embeddings", headers={"x-dialect": "two"})
    assert response.headers["x-message"] == "There is nothing at this path. Go there."


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/api/v1/One-Only/", "This gateway does not offer '/one-only': use something."),
        ("POST", "/one-only/x/y", "This gateway does not offer '/one-only': use something."),
        ("GET", "/v1/one-only/x/part/y", "This gateway does not offer '/one-only/{id}/part': use a part."),
        ("POST", "/v1/videos/cuts", "This gateway does not offer '/videos/cuts': cut."),
        ("POST", "/v1beta/capital/x", "This gateway does not offer '/Capital': shout."),
        ("POST", "/api/v1alpha2/one-only", "This gateway does not offer '/one-only': use something."),
    ],
)
async def test_a_path_that_is_not_offered_is_named_with_what_to_use(client, record, method, path, message):
    response = await client.request(method, path, headers={"x-dialect": "one"})
    assert (response.text, response.headers["x-message"]) == ("one not_found", message)
    assert "allow" not in response.headers
    assert record.error == "not_found"
    assert (await client.request(method, "/api/v1/one-onlyx")).headers["x-message"].startswith("There is nothing")


async def test_a_path_of_azure_gets_the_base_url(client):
    response = await client.post("/openai/deployments/gemini-3-pro/chat/completions?api-version=2024-10-21")
    assert "not Azure's, with the base URL 'http://gateway/api/v1'" in response.headers["x-message"]


@pytest.mark.parametrize("path", ["/nowhere", "/two", "/api", "/"])
async def test_an_unknown_path_is_refused_in_the_default_dialect(client, record, path):
    response = await client.get(path)
    assert response.text == "default not_found"
    assert "allow" not in response.headers
    assert record.error == "not_found"


async def test_lifespan_messages_are_ignored():
    router = RequestRouter(ONE, ROUTES)
    await router({"type": "lifespan"}, None, None)


@pytest.mark.parametrize("path", ["/v1/shared", "/api/v1/shared", "/shared/", "/v1/shared/a/b"])
@pytest.mark.parametrize(("recognized", "name"), [("", "one's"), ("two", "two's"), ("default", "one's")])
async def test_the_dialect_that_recognizes_a_request_answers_on_a_shared_path(client, path, recognized, name):
    response = await client.get(path, headers={"x-dialect": recognized})
    assert (response.status_code, response.text.split(" {")[0]) == (200, name)


@pytest.mark.parametrize("recognized", ["", "one", "two"])
async def test_a_method_that_one_dialect_has_on_a_shared_path_needs_no_recognition(client, recognized):
    headers = {"x-dialect": recognized}
    assert (await client.patch("/v1/shared", headers=headers)).text == "two's {} /v1/shared"
    verb = await client.post("/v1/shared/a:go", headers=headers)
    assert verb.text == "two's verb {'name': 'a'} /v1/shared/{name}:go"


@pytest.mark.parametrize(("recognized", "name"), [("", "default"), ("one", "one"), ("two", "two")])
async def test_an_unknown_path_is_refused_in_the_dialect_that_recognizes_the_request(client, recognized, name):
    response = await client.get("/nowhere", headers={"x-dialect": recognized})
    assert response.text == f"{name} not_found"
    shed = await client.get("/nowhere", headers={"x-dialect": recognized, "x-shed": "1"})
    assert shed.text == f"{name} overloaded"


@pytest.mark.parametrize(("recognized", "name"), [("", "one"), ("one", "one"), ("two", "two")])
async def test_errors_of_a_shared_path_are_in_the_dialect_that_recognizes_the_request(client, recognized, name):
    wrong = await client.delete("/v1/shared", headers={"x-dialect": recognized})
    assert (wrong.text, wrong.headers["allow"]) == (f"{name} method_not_allowed", "GET, HEAD, OPTIONS, PATCH")
    shed = await client.get("/v1/shared", headers={"x-dialect": recognized, "x-shed": "1"})
    assert shed.text == f"{name} overloaded"


async def test_the_path_of_one_dialect_is_refused_in_its_form_if_another_is_recognized(client):
    assert (await client.put("/one/chat", headers={"x-dialect": "two"})).text == "one method_not_allowed"


@pytest.mark.parametrize(
    ("path", "recognized", "name"),
    [("/one/chat", b"two", "one"), ("/v1/shared", b"two", "two"), ("/nowhere", b"two", "two"), ("/", b"", "default")],
)
def test_an_error_of_the_server_itself_has_the_form_of_the_dialect(path, recognized, name):
    router = RequestRouter(dialect("default"), ROUTES)
    scope = {"method": "POST", "path": path, "headers": [(b"x-dialect", recognized)], "query_string": b""}
    assert router.error_body(HttpError(400, "invalid_request", "?"), scope) == f"{name} invalid_request".encode()
