"""Model names: `<base>[-<capability>][-extended]`, suffixes in any order.

The catalogue is data: `Catalogue.build` adds the operator's models to `DEFAULT_MODELS`. The transport decides which
upstream model a base stands for, by `Model.family`, `Model.upstream` and the models that it discovers.

Example: `gemini-3.5-flash-canvas-extended` is the base `gemini-3.5-flash` with the capability canvas and extended
thinking.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec

from protocol.model.errors import ModelUnknown

_EXTENDED = "extended"
_SHOWN = 64
_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
"""Names that are safe in a header, a path and a metric label."""


class Capability(StrEnum):
    """What a turn produces; `CHAT` has no suffix."""

    CHAT = "chat"
    IMAGEN = "imagen"
    VIDEO = "video"
    CANVAS = "canvas"
    DEEPSEARCH = "deepsearch"
    STORYBOOK = "storybook"

    @property
    def long_running(self) -> bool:
        """Whether the work takes minutes and continues after the answer to its first turn."""
        return self is Capability.VIDEO or self is Capability.DEEPSEARCH


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One base name of the catalogue."""

    id: str
    family: str
    """The group of models that transports choose from, such as `pro`; each transport has its own families."""
    capabilities: tuple[Capability, ...] = ()
    """What its turns can produce; empty: as the other models of its family, or else everything but video."""
    created: int = 0
    """When it was published, in epoch seconds; shown in the list of models."""
    guest: bool = False
    """The model needs no signed-in account and takes no images or files."""
    replaced_by: str | None = None
    """The base that answers in its place; the model is deprecated."""
    aliases: tuple[str, ...] = ()
    """Other names of the model."""
    upstream: dict[str, str] = {}
    """Upstream model ids by transport name; they replace the search by family and discovery."""


_ALL = tuple(Capability)
_NO_VIDEO = tuple(capability for capability in Capability if capability is not Capability.VIDEO)

DEFAULT_MODELS = (
    Model(id="gemini-2.5-flash-free", family="flash", guest=True, created=1750118400),
    Model(id="gemini-2.5-flash", family="flash", created=1750118400),
    Model(
        id="gemini-2.5-pro",
        family="pro",
        capabilities=_ALL,
        created=1750118400,
        replaced_by="gemini-3-pro",
    ),
    Model(id="gemini-3-pro", family="pro", capabilities=_ALL, created=1763424000),
    Model(id="gemini-3.1-pro", family="pro", capabilities=_ALL, created=1771459200),
    Model(id="gemini-3.5-flash", family="flash", created=1779148800),
    Model(id="gemini-3.5-flash-lite", family="flash-lite", created=1779148800),
    Model(id="gemini-3.6-flash", family="flash", created=1785196800),
)


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed model name."""

    model: Model
    capability: Capability = Capability.CHAT
    extended: bool = False
    """Whether the site's extended thinking is on."""
    deprecated: str | None = None
    """The requested name, if it is deprecated."""

    @property
    def id(self) -> str:
        """The canonical name of this selection."""
        capability = "" if self.capability is Capability.CHAT else f"-{self.capability}"
        return f"{self.model.id}{capability}{'-' + _EXTENDED if self.extended else ''}"


def _shown(name: str) -> str:
    """Return a caller's model name shortened and cleaned for an error message."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in name[:_SHOWN])


class Catalogue:
    """The models that the gateway knows, by name."""

    def __init__(self, models: Iterable[Model]) -> None:
        """Check and index the models.

        Raises:
            ValueError: a name occurs twice or is not fit for a header, or a replacement is not in the catalogue.

        """
        self._models: dict[str, Model] = {}
        self._names: dict[str, Model] = {}
        found = list(models)
        families = {model.family: model.capabilities for model in found if model.capabilities}
        for given in found:
            capabilities = given.capabilities or families.get(given.family, _NO_VIDEO)
            model = self._models[given.id] = msgspec.structs.replace(given, capabilities=capabilities)
            for name in (model.id, *model.aliases):
                if not _NAME.fullmatch(name):
                    raise ValueError(f"the model name {name!r} has characters other than letters, digits and '._-:/'")
                if name in self._names:
                    raise ValueError(f"the model name {name!r} occurs twice")
                self._names[name] = model
        for model in self._models.values():
            if model.replaced_by is not None and model.replaced_by not in self._models:
                raise ValueError(f"{model.id!r} is replaced by {model.replaced_by!r}, which is not in the catalogue")

    @classmethod
    def build(
        cls,
        models: Iterable[Model] = (),
        *,
        aliases: Mapping[str, str] | None = None,
        upstream: Mapping[str, Mapping[str, str]] | None = None,
    ) -> "Catalogue":
        """Return the default catalogue with the operator's models, aliases and upstream ids.

        `aliases` maps a new name to a base; `upstream` maps a base to upstream ids by transport.

        Raises:
            ValueError: as the constructor does, or an alias or mapping names no base.

        """
        known = {model.id: model for model in (*DEFAULT_MODELS, *models)}
        for alias, base in (aliases or {}).items():
            if base not in known:
                raise ValueError(f"the alias {alias!r} names {base!r}, which is not in the catalogue")
            model = known[base]
            known[base] = msgspec.structs.replace(model, aliases=(*model.aliases, alias))
        for base, ids in (upstream or {}).items():
            if base not in known:
                raise ValueError(f"upstream ids are given for {base!r}, which is not in the catalogue")
            model = known[base]
            known[base] = msgspec.structs.replace(model, upstream={**model.upstream, **ids})
        return cls(known.values())

    def resolve(self, name: str) -> Selection:
        """Parse a model name.

        Raises:
            ModelUnknown: the base or the combination of suffixes does not exist; the message lists the valid ones.

        """
        fitting = (base for base in self._names if name == base or name.startswith(base + "-"))
        base = max(fitting, key=len, default=None)
        if base is None:
            known = ", ".join(self._models)
            raise ModelUnknown(f"The model '{_shown(name)}' does not exist. Known models: {known}.")
        model = self._names[base]
        deprecated = name if model.replaced_by is not None else None
        if model.replaced_by is not None:
            model = self._models[model.replaced_by]
        suffixes = name[len(base) + 1 :].split("-") if len(name) > len(base) else []
        capability, extended = self._suffixes(name, model, suffixes)
        return Selection(model=model, capability=capability, extended=extended, deprecated=deprecated)

    def selections(self) -> Iterator[Selection]:
        """Yield every valid selection in the order of the catalogue, including deprecated bases."""
        for listed in self._models.values():
            model = self._models[listed.replaced_by] if listed.replaced_by else listed
            for capability in model.capabilities:
                for extended in (False, True):
                    if extended and capability not in {Capability.CHAT, Capability.CANVAS}:
                        continue
                    selection = Selection(model=model, capability=capability, extended=extended)
                    if listed.replaced_by:
                        old = listed.id + selection.id.removeprefix(model.id)
                        selection = msgspec.structs.replace(selection, deprecated=old)
                    yield selection

    def newest(self, model: Model) -> Model:
        """Return the newest base that stands for the same upstream model.

        A family is one model at the upstream, and the versions in its names here do not matter. Only a mapping to an
        upstream id makes a difference, and a guest, which cannot choose a model.
        """
        same = [
            one
            for one in self._models.values()
            if (one.family, one.guest, one.upstream) == (model.family, model.guest, model.upstream)
        ]
        return max((one for one in same if one.replaced_by is None), key=lambda one: one.created, default=model)

    def _suffixes(self, name: str, model: Model, suffixes: list[str]) -> tuple[Capability, bool]:
        if not suffixes:
            return Capability.CHAT, False
        allowed = {c.value: c for c in model.capabilities if c is not Capability.CHAT}
        possible = f"'{model.id}' takes one of: {', '.join(allowed)}; or {_EXTENDED}, alone or with canvas."
        chosen = [suffix for suffix in suffixes if suffix != _EXTENDED]
        extended = len(chosen) < len(suffixes)
        wrong = (
            any(suffix not in allowed for suffix in chosen)
            or len(chosen) > 1
            or len(suffixes) - len(chosen) > 1
            or (extended and chosen not in ([], [Capability.CANVAS.value]))
        )
        if wrong:
            raise ModelUnknown(f"The model '{_shown(name)}' does not exist: {possible}")
        return (allowed[chosen[0]] if chosen else Capability.CHAT), extended
