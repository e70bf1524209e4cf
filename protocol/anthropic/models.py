"""The endpoints `GET /models` and `GET /models/{id}`, for clients of Anthropic's."""

from datetime import UTC, datetime
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.http.body import encode_json
from protocol.http.context import caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.model import Engine, Selection


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True, tag="model"):
    """A model in Anthropic's form."""

    id: str
    display_name: str
    created_at: datetime
    lifecycle: Literal["active", "deprecated"]


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """All models that a license may use, on one page."""

    data: list[ModelInfo]
    has_more: bool = False
    first_id: str | None
    last_id: str | None


class AnthropicModels:
    """Endpoints that list the models of an engine."""

    def __init__(self, engine: Engine) -> None:
        """Serve the models of `engine`."""
        self._catalogue = engine.catalogue

    async def list(self, request: Request) -> ASGIResponse:
        """Return the models that the caller may use."""
        caller = caller_of(context_of(request.scope))
        catalogue = self._catalogue.with_aliases(caller.aliases)
        data = [_info(selection) for selection in catalogue.listed() if caller.may_use(selection)]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        page = ModelPage(data=data, first_id=first, last_id=last)
        return Response(encode_json(page), media_type="application/json")

    async def retrieve(self, request: Request) -> ASGIResponse:
        """Return one model.

        Raises:
            ModelUnknown: the model does not exist.
            Forbidden: the license does not cover the model.

        """
        caller = caller_of(context_of(request.scope))
        selection = self._catalogue.with_aliases(caller.aliases).resolve(request.path_params["model"])
        caller.permit(selection)
        return Response(encode_json(_info(selection)), media_type="application/json")


def _info(selection: Selection) -> ModelInfo:
    name = selection.alias or selection.name
    return ModelInfo(
        id=name,
        display_name=" ".join(word.capitalize() for word in name.split("-")),
        created_at=datetime.fromtimestamp(selection.model.created, UTC),
        lifecycle="active" if selection.deprecated is None else "deprecated",
    )
