from types import SimpleNamespace

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from protocol.http.context import attach
from protocol.http.operation import Dialect
from protocol.model import Saturated
from service.middleware.dialect_errors import DialectErrors


def dialect(name):
    return Dialect(name=name, routes=lambda _: (), refuse=lambda e: Response(f"{name} {e.code}", 418), credentials=())


async def fail(request):
    if request.path_params:
        raise RuntimeError("a bug")
    return PlainTextResponse("fine")


ROUTES = [
    (Route("/v1/chat", fail, methods=["POST"]), dialect("one")),
    (Route("/v2/chat", fail, methods=["POST"]), dialect("two")),
    (Route("/v2/models/{model:path}", fail, methods=["GET"]), dialect("two")),
]


@pytest.fixture
def record():
    return SimpleNamespace(error=None)


@pytest.fixture
def client(record):
    errors = DialectErrors(dialect("default"), ROUTES)
    handlers = {HTTPException: errors.http_error, Exception: errors.internal_error}
    app = Starlette(routes=[route for route, _ in ROUTES], exception_handlers=handlers)

    async def with_context(scope, receive, send):
        attach(scope, SimpleNamespace(record=record))
        if dict(scope["headers"]).get(b"x-shed"):
            await errors.refuse(Saturated("full"))(scope, receive, send)
        else:
            await app(scope, receive, send)

    return TestClient(with_context, raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("path", "name"), [("/v1/chat", "one"), ("/v2/chat", "two"), ("/v2/models/a/b", "two"), ("/v3", "default")]
)
def test_middleware_refuses_in_the_dialect_of_the_path(client, path, name):
    assert client.get(path, headers={"x-shed": "1"}).text == f"{name} overloaded"


def test_a_method_that_is_not_allowed_is_refused_in_the_dialect_of_the_path(client, record):
    answer = client.get("/v2/chat")
    assert (answer.status_code, answer.text, answer.headers["allow"]) == (418, "two method_not_allowed", "POST")
    assert record.error == "method_not_allowed"


def test_an_unknown_path_is_refused_in_the_default_dialect(client):
    assert client.get("/nowhere").text == "default not_found"


def test_a_bug_is_answered_in_the_dialect_of_the_path(client, record):
    assert client.get("/v2/models/x").text == "two internal_error"
    assert record.error == "internal_error"
