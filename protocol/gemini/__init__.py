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

from protocol.gemini import file_service
from protocol.gemini.embeddings import embedding
from protocol.gemini.endpoint import GENERATE, STREAM, count_tokens
from protocol.gemini.errors import rpc_error_response
from protocol.gemini.models import GeminiModels
from protocol.http.errors import ASGIResponse, HttpError
from protocol.http.operation import Dialect, Endpoint, HeaderKey, Operation, QueryKey
from protocol.model import Engine

_VERSIONS = ("v1", "v1beta", "v1alpha")
_OWN_PATH = re.compile(
    r"/v1(beta|alpha)\d*(/(?!openai/)|\Z)|/upload/|/ws/google|/models/[^?]+:[a-z]+content[a-z]*\Z", re.IGNORECASE
)
_OWN_HEADERS = frozenset({b"x-goog-api-key", b"x-goog-api-client"})

_MISSING_VERBS = {
    "asyncBatchEmbedContent": "use ':batchEmbedContents'",
    "batchGenerateContent": "send one request for each answer",
    "predict": "pictures come from ':generateContent', with 'IMAGE' in 'generationConfig.responseModalities'",
    "predictLongRunning": "videos come from ':generateContent' of a '-video' model",
}
"""The operations of a model that are not offered, each with what to use in its place."""
_FILES = "upload each file to '/files', or send it in 'inlineData'"
_VERBS = "use ':generateContent', ':streamGenerateContent', ':countTokens' or ':embedContent'"
_NOT_OFFERED = {
    "/auth_tokens": "use a license key",
    "/batches": "send one request for each answer",
    "/cachedContents": "send the contents themselves",
    "/corpora": _FILES,
    "/fileSearchStores": _FILES,
    "/interactions": "use ':generateContent' of a model",
    "/models/{model}/operations": "':generateContent' answers when its work is done",
    "/operations": "':generateContent' answers when its work is done",
    "/projects": "use Google's SDK without Vertex AI",
    "/publishers": "use Google's SDK without Vertex AI",
    "/tunedModels": "use '/models'",
    "/ws": "use ':streamGenerateContent' in place of the Live API",
}
_GUIDE = (
    "Gemini's API is below '/v1beta' and '/v1': '/models', '/files', and ':generateContent', ':streamGenerateContent', "
    "':countTokens' and ':embedContent' of a model. The base URL of Google's SDKs ends before the version."
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
        **{verb: embedding(engine, verb) for verb in ("embedContent", "batchEmbedContents")},
    }
    verbs |= {verb: _refusing(f"':{verb}'", advice) for verb, advice in _MISSING_VERBS.items()}

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
            route("POST", f"/upload/{version}/files", file_service.upload),
            route("GET", f"/{version}/files", file_service.list_files),
            route("GET", f"/{version}/files/{{file}}:download", file_service.download),
            route("GET", f"/{version}/files/{{file}}", file_service.retrieve),
            route("DELETE", f"/{version}/files/{{file}}", file_service.delete),
        ]
    unknown = _refusing("':{verb}'", _VERBS)
    found += [route("POST", f"/{version}/models/{{model:path}}:{{verb}}", unknown) for version in _VERSIONS]
    return found


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
    not_offered=_NOT_OFFERED,
    guide=_GUIDE,
    credentials=(HeaderKey("x-goog-api-key"), HeaderKey("Authorization", scheme="Bearer"), QueryKey("key")),
    recognizes=is_gemini,
    ticket=file_service.ticket_of,
)
