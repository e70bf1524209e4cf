"""The contents that clients have cached: each belongs to a project, and to one model.

Source: "Context caching".
"""

import secrets
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from transports.clock import Clock
from transports.simulator.api import api_models
from transports.simulator.api import request_schema as schema
from transports.simulator.api.api_files import shown_time
from transports.simulator.api.pages import page_of
from transports.simulator.api.request_reader import check_messages, decode
from transports.simulator.api.rpc_errors import ApiRefusal, invalid, no_free_cache
from transports.simulator.api.simulated_model import prompt_tokens

_USUAL_SECONDS = 3600.0
_MUTABLE = frozenset({"ttl", "expireTime", "expire_time"})


class CacheOwner(msgspec.Struct, frozen=True, kw_only=True):
    """The project that contents are cached for."""

    project: str
    place: str = ""
    """What the names of its cached contents begin with."""
    models: str = "models/"
    """What the names of its models begin with."""
    pays: bool = True

    def missing(self, name: str) -> ApiRefusal:
        """Return the error of contents that do not exist, have expired or belong to another project."""
        if self.place:
            return ApiRefusal(404, f"Not found: cached content metadata for {name.rpartition('/')[2]}.")
        return ApiRefusal(403, "CachedContent not found (or permission denied)")


class KeptContents(msgspec.Struct, kw_only=True):
    """Cached contents."""

    name: str
    owner: CacheOwner
    sent: schema.CachedRequest
    tokens: int
    created: float
    updated: float
    expires: float

    def shown(self) -> dict[str, Any]:
        """Return what the API shows about the contents, which it hides."""
        title = {"displayName": self.sent.display_name} if self.sent.display_name else {}
        times = {"createTime": self.created, "updateTime": self.updated, "expireTime": self.expires}
        return (
            {"name": self.name, "model": self.sent.model}
            | title
            | {name: shown_time(at) for name, at in times.items()}
            | {"usageMetadata": {"totalTokenCount": self.tokens}}
        )


class CachedContents:
    """The cached contents of all projects."""

    def __init__(self, clock: Clock) -> None:
        """Let contents expire by the clock."""
        self._clock = clock
        self._kept: dict[str, KeptContents] = {}

    async def answer(self, request: Request, owner: CacheOwner) -> Response:
        """Answer a request to change or show cached contents whose body, if any, names no uploaded file."""
        if "name" not in request.path_params:
            own = [kept.shown() for kept in self.of(owner)]
            return JSONResponse(page_of(request, "cachedContents", own))
        kept = self.find(f"{owner.place}cachedContents/{request.path_params['name']}", owner)
        match request.method:
            case "DELETE":
                del self._kept[kept.name]
                return JSONResponse({})
            case "PATCH":
                self.extend(kept, decode(await request.body(), schema.CachedRequest), request)
            case _:
                pass
        return JSONResponse(kept.shown())

    def create(self, sent: schema.CachedRequest, owner: CacheOwner) -> Response:
        """Cache contents.

        Raises:
            ApiRefusal: the contents cannot be cached.

        """
        model = self.model_of(sent, owner)
        if not (sent.contents or sent.system_instruction or sent.tools):
            raise invalid("CachedContent must have at least one content.")
        check_messages(sent.contents, "CachedContent")
        system = [sent.system_instruction] if sent.system_instruction is not None else []
        tokens, now = prompt_tokens([*system, *sent.contents]), self._clock.wall()
        if not owner.pays:
            raise no_free_cache(model.id, tokens)
        if tokens < model.least_cached:
            counts = f"total_token_count={tokens}, min_total_token_count={model.least_cached}"
            raise invalid(f"Cached content is too small. {counts}")
        kept = KeptContents(
            name=f"{owner.place}cachedContents/{secrets.token_hex(16)}",
            owner=owner, sent=sent, tokens=tokens,
            created=now, updated=now, expires=self.expiry(sent, now + _USUAL_SECONDS),
        )  # fmt: skip
        self._kept[kept.name] = kept
        return JSONResponse(kept.shown())

    def model_of(self, sent: schema.CachedRequest, owner: CacheOwner) -> api_models.SimulatedModel:
        """Return the model that contents are cached for; raise ApiRefusal if it cannot be used."""
        if not sent.model.startswith(owner.models):
            raise invalid(f"* CachedContent.model: unexpected model name format, expected {owner.models}{{model}}")
        model = api_models.find(sent.model.removeprefix(owner.models), "createCachedContent")
        if not model.caches:
            message = f"{sent.model} is not found for API version v1beta, or is not supported for createCachedContent."
            raise ApiRefusal(404, message)
        return model

    def extend(self, kept: KeptContents, change: schema.CachedRequest, request: Request) -> None:
        """Set another expiry; raise ApiRefusal if anything else is to change."""
        mask = {one for one in request.query_params.get("updateMask", "").split(",") if one}
        unset = schema.CachedRequest(ttl=change.ttl, expire_time=change.expire_time)
        if change != unset or not mask <= _MUTABLE or (change.ttl is None and change.expire_time is None):
            raise invalid("Only ttl and expire_time of CachedContent can be updated.")
        kept.expires, kept.updated = self.expiry(change, kept.expires), self._clock.wall()

    def expiry(self, sent: schema.CachedRequest, usual: float) -> float:
        """Return when contents expire; raise ApiRefusal if that is not in the future."""
        if sent.ttl is not None and sent.expire_time is not None:
            raise invalid("Invalid value at 'cached_content' (oneof), oneof field 'expiration' is already set.")
        now = self._clock.wall()
        until = usual if sent.ttl is None else now + float(sent.ttl.removesuffix("s"))
        if sent.expire_time is not None:
            until = datetime.fromisoformat(sent.expire_time).timestamp()
        if until <= now:
            raise invalid("CachedContent expiration must be in the future.")
        return until

    def of(self, owner: CacheOwner) -> list[KeptContents]:
        """Return the contents of a project; forget all expired ones."""
        now = self._clock.wall()
        self._kept = {name: kept for name, kept in self._kept.items() if kept.expires > now}
        return [kept for kept in self._kept.values() if kept.owner == owner]

    def find(self, name: str, owner: CacheOwner) -> KeptContents:
        """Return contents by their name; raise ApiRefusal if the project has none."""
        found = [kept for kept in self.of(owner) if kept.name == name]
        if not found:
            raise owner.missing(name)
        return found[0]

    def completed(
        self, sent: schema.Request, owner: CacheOwner, model: api_models.SimulatedModel
    ) -> tuple[schema.Request, int]:
        """Return a request with the cached contents that it names before its own, and their tokens.

        Raises:
            ApiRefusal: they cannot be used, or not with this request.

        """
        if not sent.cached_content:
            return sent, 0
        kept = self.find(sent.cached_content, owner)
        if sent.system_instruction is not None or sent.tools or sent.tool_config is not None:
            raise invalid(
                "CachedContent can not be used with GenerateContent request setting system_instruction, tools or "
                "tool_config.\n\nProposed fix: move those values to CachedContent from GenerateContent request."
            )
        if kept.sent.model.rpartition("/")[2] != model.id:
            raise invalid(
                f"Model used by GenerateContent request ({owner.models}{model.id}) and CachedContent "
                f"({kept.sent.model}) has to be the same."
            )
        if not sent.contents:
            raise invalid("* GenerateContentRequest.contents: contents is not specified")
        whole = msgspec.structs.replace(
            sent,
            contents=[*kept.sent.contents, *sent.contents],
            system_instruction=kept.sent.system_instruction,
            tools=kept.sent.tools,
            tool_config=kept.sent.tool_config,
            cached_content="",
        )
        return whole, kept.tokens
