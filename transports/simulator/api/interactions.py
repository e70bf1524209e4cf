"""The endpoints of interactions: begin, read, stream, resume, cancel, delete.

Source: "Interactions", "Video".
"""

import base64
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from transports.clock import Clock
from transports.simulator import sample_media
from transports.simulator.api import api_models
from transports.simulator.api import interaction_schema as schema
from transports.simulator.api.api_files import API_VERSIONS, UPLOADED, ApiFiles
from transports.simulator.api.api_keys import KeyRing, SimulatedKey
from transports.simulator.api.generated_files import GeneratedFile, GeneratedFiles
from transports.simulator.api.interaction_check import (
    check_background,
    check_for_model,
    check_revision,
    film_order,
    read_request,
)
from transports.simulator.api.interaction_record import InteractionRecord
from transports.simulator.api.interaction_stream import event_stream, place_after
from transports.simulator.api.interaction_work import InteractionWork, film_work, model_work, research_work
from transports.simulator.api.ordered_faults import OrderedFaults, refuse_as_ordered
from transports.simulator.api.rpc_errors import ApiRefusal, interaction_response, invalid
from transports.simulator.breakable_stream import BreakableStream
from transports.simulator.config import SimulatorConfig
from transports.simulator.media import origin_of
from transports.simulator.prompt_directives import PromptScript

_MOST_KEPT = 10_000
_MOST_INLINE = 4_000_000
"""Bytes of a film within an answer."""

Answer = Response | BreakableStream
Handler = Callable[[Request], Awaitable[Answer]]


class ApiParts(msgspec.Struct, frozen=True):
    """What the endpoints of the simulated API share."""

    keys: KeyRing
    faults: OrderedFaults
    files: ApiFiles


class SimulatedInteractions:
    """The interactions of all keys."""

    def __init__(self, config: SimulatorConfig, clock: Clock, seen: Counter[str], parts: ApiParts) -> None:
        """Count requests in `seen`; inputs name files of `parts`, or those that were made here."""
        self._config, self._clock, self._seen = config, clock, seen
        self._keys, self._faults = parts.keys, parts.faults
        self._records: OrderedDict[str, InteractionRecord] = OrderedDict()
        self._uploads, self._files = parts.files, GeneratedFiles()

    def routes(self) -> list[Route]:
        """Return the routes, which are the same below each version."""
        guarded = self._guarded
        return [
            route
            for path in (f"/{version}/interactions" for version in API_VERSIONS)
            for route in (
                Route(path, guarded(self.begin), methods=["POST"]),
                Route(f"{path}/{{identity}}", guarded(self.read), methods=["GET"]),
                Route(f"{path}/{{identity}}", guarded(self.delete), methods=["DELETE"]),
                Route(f"{path}/{{identity}}/cancel", guarded(self.cancel), methods=["POST"]),
            )
        ]

    def _guarded(self, handler: Handler) -> Handler:
        """Return a handler that turns an ApiRefusal into its answer."""

        async def guarded(request: Request) -> Answer:
            try:
                return await handler(request)
            except ApiRefusal as error:
                self._seen[f"api_{error.code}"] += 1
                return interaction_response(error)

        return guarded

    async def begin(self, request: Request) -> Answer:
        """Answer `POST interactions`."""
        key = self._checked(request)
        body = read_request(await request.body())
        self._seen["api_interaction"] += 1
        check_background(body)
        work = self._work(request, key, body)
        work = msgspec.structs.replace(work, script=self._faults.once(work.script))
        refuse_as_ordered(work.script, body.model or body.agent, streams=body.stream)
        record = InteractionRecord(f"v1_{secrets.token_urlsafe(24)}", key.key, body, work, self._clock.wall())
        if body.store:
            self._records[record.id] = record
            while len(self._records) > _MOST_KEPT:
                self._records.popitem(last=False)
        if body.stream:
            return self._stream(record, 0, record.work.script)
        if not body.background:
            await self._clock.sleep(record.work.seconds)
        return JSONResponse(record.json(self._clock.wall()))

    def _work(self, request: Request, key: SimulatedKey, body: schema.InteractionRequest) -> InteractionWork:
        """Return the work of a request after all checks."""
        before = self._before(key, body)
        self._check_files(key, body)
        if body.agent:
            agent = api_models.find_agent(body.agent)
            self._keys.use(key, agent)
            asked = before[0].request if before else body
            return research_work(body, self._config, asked)
        model = api_models.find(body.model, "interactions")
        check_for_model(body, model)
        self._keys.use(key, model)
        if model.kind == "interaction":
            self._seen[f"api_film_{film_order(body)}"] += 1
            return film_work(body, self._config, lambda script: self._film(request, key, body, script))
        steps = [step for record in before for step in self._as_input(record)]
        return model_work(body, steps, model, self._config, lambda: f"call_{secrets.token_hex(6)}")

    def _check_files(self, key: SimulatedKey, body: schema.InteractionRequest) -> None:
        """Check the files of the API that an input names: they exist, are the key's, and have been processed."""
        steps = [step for step in body.steps if isinstance(step, schema.UserStep | schema.OutputStep)]
        for content in (content for step in steps for content in step.content):
            if isinstance(content, schema.TextInput):
                continue
            if bool(content.data) == bool(content.uri):
                raise invalid("A file has either 'data' or 'uri'.")
            name = UPLOADED.search(content.uri)
            if name is not None and not self._files.has(name[1], key.key):
                self._uploads.usable(f"files/{name[1]}", key)

    def _before(self, key: SimulatedKey, body: schema.InteractionRequest) -> list[InteractionRecord]:
        """Return the interactions that a request continues, oldest first."""
        found: list[InteractionRecord] = []
        identity = body.previous_interaction_id
        while identity:
            record = self._find(identity, key.key)
            if not record.is_over(self._clock.wall()):
                raise invalid("The previous interaction has not ended.")
            found.insert(0, record)
            identity = record.request.previous_interaction_id
        return found

    def _as_input(self, record: InteractionRecord) -> list[schema.StepInput]:
        made = [step for step in record.steps(self._clock.wall()) if step["type"] != "thought"]
        return [*record.request.steps, *msgspec.convert(made, list[schema.StepInput])]

    def _film(
        self, request: Request, key: SimulatedKey, body: schema.InteractionRequest, script: PromptScript
    ) -> dict[str, Any]:
        """Return the content of a film."""
        content = sample_media.TALL_VIDEO if body.film.aspect_ratio == "9:16" else sample_media.WIDE_VIDEO
        size = max(len(content), script.image_bytes or 0)
        found = {"type": "video", "mime_type": "video/mp4"}
        if body.film.delivery == "inline":
            if size > _MOST_INLINE:
                raise invalid("The video is too long for inline delivery: use delivery 'uri'.")
            return found | {"data": base64.b64encode(content.ljust(size, b"\0")).decode()}
        name = self._files.add(GeneratedFile(key=key.key, mime="video/mp4", content=content, size=size))
        return found | {"uri": f"{origin_of(request)}/v1beta/files/{name}:download?alt=media"}

    async def read(self, request: Request) -> Answer:
        """Answer `GET interactions/{id}`."""
        record = self._found(request)
        query = request.query_params
        self._seen["api_interaction_read"] += 1
        if query.get("stream") == "true":
            place = place_after(query.get("last_event_id"))
            self._seen["api_interaction_resumed" if place else "api_interaction_followed"] += 1
            script = PromptScript(text="") if place or record.request.stream else record.work.script
            return self._stream(record, place, script)
        if query.get("last_event_id"):
            raise invalid("'last_event_id' needs 'stream' to be true.")
        if record.errors_left:
            record.errors_left -= 1
            raise ApiRefusal(503, "The service is currently unavailable.")
        return JSONResponse(record.json(self._clock.wall(), with_input=query.get("include_input") == "true"))

    async def cancel(self, request: Request) -> Answer:
        """Answer `POST interactions/{id}/cancel`."""
        record, now = self._found(request), self._clock.wall()
        if not record.request.background or record.is_over(now):
            raise invalid("Only interactions in the background that are in progress can be cancelled.")
        self._seen["api_interaction_cancelled"] += 1
        record.cancelled = now
        return JSONResponse(record.json(now))

    async def delete(self, request: Request) -> Answer:
        """Answer `DELETE interactions/{id}`."""
        del self._records[self._found(request).id]
        self._seen["api_interaction_deleted"] += 1
        return JSONResponse({})

    async def download(self, request: Request) -> Answer:
        """Answer `GET files/{name}:download`."""
        key = self._keys.of_request(request)
        if request.query_params.get("alt") != "media":
            raise invalid("Use alt=media to download a file.")
        self._seen["api_download"] += 1
        return self._files.download(request.path_params["name"], key.key)

    def _checked(self, request: Request) -> SimulatedKey:
        key = self._keys.of_request(request)
        check_revision(request.headers.get("api-revision"))
        return key

    def _found(self, request: Request) -> InteractionRecord:
        return self._find(request.path_params["identity"], self._checked(request).key)

    def _find(self, identity: str, key: str) -> InteractionRecord:
        record = self._records.get(identity)
        if record is None or record.key != key:
            raise ApiRefusal(404, f"Interaction {identity[:80]} is not found.")
        return record

    def _stream(self, record: InteractionRecord, place: int, script: PromptScript) -> BreakableStream:
        stream = BreakableStream(event_stream(record, place, script, self._clock), self._seen, lambda: None)
        stream.headers = {"content-type": "text/event-stream"}
        return stream
