"""The endpoints `GET /models` and `GET /models/{id}`."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from protocol.http.body import encode_json
from protocol.http.context import caller_of, context_of
from protocol.http.errors import ASGIResponse
from protocol.http.own_models import may_be_listed
from protocol.model import Capability, Engine, Selection

_TAKEN = {
    Capability.EMBEDDING: ("text",),
    Capability.SPEECH: ("text",),
    Capability.TRANSCRIPTION: ("audio", "video"),
}
_ALL_TAKEN = ("text", "image", "file", "audio", "video")
_MADE = {
    Capability.IMAGEN: ("text", "image"),
    Capability.VIDEO: ("text", "video"),
    Capability.STORYBOOK: ("text", "image"),
    Capability.EMBEDDING: ("embedding",),
    Capability.SPEECH: ("audio",),
}


Key = tuple[Capability, bool, bool, frozenset[tuple[str, str]]]


class SiteModel(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream model, with the upstream's names."""

    id: str | None
    name: str | None
    """The display name, such as `3.7 Flash`."""


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """A model in OpenAI's form, with fields of this gateway."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "google"
    capability: str
    """What it does: chat, imagen, video, canvas, deepsearch, storybook, embedding, speech or transcription."""
    family: str
    extended_thinking: bool
    needs_account: bool
    input_modalities: list[str]
    output_modalities: list[str]
    available: bool
    """Whether an account can serve it now: one with quota that is not in a cooldown and needs no attention."""
    served_by: list[SiteModel]
    """The upstream models that serve it; several if accounts differ, none while unknown."""
    alias_of: str | None
    """The newest name of the same upstream model, if this is another name."""
    deprecated: bool
    replaced_by: str | None


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The models that a license may use."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class Models:
    """Endpoints that list the models of an engine."""

    def __init__(self, engine: Engine) -> None:
        """Serve the models of `engine`."""
        self._engine = engine

    async def list(self, request: Request) -> ASGIResponse:
        """Return the models that the caller may use."""
        caller = caller_of(context_of(request.scope))
        catalogue = self._engine.catalogue.with_aliases(caller.aliases)
        listed = (one for one in catalogue.listed() if caller.may_use(one) and may_be_listed(self._engine, one))
        newest = self._newest()
        data = [self._object(one, newest) for one in listed]
        return Response(encode_json(ModelList(data=data)), media_type="application/json")

    async def retrieve(self, request: Request) -> ASGIResponse:
        """Return one model.

        Raises:
            ModelUnknown: the model does not exist.
            Forbidden: the license does not cover the model.

        """
        caller = caller_of(context_of(request.scope))
        selection = self._engine.catalogue.with_aliases(caller.aliases).resolve(request.path_params["model"])
        caller.permit(selection)
        return Response(encode_json(self._object(selection, self._newest())), media_type="application/json")

    def _key(self, selection: Selection) -> Key:
        """Return what the names of one upstream model have in common; a guest cannot choose a model."""
        guest = selection.model.guest
        return selection.capability, selection.extended, guest, self._engine.asked_for(selection)

    def _newest(self) -> dict[Key, str]:
        """Return the newest name of each upstream model."""
        current = (one for one in self._engine.catalogue.selections() if one.base is None)
        return {self._key(one): one.id for one in sorted(current, key=lambda one: one.model.created)}

    def _object(self, selection: Selection, newest_names: dict[Key, str]) -> ModelObject:
        model, name = selection.model, selection.alias or selection.name
        served_by = list(self._engine.served_by(selection))
        main = newest_names.get(self._key(selection), selection.id)
        return ModelObject(
            id=name,
            created=model.created,
            capability=selection.capability.value,
            family=model.family,
            extended_thinking=selection.extended,
            needs_account=not (model.guest and selection.capability is Capability.CHAT),
            input_modalities=["text"] if model.guest else [*_TAKEN.get(selection.capability, _ALL_TAKEN)],
            output_modalities=[*_MADE.get(selection.capability, ("text",))],
            available=self._engine.available(selection),
            served_by=[SiteModel(id=served.id or None, name=served.name or None) for served in served_by],
            alias_of=main if main != name else None,
            deprecated=selection.deprecated is not None,
            replaced_by=selection.id if selection.deprecated is not None else None,
        )
