from types import SimpleNamespace

import httpx2 as httpx
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from protocol.http.context import attach
from protocol.http.operation import Dialect
from protocol.model import Saturated
from service.middleware.routing import HttpValidation, RequestRouter


def dialect(name):
    return Dialect(name=name, routes=lambda _: (), refuse=lambda e: Response(f"{name} {e.code}", 418), credentials=())


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
]


@pytest.fixture
def record():
    return SimpleNamespace(error=None)


@pytest.fixture
def client(record):
    router = RequestRouter(dialect("default"), ROUTES)
    validated = HttpValidation(router, 1000, router.refuse)

    async def with_context(scope, receive, send):
        attach(scope, SimpleNamespace(record=record))
        app = router.refuse(Saturated("full")) if dict(scope["headers"]).get(b"x-shed") else validated
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
    [("/one/chat", "one"), ("/two/models", "two"), ("/two/models/a/b", "two"), ("/one/chat/", "default")],
)
async def test_middleware_refuses_in_the_dialect_of_the_path(client, path, name):
    assert (await client.get(path, headers={"x-shed": "1"})).text == f"{name} overloaded"


@pytest.mark.parametrize(
    ("path", "name", "allowed"), [("/one/chat", "one", "POST"), ("/two/models", "two", "GET, HEAD")]
)
async def test_a_method_that_is_not_allowed_is_refused_in_the_dialect_of_the_path(client, record, path, name, allowed):
    response = await client.put(path)
    assert (response.status_code, response.text) == (418, f"{name} method_not_allowed")
    assert response.headers["allow"] == allowed
    assert record.error == "method_not_allowed"


@pytest.mark.parametrize("path", ["/nowhere", "/one/chat/", "//one/chat", "/"])
async def test_an_unknown_path_is_refused_in_the_default_dialect(client, record, path):
    response = await client.get(path)
    assert response.text == "default not_found"
    assert "allow" not in response.headers
    assert record.error == "not_found"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([("x-long", "x" * 1000)], "headers_too_large"),
        ([("content-length", "0"), ("transfer-encoding", "chunked")], "invalid_value"),
        ([("host", "a"), ("host", "b")], "invalid_value"),
    ],
)
async def test_invalid_headers_are_refused_in_the_dialect_of_the_path(client, record, headers, code):
    response = await client.get("/two/models", headers=headers)
    assert response.text == f"two {code}"
    assert record.error == code


async def test_lifespan_messages_are_ignored():
    router = RequestRouter(ONE, ROUTES)
    await HttpValidation(router, 1000, router.refuse)({"type": "lifespan"}, None, None)
