"""The endpoints of the simulated API.

Source: "Base", "Errors", "Models".
"""

import base64
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from transports.clock import Clock
from transports.simulator.api import api_models
from transports.simulator.api import request_schema as schema
from transports.simulator.api.answer_stream import ModelAnswerWriter, breaks, broken_whole, streamed
from transports.simulator.api.api_files import API_VERSIONS, ApiFiles
from transports.simulator.api.api_keys import KeyRing, SimulatedKey
from transports.simulator.api.cached_contents import CachedContents, CacheOwner
from transports.simulator.api.embedding_schema import EmbedRequest
from transports.simulator.api.implicit_cache import ImplicitCache
from transports.simulator.api.interactions import ApiParts, SimulatedInteractions
from transports.simulator.api.ordered_faults import OrderedFaults, refuse_as_ordered
from transports.simulator.api.pages import page_of
from transports.simulator.api.request_reader import RequestCheck, decode
from transports.simulator.api.rpc_errors import ApiRefusal, invalid, no_method
from transports.simulator.api.simulated_embeddings import read_embeds, vector_of
from transports.simulator.api.simulated_model import answer, prompt_tokens, script_of, texts
from transports.simulator.breakable_stream import BreakableStream
from transports.simulator.config import SimulatorConfig

_MOST_BODY = 100 * 1024 * 1024
_MOST_SIGNATURES = 100_000
Handler = Callable[[Request], Awaitable[Response | BreakableStream]]


class SimulatedApi:
    """The API: its keys, and what it has issued."""

    def __init__(self, config: SimulatorConfig, clock: Clock, seen: Counter[str]) -> None:
        """Count requests in `seen`."""
        self._config, self._clock, self._seen = config, clock, seen
        self.keys = KeyRing(config.api_keys, clock)
        self._signatures: OrderedDict[bytes, None] = OrderedDict()
        self._faults = OrderedFaults()
        self.files = ApiFiles(clock, self.keys.of_request, config.file_seconds)
        self.caches, self.implicit = CachedContents(clock), ImplicitCache(clock)
        self._interactions = SimulatedInteractions(config, clock, seen, ApiParts(self.keys, self._faults, self.files))

    def routes(self) -> list[Route]:
        """Return the routes of the API, which are the same below each version."""
        versioned = [route for version in API_VERSIONS for route in self.versioned_routes(version)]
        return [*versioned, *self._interactions.routes()]

    def versioned_routes(self, version: str) -> list[Route]:
        """Return the routes below a version."""
        base, guarded = f"/{version}", self._guarded
        return [
            Route(f"{base}/models", guarded(self.list_models)),
            Route(f"{base}/models/{{name}}", guarded(self.get_model), methods=["GET"]),
            Route(f"{base}/models/{{name}}:{{verb}}", guarded(self.call), methods=["POST"]),
            Route(f"{base}/cachedContents", guarded(self.cached_contents), methods=["GET", "POST"]),
            Route(f"{base}/cachedContents/{{name}}", guarded(self.cached_contents), methods=["GET", "PATCH", "DELETE"]),
            Route(f"/upload{base}/files", guarded(self.files.upload), methods=["POST"]),
            Route(f"{base}/files", guarded(self.files.list_files)),
            Route(f"{base}/files/{{name}}:download", guarded(self._interactions.download), methods=["GET"]),
            Route(f"{base}/files/{{name}}", guarded(self.files.get_file), methods=["GET"]),
            Route(f"{base}/files/{{name}}", guarded(self.files.delete_file), methods=["DELETE"]),
        ]

    def other_routes(self) -> list[Route]:
        """Return the routes of all other paths below the versions; routes of Vertex AI come before them."""
        verbs = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        paths = [f"{start}/{version}/{{other:path}}" for start in ("", "/upload") for version in API_VERSIONS]
        return [Route(path, self._guarded(self.refuse_path), methods=verbs) for path in paths]

    async def refuse_path(self, request: Request) -> Response:
        """Refuse a request to a path that the API does not have."""
        raise no_method(request.url.path)

    def _guarded(self, handler: Handler) -> Handler:
        """Return a handler that turns an ApiRefusal into its answer."""

        async def guarded(request: Request) -> Response | BreakableStream:
            try:
                return await handler(request)
            except ApiRefusal as error:
                self._seen[f"api_{error.code}"] += 1
                return error.response()

        return guarded

    async def list_models(self, request: Request) -> Response:
        """Answer `GET models`."""
        self.keys.of_request(request)
        entries = [model.listed() for model in api_models.models()]
        return JSONResponse(page_of(request, "models", entries))

    async def get_model(self, request: Request) -> Response:
        """Answer `GET models/{name}`."""
        self.keys.of_request(request)
        return JSONResponse(api_models.find(request.path_params["name"], "getModel").listed())

    async def cached_contents(self, request: Request) -> Response:
        """Answer a request to cache contents, or to those that are cached."""
        key = self.keys.of_request(request)
        self._seen[f"api_cache_{request.method.lower()}"] += 1
        if request.method != "POST":
            return await self.caches.answer(request, owner_of(key))
        sent = decode(await request.body(), schema.CachedRequest)
        return self.caches.create(self.files.resolved(sent, key), owner_of(key))

    async def call(self, request: Request) -> Response | BreakableStream:
        """Answer `POST models/{name}:{verb}`."""
        key = self.keys.of_request(request)
        name, verb = request.path_params["name"], request.path_params["verb"]
        body = await request.body()
        if len(body) > _MOST_BODY:
            raise invalid("Request payload size exceeds the limit: 104857600 bytes.")
        self._seen[f"api_{verb}"] += 1
        model = api_models.find(name, verb)
        match verb:
            case "countTokens":
                counted = decode(body, schema.CountedRequest)
                inner = counted.generate_content_request
                messages = inner.contents if inner is not None else counted.contents
                return JSONResponse({"totalTokens": prompt_tokens(messages)})
            case "generateContent" | "streamGenerateContent":
                sent = self.files.resolved(decode(body, schema.Request), key)
                sent, cached = self.caches.completed(sent, owner_of(key), model)
                self.check_request(sent, model)
                self.keys.use(key, model)
                cached = cached or self.implicit.known_tokens(sent, key.key, model)
                return await self.generate(request, sent, model, streams=verb.startswith("stream"), cached=cached)
            case "embedContent" | "batchEmbedContents":
                return self.embed(key, model, body, verb)
            case _:
                raise no_method(request.url.path)

    def check_request(self, sent: schema.Request, model: api_models.SimulatedModel) -> None:
        """Check a request to a model; raise ApiRefusal if it is wrong."""
        if model.kind == "interaction":
            raise invalid("This model only supports Interactions API.")
        RequestCheck(sent, model, self._signatures.__contains__).run()

    async def generate(
        self,
        request: Request,
        sent: schema.Request,
        model: api_models.SimulatedModel,
        *,
        streams: bool,
        cached: int,
    ) -> Response | BreakableStream:
        """Answer a checked request, of which some tokens were cached."""
        made = answer(sent, model)
        made = msgspec.structs.replace(made, script=self._faults.once(made.script), cached_tokens=cached)
        refuse_as_ordered(made.script, model.id, streams=streams)
        writer = ModelAnswerWriter(sent, model, made, secrets.token_urlsafe(16), self.sign)
        if not streams:
            await self._clock.sleep(self._config.pace.first_token_seconds)
            whole = JSONResponse(await writer.whole())
            if not breaks(made.script):
                return whole
            return BreakableStream(broken_whole(bytes(whole.body), made.script, self._clock), self._seen, lambda: None)
        sse = request.query_params.get("alt") == "sse"
        chunks = streamed(writer, made, self._config.pace, self._clock, sse=sse)
        stream = BreakableStream(chunks, self._seen, lambda: None)
        stream.headers = {"content-type": "text/event-stream" if sse else "application/json; charset=utf-8"}
        return stream

    def embed(self, key: SimulatedKey, model: api_models.SimulatedModel, body: bytes, verb: str) -> Response:
        """Answer with embeddings."""
        sent = read_embeds(body, model.id, verb)
        self.keys.use(key, model)
        return self.embedded(model, sent, verb)

    def embedded(self, model: api_models.SimulatedModel, sent: Sequence[EmbedRequest], verb: str) -> Response:
        """Return the answer to checked requests for embeddings."""
        for one in sent:
            refuse_as_ordered(self._faults.once(script_of(texts(one.content))), model.id, streams=False)
        vectors = [{"values": vector_of(one)} for one in sent]
        tokens = prompt_tokens([one.content for one in sent])
        found = {"embedding": vectors[0]} if verb == "embedContent" else {"embeddings": vectors}
        return JSONResponse(found | {"usageMetadata": {"promptTokenCount": tokens, "totalTokenCount": tokens}})

    def sign(self) -> str:
        """Issue a signature."""
        signature = secrets.token_bytes(48)
        self._signatures[signature] = None
        while len(self._signatures) > _MOST_SIGNATURES:
            self._signatures.popitem(last=False)
        return base64.b64encode(signature).decode()


def owner_of(key: SimulatedKey) -> CacheOwner:
    """Return the project of a key: each is one of its own."""
    return CacheOwner(project=key.key, pays=key.tier == "paid")
