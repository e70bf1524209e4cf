"""Anthropic's Messages API, below `/v1`."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

from starlette.requests import Request
from starlette.routing import Route

from protocol.anthropic import file_endpoints as files
from protocol.anthropic.endpoint import CREATE, TokenCounter
from protocol.anthropic.errors import AnthropicErrorResponse
from protocol.anthropic.models import AnthropicModels
from protocol.http.errors import ASGIResponse, HttpError
from protocol.http.operation import Dialect, Endpoint, HeaderKey
from protocol.model import Engine

_METHODS = ["GET", "POST", "DELETE"]


async def _not_offered(request: Request) -> NoReturn:
    """Refuse what the API has and this gateway has not."""
    raise HttpError(404, "not_found", f"'{request.url.path}' is not offered: send each request to '/v1/messages'.")


def routes(engine: Engine) -> list[Route]:
    """Return the routes of this dialect for an engine."""

    def route(path: str, methods: list[str], work: Callable[[Request], Awaitable[ASGIResponse]]) -> Route:
        return Route(path, Endpoint(work, AnthropicErrorResponse), methods=methods)

    models, counter = AnthropicModels(engine), TokenCounter(engine)
    return [
        Route("/v1/messages", CREATE.endpoint(engine, AnthropicErrorResponse), methods=["POST"]),
        route("/v1/messages/count_tokens", ["POST"], counter.count),
        route("/v1/models", ["GET"], models.list),
        route("/v1/models/{model:path}", ["GET"], models.retrieve),
        route("/v1/files", ["POST"], files.upload),
        route("/v1/files", ["GET"], files.list_files),
        route("/v1/files/{file}", ["GET"], files.retrieve),
        route("/v1/files/{file}", ["DELETE"], files.delete),
        route("/v1/files/{file}/content", ["GET"], files.content),
        route("/v1/messages/batches", _METHODS, _not_offered),
        route("/v1/messages/batches/{batch:path}", _METHODS, _not_offered),
        route("/v1/complete", _METHODS, _not_offered),
    ]


DIALECT = Dialect(
    name="anthropic",
    routes=routes,
    refuse=AnthropicErrorResponse,
    credentials=(HeaderKey("Authorization", scheme="Bearer"), HeaderKey("x-api-key")),
    recognizes=lambda scope: any(name == b"anthropic-version" for name, _ in scope["headers"]),
)
