"""Model names: `<base>[-<capability>][-extended]`, suffixes in any order.

The catalogue is data: `Catalogue.build` adds the operator's models to `DEFAULT_MODELS`. The transport decides which
upstream model a base stands for, by `Model.family`, `Model.upstream` and the models that it discovers.

Models that compute embeddings, speak or write down speech do nothing else, so their names have no suffixes.

Example: `gemini-3.5-flash-canvas-extended` is the base `gemini-3.5-flash` with the capability canvas and extended
thinking.

Clients write names in many ways: `models/gemini-3-pro`, `google/gemini-3-pro`, `GEMINI-3-PRO`, `gemini-3-pro:latest`,
or `gpt-4o` (`protocol.model.aliases`). `Catalogue.resolve` makes a `Selection` of each; its `id` and `name` are the
only spellings that licenses, logs and conversations see.
"""

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from difflib import get_close_matches
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property, partial
from urllib.parse import unquote

import msgspec

from protocol.model.aliases import DEFAULT_ALIASES, AliasTable, advice_instead_of
from protocol.model.errors import ModelUnknown

_EXTENDED = "extended"
_SHOWN = 64
_NEAR = 0.7
"""The least similarity of names that are suggested for a name that does not exist."""
_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,128}")
"""Names that are safe in a header, a path and a metric label."""
_LONGEST = 256
_REMEMBERED = 1000
_AROUND = string.whitespace + "/\u00a0\u200b\ufeff"
"""Characters around a name that are ignored."""
_PROVIDER_END = re.compile("[/:]")
_TAG = "[:@](?:latest|stable|default|free|beta|online|nitro|floor|exacto|extended|thinking)"
"""A version that some clients append to each model name, and the variants of models that OpenRouter has."""


class Capability(StrEnum):
    """What a turn produces; `CHAT`, and what has models of its own, have no suffix."""

    CHAT = "chat"
    IMAGEN = "imagen"
    VIDEO = "video"
    CANVAS = "canvas"
    DEEPSEARCH = "deepsearch"
    STORYBOOK = "storybook"
    EMBEDDING = "embedding"
    SPEECH = "speech"
    TRANSCRIPTION = "transcription"

    @property
    def has_own_models(self) -> bool:
        """Whether the models that can do it do nothing else."""
        return self in _OWN_MODELS

    @property
    def long_running(self) -> bool:
        """Whether the work takes minutes and continues after the answer to its first turn."""
        return self is Capability.VIDEO or self is Capability.DEEPSEARCH

    @property
    def extendable(self) -> bool:
        """Whether extended thinking can be chosen for it."""
        return self in _EXTENDABLE


_EXTENDABLE = frozenset({Capability.CHAT, Capability.CANVAS, Capability.VIDEO})
_OWN_MODELS = frozenset({Capability.EMBEDDING, Capability.SPEECH, Capability.TRANSCRIPTION})


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
    only_upstream: bool = False
    """Whether only the transports in `upstream` have the model; otherwise those that have its family serve it, too."""
    input_tokens: int = 0
    """The longest prompt; 0: not known."""
    output_tokens: int = 0
    """The longest answer; 0: not known."""

    @property
    def plain(self) -> Capability:
        """What its name means without a suffix: a chat, unless its turns cannot produce one."""
        chats = Capability.CHAT in self.capabilities or not self.capabilities
        return Capability.CHAT if chats else self.capabilities[0]

    def is_at(self, transport: str) -> bool:
        """Return whether a transport may have the model."""
        return not self.only_upstream or transport in self.upstream


_ALL = tuple(capability for capability in Capability if capability not in _OWN_MODELS)
_NO_VIDEO = tuple(capability for capability in _ALL if capability is not Capability.VIDEO)
_SUFFIXED = tuple(capability for capability in _ALL if capability is not Capability.CHAT)

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
    Model(id="gemini-3.7-flash", family="flash", created=1787529600),
    Model(id="gemini-3.8-flash", family="flash", created=1790812800),
    Model(id="gemini-embedding-2", family="embedding", capabilities=(Capability.EMBEDDING,)),
    Model(id="gemini-3.8-flash-tts", family="tts", capabilities=(Capability.SPEECH,)),
    Model(id="gemini-3.8-flash-lite-tts", family="tts-lite", capabilities=(Capability.SPEECH,)),
    Model(id="gemini-3.5-transcribe", family="transcribe", capabilities=(Capability.TRANSCRIPTION,)),
)


class Selection(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A parsed model name."""

    model: Model
    capability: Capability = Capability.CHAT
    extended: bool = False
    """Whether the site's extended thinking is on."""
    base: str | None = None
    """The base that was requested, as the catalogue spells it, if it is an alias or a deprecated model."""
    alias: str = ""
    """The requested name, if it stands for a model only by an `AliasTable`; neither `id` nor `name` has it."""

    @cached_property
    def id(self) -> str:
        """The canonical name of this selection."""
        return f"{self.model.id}{self.suffix}"

    @cached_property
    def name(self) -> str:
        """The requested name, with the base as the catalogue spells it and the suffixes in their usual order."""
        return f"{self.base or self.model.id}{self.suffix}"

    @property
    def deprecated(self) -> str | None:
        """The requested name, if it is deprecated."""
        return None if self.base is None or self.base in self.model.aliases else self.name

    @property
    def suffix(self) -> str:
        """Its capability and extended thinking, as its names have them at the end; empty: a plain chat."""
        suffixed = self.capability in _SUFFIXED and self.capability is not self.model.plain
        capability = f"-{self.capability}" if suffixed else ""
        return f"{capability}{'-' + _EXTENDED if self.extended else ''}"


def _spellings(name: str) -> Iterator[str]:
    """Yield what a name may stand for: the name in lower case, then without a provider before it or a tag after it."""
    text = name.strip(_AROUND)
    if len(text) > _LONGEST:
        return
    text = unquote(text).strip(_AROUND).lower()
    for spelling in dict.fromkeys((text, re.sub(rf"{_TAG}\Z", "", text))):
        yield spelling
        for end in _PROVIDER_END.finditer(spelling):
            yield spelling[end.end() :]


_SUFFIXES = "|".join([*(one.value for one in _SUFFIXED), _EXTENDED])
_PARTS = re.compile(rf"(.*?)((?:-(?:{_SUFFIXES}))*)({_TAG}|)\Z", re.DOTALL)
"""A name without the suffixes and the tag at its end, these suffixes, and the tag."""


def _unchanged(stem: str, suffixes: str, tag: str) -> Iterator[str]:
    yield stem + suffixes + tag


class Catalogue:
    """The models that the gateway knows, by name."""

    def __init__(
        self,
        models: Iterable[Model],
        aliases: Mapping[str, str] | None = None,
        *,
        default_aliases: bool = True,
        list_suffixes: bool = True,
        fallbacks: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Check and index the models, and the aliases in addition to those of the models.

        `list_suffixes`: lists of models have the names with suffixes, too. `fallbacks`: see `fallbacks_of`.

        Raises:
            ValueError: a name occurs twice or is not fit for a header, or a replacement or the model of an alias is not
                in the catalogue.

        """
        self._list_suffixes = list_suffixes
        self._again = partial(
            Catalogue,
            aliases=aliases,
            default_aliases=default_aliases,
            list_suffixes=list_suffixes,
            fallbacks=fallbacks,
        )
        self._own = AliasTable({})
        """The aliases of a license."""
        self._aliases = AliasTable(aliases or {})
        self._defaults = AliasTable(DEFAULT_ALIASES if default_aliases else {})
        self._models: dict[str, Model] = {}
        self._names: dict[str, tuple[str, Model]] = {}
        """Each base and alias as it is spelled, and its model, by the name in lower case."""
        self._resolved: dict[str, Selection] = {}
        """What some of the last requested names stand for."""
        self._personal: dict[tuple[tuple[str, str], ...], Catalogue] = {}
        """The catalogues of licenses with aliases."""
        found = list(models)
        families = {model.family: model.capabilities for model in found if model.capabilities}
        for given in found:
            capabilities = given.capabilities or families.get(given.family, _NO_VIDEO)
            model = self._models[given.id] = msgspec.structs.replace(given, capabilities=capabilities)
            for name in (model.id, *model.aliases):
                if not _NAME.fullmatch(name):
                    raise ValueError(f"the model name {name!r} has characters other than letters, digits and '._-:/'")
                if name.lower() in self._names:
                    raise ValueError(f"the model name {name!r} occurs twice; upper and lower case are the same")
                self._names[name.lower()] = name, model
        for model in self._models.values():
            if model.replaced_by is not None and model.replaced_by not in self._models:
                raise ValueError(f"{model.id!r} is replaced by {model.replaced_by!r}, which is not in the catalogue")
        for alias in self._aliases.names.keys() & self._names.keys():
            raise ValueError(f"the model name {alias!r} occurs twice; upper and lower case are the same")
        self.check_aliases(aliases or {})
        self._fallbacks = fallbacks or {}
        self.check_fallbacks(self._fallbacks)

    def check_aliases(self, aliases: Mapping[str, str]) -> None:
        """Check that each alias is well-formed and stands for a model of the catalogue.

        Raises:
            ValueError: one is not, or does not.

        """
        AliasTable(aliases)
        for alias, target in aliases.items():
            if self._listed(target.lower(), []) is None:
                raise ValueError(f"the alias {alias!r} names {target!r}, which is not in the catalogue")

    def check_fallbacks(self, fallbacks: Mapping[str, Sequence[str]]) -> None:
        """Check that all models of these lists are in the catalogue.

        Raises:
            ValueError: one is not.

        """
        for name in (name for model, others in fallbacks.items() for name in (model, *others)):
            found = self._listed(name, [])
            if found is None or found.id != name:
                raise ValueError(f"the fallbacks name {name!r}, which is not in the catalogue under this name")

    def fallbacks_of(self, selection: Selection, own: Mapping[str, Sequence[str]]) -> tuple[Selection, ...]:
        """Return the models that may answer in place of another, in their order; `own` are lists of the license.

        A list of the license comes before a general one, and one for this very selection before one for its base. The
        models of a base's list get the suffixes of the selection; one that cannot have them is left out.
        """
        for lists in (own, self._fallbacks):
            for name, suffix in ((selection.id, ""), (selection.model.id, selection.suffix)):
                if name in lists:
                    found = (self._listed(f"{other}{suffix}", []) for other in lists[name])
                    return tuple(one for one in found if one is not None)
        return ()

    def with_aliases(self, aliases: Mapping[str, str]) -> "Catalogue":
        """Return this catalogue with the aliases of a license.

        Its names come before all others, and its patterns after the names of models.
        """
        if not aliases:
            return self
        key = tuple(aliases.items())
        if key not in self._personal:
            if len(self._personal) >= _REMEMBERED:
                self._personal.clear()
            found = copy(self)
            found._own, found._resolved = AliasTable(aliases), {}  # noqa: SLF001 -- of this class
            self._personal[key] = found
        return self._personal[key]

    def with_listed(self, listed: Iterable[Model]) -> "Catalogue":
        """Return this catalogue with models that upstreams list; the names of this catalogue keep their meaning.

        A preview of one of its models is another name of it.
        """
        models, found = dict(self._models), dict[str, Model]()
        for one in listed:
            name, base = one.id.lower(), models.get(one.id.removesuffix("-preview"))
            if name in self._names or name in self._aliases.names or not _NAME.fullmatch(name):
                continue
            if base is not None:
                aliases = dict.fromkeys((*base.aliases, one.id))
                models[base.id] = msgspec.structs.replace(base, aliases=tuple(aliases))
                continue
            known = found.get(name, one)
            found[name] = msgspec.structs.replace(
                known,
                upstream={**one.upstream, **known.upstream},
                only_upstream=known.only_upstream and one.only_upstream,
            )
        return self._again([*models.values(), *found.values()])

    @classmethod
    def build(  # noqa: PLR0913 -- the settings of the catalogue
        cls,
        models: Iterable[Model] = (),
        *,
        aliases: Mapping[str, str] | None = None,
        upstream: Mapping[str, Mapping[str, str]] | None = None,
        default_aliases: bool = True,
        list_suffixes: bool = True,
        fallbacks: Mapping[str, Sequence[str]] | None = None,
    ) -> "Catalogue":
        """Return the default catalogue with the operator's models, aliases and upstream ids.

        `aliases` maps a new name to a base, which gets it as another name, or a name or pattern to any valid name.
        `upstream` maps a base to upstream ids by transport.

        Raises:
            ValueError: as the constructor does, or a mapping names no base.

        """
        known = {model.id: model for model in (*DEFAULT_MODELS, *models)}
        others: dict[str, str] = {}
        for alias, base in (aliases or {}).items():
            if base not in known or "*" in alias or "?" in alias:
                others[alias] = base
                continue
            model = known[base]
            known[base] = msgspec.structs.replace(model, aliases=(*model.aliases, alias))
        for base, ids in (upstream or {}).items():
            if base not in known:
                raise ValueError(f"upstream ids are given for {base!r}, which is not in the catalogue")
            model = known[base]
            known[base] = msgspec.structs.replace(model, upstream={**model.upstream, **ids})
        return cls(
            known.values(), others, default_aliases=default_aliases, list_suffixes=list_suffixes, fallbacks=fallbacks
        )

    def resolve(self, name: str) -> Selection:
        """Parse a model name as clients write it: in any case, with blanks, a provider's prefix or a version tag.

        Raises:
            ModelUnknown: the base or the combination of suffixes does not exist; the message lists the valid ones.

        """
        if name in self._resolved:
            return self._resolved[name]
        if len(self._resolved) >= _REMEMBERED:
            self._resolved.clear()
        spellings = {spelling: next(_PARTS.finditer(spelling)) for spelling in _spellings(name)}
        problems = [advice for advice in map(advice_instead_of, spellings) if advice]
        for alias, target in self._targets(spellings):
            found = self._listed(target.lower(), problems)
            if found is not None:
                found = msgspec.structs.replace(found, alias=alias) if alias else found
                if len(name) <= _LONGEST:
                    self._resolved[name] = found
                return found
        shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in name[:_SHOWN])
        advice = problems[0] if problems else self._advice(name)
        raise ModelUnknown(f"The model '{shown}' does not exist. {advice}")

    def _targets(self, spellings: Mapping[str, re.Match[str]]) -> Iterator[tuple[str, str]]:
        """Yield the names that a requested one may stand for in the catalogue, each after its alias; empty: none.

        `spellings` has the name in all its spellings, each split into what may be an alias and the suffixes.
        """
        own, aliases, defaults = self._own, self._aliases, self._defaults
        for targets_of in (
            own.named, _unchanged, own.matching, aliases.named, aliases.matching, defaults.named, defaults.matching,
        ):  # fmt: skip
            for spelling, parts in spellings.items():
                for target in targets_of(*parts.groups()):
                    yield "" if targets_of is _unchanged else spelling, target

    def _listed(self, name: str, problems: list[str]) -> Selection | None:
        """Return the model of a name in lower case that is in the catalogue; add why its suffixes are wrong."""
        base = max((base for base in self._names if name == base or name.startswith(base + "-")), key=len, default=None)
        if base is None:
            return None
        listed, model = self._names[base]
        model = self._models[model.replaced_by or model.id]
        try:
            capability, extended = _parse_suffixes(model, name[len(base) :])
        except ValueError as error:
            problems.append(str(error))
            return None
        requested = listed if listed != model.id else None
        return Selection(model=model, capability=capability, extended=extended, base=requested)

    def _advice(self, name: str) -> str:
        """Return a sentence that lists the models, after those whose names are nearest to a name."""
        names = [selection.name for selection in self.selections()]
        near = (get_close_matches(spelling[:_SHOWN], names, cutoff=_NEAR) for spelling in _spellings(name))
        return f"{_guess(next(filter(None, near), ()))}Known models: {', '.join(self._models)}."

    def selections(self) -> Iterator[Selection]:
        """Yield every valid selection in the order of the catalogue, including deprecated bases."""
        for listed in self._models.values():
            model = self._models[listed.replaced_by] if listed.replaced_by else listed
            for capability in model.capabilities:
                for extended in (False, True):
                    if extended and not capability.extendable:
                        continue
                    base = listed.id if listed.replaced_by else None
                    yield Selection(model=model, capability=capability, extended=extended, base=base)

    def named(self) -> Iterator[Selection]:
        """Yield every valid selection under each of its names, aliases included: first those without a suffix."""
        suffixed: list[Selection] = []
        for selection in self.selections():
            aliases = selection.model.aliases if selection.base is None else ()
            named = (selection, *(msgspec.structs.replace(selection, base=alias) for alias in aliases))
            if selection.suffix:
                suffixed += named
            else:
                yield from named
        for table in (self._aliases, self._own):
            for alias in table.names:
                yield self.resolve(alias)
        yield from suffixed

    def listed(self) -> Iterator[Selection]:
        """Yield the selections for lists of models, as `named`; without suffixes, if the operator wants that."""
        return (one for one in self.named() if self._list_suffixes or one.alias or not one.suffix)

    def unmatched(self, patterns: Iterable[str]) -> list[str]:
        """Return the shell-style patterns of a license that match the name of no model."""
        names = [selection.name for selection in self.named()]
        return [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]


def _parse_suffixes(model: Model, text: str) -> tuple[Capability, bool]:
    """Return the capability that suffixes such as `-canvas-extended` mean, and whether extended thinking is on.

    Raises:
        ValueError: the model does not take these suffixes.

    """
    suffixes = text.split("-")[1:]
    plain = model.plain
    if plain.has_own_models and suffixes:
        raise ValueError(f"'{model.id}' takes no suffix.")
    allowed = {c.value: c for c in model.capabilities if c in _SUFFIXED}
    chosen = [suffix for suffix in suffixes if suffix != _EXTENDED]
    extended = len(chosen) < len(suffixes)
    wrong = (
        any(suffix not in allowed for suffix in chosen)
        or len(chosen) > 1
        or len(suffixes) - len(chosen) > 1
        or (extended and not (allowed[chosen[0]] if chosen else plain).extendable)
    )
    if wrong:
        near = [f"{model.id}-{one}" for suffix in chosen for one in get_close_matches(suffix, allowed, 1, _NEAR)]
        others = " or ".join(name for name, capability in allowed.items() if capability.extendable)
        takes = f"'{model.id}' takes one of: {', '.join(allowed)}; or {_EXTENDED}, alone or with {others}."
        raise ValueError(f"{_guess(near[:1])}{takes}")
    return (allowed[chosen[0]] if chosen else plain), extended


def _guess(near: Sequence[str]) -> str:
    return f"Did you mean {' or '.join(repr(one) for one in near)}? " if near else ""
