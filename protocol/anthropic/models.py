"""The endpoints `GET /models` and `GET /models/{id}`, for clients of Anthropic's."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.http.body import encode_json
from protocol.http.context import caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.http.own_models import may_be_listed
from protocol.model import BadRequest, Engine, Selection

_MOST = 1000


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """A model in Anthropic's form."""

    id: str
    display_name: str
    created_at: datetime
    lifecycle: Literal["active", "deprecated"]


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """Models that a license may use."""

    data: Sequence[ModelInfo]
    has_more: bool
    """Whether there are more in the direction of the request."""
    first_id: str | None
    last_id: str | None


class AnthropicModels:
    """Endpoints that list the models of an engine."""

    def __init__(self, engine: Engine) -> None:
        """Serve the models of `engine`."""
        self._engine = engine

    async def list(self, request: Request) -> ASGIResponse:
        """Return the models that the caller may use: all, or the page that the query asks for.

        Raises:
            BadRequest: `limit` is out of range, or a cursor names no model of the list.

        """
        caller = caller_of(context_of(request.scope))
        catalogue = self._engine.catalogue.with_aliases(caller.aliases)
        chat = (
            one for one in catalogue.listed() if not one.capability.has_own_models and may_be_listed(self._engine, one)
        )
        data = [_info(selection) for selection in chat if caller.may_use(selection)]
        return Response(encode_json(_page(data, request.query_params)), media_type="application/json")

    async def retrieve(self, request: Request) -> ASGIResponse:
        """Return one model.

        Raises:
            ModelUnknown: the model does not exist.
            Forbidden: the license does not cover the model.

        """
        caller = caller_of(context_of(request.scope))
        selection = self._engine.catalogue.with_aliases(caller.aliases).resolve(request.path_params["model"])
        caller.permit(selection)
        return Response(encode_json(_info(selection)), media_type="application/json")


def _page(models: list[ModelInfo], query: Mapping[str, str]) -> ModelPage:
    limit = query.get("limit", str(_MOST))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= _MOST):
        raise BadRequest(f"'limit' must be a number from 1 to {_MOST}.", param="limit")
    after, before = (_place(models, query, name) for name in ("after_id", "before_id"))
    found = models[0 if after is None else after + 1 : before]
    backwards = before is not None and after is None
    kept = found[-int(limit) :] if backwards else found[: int(limit)]
    first, last = (kept[0].id, kept[-1].id) if kept else (None, None)
    return ModelPage(data=kept, has_more=len(kept) < len(found), first_id=first, last_id=last)


def _place(models: list[ModelInfo], query: Mapping[str, str], name: str) -> int | None:
    """Return the index of the model that a cursor names; None: there is no such cursor."""
    cursor = query.get(name)
    if not cursor:
        return None
    places = (index for index, model in enumerate(models) if model.id == cursor)
    place = next(places, None)
    if place is None:
        raise BadRequest(f"'{name}' must be the id of a model of the list.", param=name)
    return place


def _info(selection: Selection) -> ModelInfo:
    name = selection.alias or selection.name
    return ModelInfo(
        id=name,
        display_name=" ".join(word.capitalize() for word in name.split("-")),
        created_at=datetime.fromtimestamp(selection.model.created, UTC),
        lifecycle="active" if selection.deprecated is None else "deprecated",
    )
