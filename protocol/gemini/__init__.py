"""Gemini's own API, below `/v1beta` and `/v1`.

It shares `/v1/models` with OpenAI's: a request is Gemini's if it has a credential of Google's clients, or a path that
only they use.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.routing import Route

from protocol.gemini.endpoint import GENERATE, STREAM, count_tokens
from protocol.gemini.errors import rpc_error_response
from protocol.gemini.models import GeminiModels
from protocol.http.errors import ASGIResponse, HttpError
from protocol.http.operation import Dialect, Endpoint, HeaderKey, Operation, QueryKey
from protocol.model import Engine

_VERSIONS = ("v1", "v1beta")
_METHODS = "GET POST PATCH DELETE"
_OWN_PATH = re.compile(
    r"/v1(beta|alpha)\d*(/(?!openai/)|\Z)|/upload/|/models/[^?]+:[a-z]+content[a-z]*\Z", re.IGNORECASE
)
_OWN_HEADERS = frozenset({b"x-goog-api-key", b"x-goog-api-client"})

_EMBEDDINGS = "it has no model for embeddings"
_FILES = "send files in 'inlineData', or their address in 'fileData'"
_UNKNOWN = (
    "use 'models', and ':generateContent', ':streamGenerateContent' and ':countTokens' of a model. The base URL of "
    "Google's SDKs ends before '/v1beta'"
)
_SHOWN = 64


def _refusing(what: str, advice: str) -> Callable[[Request], Awaitable[ASGIResponse]]:
    """Return a handler that refuses an operation by name."""

    async def refuse(request: Request) -> ASGIResponse:
        name = what.format(**request.path_params)
        shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in name[:_SHOWN])
        raise HttpError(404, "not_found", f"This gateway does not offer {shown}: {advice}.")

    return refuse


def routes(engine: Engine) -> list[Route]:
    """Return the routes of this dialect for an engine."""
    models = GeminiModels(engine)
    verbs: dict[str, Operation[Any] | Callable[[Request], Awaitable[ASGIResponse]]] = {
        "generateContent": GENERATE,
        "streamGenerateContent": STREAM,
        "countTokens": count_tokens(engine),
        "embedContent": _refusing("':embedContent'", _EMBEDDINGS),
        "batchEmbedContents": _refusing("':batchEmbedContents'", _EMBEDDINGS),
    }

    def route(methods: str, path: str, work: Operation[Any] | Callable[[Request], Awaitable[ASGIResponse]]) -> Route:
        app = (
            work.endpoint(engine, rpc_error_response)
            if isinstance(work, Operation)
            else Endpoint(work, rpc_error_response)
        )
        return Route(path, app, methods=methods.split())

    found: list[Route] = []
    for version in _VERSIONS:
        found += [route("POST", f"/{version}/models/{{model:path}}:{verb}", work) for verb, work in verbs.items()]
        found += [
            route("GET", f"/{version}/models", models.list),
            route("GET", f"/{version}/models/{{model:path}}", models.retrieve),
        ]
    unknown = _refusing("'{path}'", _UNKNOWN)
    return [
        *found,
        *(route("POST", f"/{version}/models/{{model:path}}:{{path}}", unknown) for version in _VERSIONS),
        route(_METHODS, "/v1beta/files", _refusing("'/v1beta/files'", _FILES)),
        route(_METHODS, "/v1beta/files/{file:path}", _refusing("'/v1beta/files'", _FILES)),
        route(_METHODS, "/v1beta/{path:path}", unknown),
    ]


def is_gemini(scope: Any) -> bool:
    """Return whether a request has a header or a key of Google's clients, or a path that only they use."""
    return (
        any(name in _OWN_HEADERS for name, _ in scope["headers"])
        or "key" in parse_qs(scope.get("query_string", b"").decode("latin-1"))
        or _OWN_PATH.search(scope["path"]) is not None
    )


DIALECT = Dialect(
    name="gemini",
    routes=routes,
    refuse=rpc_error_response,
    not_offered={
        "/upload/{version}/files": _FILES,
        "/files": _FILES,
        "/cachedcontents": "send the contents themselves",
        "/interactions": "use ':generateContent' of a model",
    },
    credentials=(HeaderKey("x-goog-api-key"), HeaderKey("Authorization", scheme="Bearer"), QueryKey("key")),
    recognizes=is_gemini,
)
