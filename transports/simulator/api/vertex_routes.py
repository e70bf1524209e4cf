"""The endpoints of the simulated Google Cloud: its token endpoint, and Gemini on Vertex AI.

Source: "Vertex AI".
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from transports.clock import Clock
from transports.simulator.api import api_models
from transports.simulator.api import request_schema as schema
from transports.simulator.api.cached_contents import CacheOwner
from transports.simulator.api.issued_tokens import TokenOffice, TokenRefusal, denied
from transports.simulator.api.pages import page_of
from transports.simulator.api.request_reader import decode
from transports.simulator.api.routes import SimulatedApi
from transports.simulator.api.rpc_errors import ApiRefusal, invalid
from transports.simulator.api.simulated_embeddings import read_vertex_embeds
from transports.simulator.api.simulated_model import prompt_tokens
from transports.simulator.breakable_stream import BreakableStream
from transports.simulator.config import SimulatorConfig

TOKEN_PATH = "/token"  # noqa: S105 -- an address
_LOCATION = "/projects/{project}/locations/{location}"
_PLACE = f"{_LOCATION}/publishers/google/models/{{name}}:{{verb}}"
_VERSIONS = ("v1", "v1beta1")
_MISSING = {
    "": {"store", "serviceTier", "model"},
    "generationConfig": {"enableEnhancedCivicAnswers"},
    "toolConfig": {"includeServerSideToolInvocations"},
    "tools": {"fileSearch", "mcpServers"},
    "functionCall": {"id"},
    "functionResponse": {"id", "willContinue"},
}
"""Fields of the Developer API that Vertex AI does not have, by what they belong to."""
_OWN = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels"})


class SimulatedVertex:
    """Gemini on Vertex AI, answered by the models of the simulated API."""

    def __init__(self, config: SimulatorConfig, clock: Clock, seen: Counter[str], api: SimulatedApi) -> None:
        """Count requests in `seen`."""
        self._seen, self._api = seen, api
        self.tokens = TokenOffice(config.service_accounts, clock)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(TOKEN_PATH, self.token, methods=["POST"]),
            Route("/v1beta1/publishers/google/models", self._guarded(self.list_models)),
            *(Route(f"/{version}{_PLACE}", self._guarded(self.call), methods=["POST"]) for version in _VERSIONS),
            *(
                Route(f"/{version}{_LOCATION}/cachedContents{name}", self._guarded(self.cached_contents), methods=verbs)
                for version in _VERSIONS
                for name, verbs in (("", ["GET", "POST"]), ("/{name}", ["GET", "PATCH", "DELETE"]))
            ),
        ]

    def _guarded(
        self, handler: Callable[[Request], Awaitable[Response | BreakableStream]]
    ) -> Callable[[Request], Awaitable[Response | BreakableStream]]:
        async def guarded(request: Request) -> Response | BreakableStream:
            try:
                return await handler(request)
            except ApiRefusal as error:
                self._seen[f"vertex_{error.code}"] += 1
                return error.response()

        return guarded

    async def token(self, request: Request) -> Response:
        """Answer at the token endpoint."""
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        try:
            answer = self.tokens.issue(form, str(request.url))
        except TokenRefusal as error:
            self._seen["vertex_token_refused"] += 1
            return JSONResponse({"error": "invalid_grant", "error_description": str(error)}, 400)
        self._seen["vertex_token"] += 1
        return JSONResponse(answer)

    async def list_models(self, request: Request) -> Response:
        """Answer the list of Google's models."""
        self.tokens.holder(request.headers.get("authorization"))
        names = [f"publishers/google/models/{model.id}" for model in api_models.models() if is_here(model)]
        shown = [{"name": name, "versionId": "default", "launchStage": "GA"} for name in names]
        return JSONResponse(page_of(request, "publisherModels", shown))

    async def cached_contents(self, request: Request) -> Response:
        """Answer a request to cache contents, or to those that are cached."""
        owner = self.owner_of(request)
        self._seen[f"vertex_cache_{request.method.lower()}"] += 1
        if request.method != "POST":
            return await self._api.caches.answer(request, owner)
        body = await request.body()
        check_fields(body, "cachedContent")
        return self._api.caches.create(decode(body, schema.CachedRequest), owner)

    def owner_of(self, request: Request) -> CacheOwner:
        """Return the project and location that a request names; raise ApiRefusal if its token is of another project."""
        account = self.tokens.holder(request.headers.get("authorization"))
        project, location = request.path_params["project"], request.path_params["location"]
        if project != account.project:
            raise denied(project, location, request.path_params.get("name", "cachedContents"))
        place = f"projects/{project}/locations/{location}/"
        return CacheOwner(project=project, place=place, models=f"{place}publishers/google/models/")

    async def call(self, request: Request) -> Response | BreakableStream:
        """Answer a call of a model."""
        owner, name, verb = self.owner_of(request), request.path_params["name"], request.path_params["verb"]
        self._seen[f"vertex_{verb}"] += 1
        model = next((one for one in api_models.models() if one.id == name and is_here(one)), None)
        if model is None:
            raise ApiRefusal(
                404, f"Publisher Model `{owner.models}{name}` was not found or your project does not have access to it."
            )
        body = await request.body()
        match verb:
            case "countTokens":
                counted = decode(body, schema.VertexCountedRequest)
                return JSONResponse({"totalTokens": prompt_tokens(counted.contents)})
            case "generateContent" | "streamGenerateContent":
                sent = decode(body, schema.Request)
                check_fields(body)
                check_request(sent)
                sent, cached = self._api.caches.completed(sent, owner, model)
                self._api.check_request(sent, model)
                cached = cached or self._api.implicit.known_tokens(sent, owner.place, model)
                return await self._api.generate(request, sent, model, streams=verb.startswith("stream"), cached=cached)
            case "embedContent" | "batchEmbedContents" if model.kind == "embedding":
                return self._api.embedded(model, read_vertex_embeds(body, model.id, verb), verb)
            case _:
                raise ApiRefusal(404, f"The method {verb} does not exist.")


def is_here(model: api_models.SimulatedModel) -> bool:
    """Return whether Vertex AI has a model of the Developer API."""
    return model.kind != "interaction" and not model.id.endswith("-latest") and not model.id.startswith("gemma")


def check_fields(body: bytes, root: str = "") -> None:
    """Check that a body, a type called `root`, has no field that only the Developer API has.

    Raises:
        ApiRefusal: it has one; the message names it.

    """
    for owner, name in _fields(msgspec.json.decode(body), root):
        if name in _MISSING.get(owner, ()):
            raise invalid(f"Invalid JSON payload received. Unknown name \"{name}\" at '{owner}': Cannot find field.")


def _fields(value: Any, owner: str) -> Iterator[tuple[str, str]]:
    """Yield the names of fields in camel case, each with the name of what it belongs to."""
    if isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _fields(one, owner)
    elif isinstance(value, dict):
        for written, one in cast("Mapping[str, Any]", value).items():
            first, *more = written.split("_")
            name = first + "".join(word.capitalize() for word in more)
            yield owner, name
            if name not in _OWN:
                yield from _fields(one, name)


def check_request(sent: schema.Request) -> None:
    """Check what Vertex AI refuses in fields that the Developer API has too; raise ApiRefusal if it does."""
    if any(not message.role for message in sent.contents):
        raise invalid("Please use a valid role: user, model.")
    thinking = sent.generation_config.thinking_config
    if thinking is not None and thinking.thinking_level == "XHIGH":
        raise invalid("Invalid value at 'generation_config.thinking_config.thinking_level': \"XHIGH\"")
