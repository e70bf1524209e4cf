"""Read the status of an account, and map models of the catalogue to the models that the site offers it; no I/O.

Models are identified by family, never by version: by an id in the built-in table, else by the words of their name.

Source: "Batch calls", "Common request parts", "Who answered".
"""

import re
from enum import StrEnum
from typing import Any

import msgspec

from protocol.model import (
    GatewayError,
    Model,
    UpstreamModel,
)
from transports.web import wire
from transports.web.codec import jspb
from transports.web.codec.encode import ModelHeader


class Family(StrEnum):
    """A group of models, as the site groups them."""

    FLASH = "flash"
    FLASH_LITE = "flash-lite"
    FLASH_THINKING = "flash-thinking"
    PRO = "pro"


class DiscoveredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the site offers to an account."""

    id: str
    name: str
    number: int | None
    family: str = ""
    default: bool = False
    """The site marks it as the default of its family."""


class SiteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of an account as reported by the site."""

    problem: GatewayError | None
    plan: str
    """free, plus, pro, ultra or advanced (an unidentified paid plan)."""
    models: tuple[DiscoveredModel, ...]
    capacity: int | None = None
    """The capacity for the model header; None: that of the plan in `wire.CAPACITIES`."""
    field13: bool = False
    """Whether the capacity is the 13th value of the model header instead of the 12th."""
    trusted: bool = True
    """False: the site denies the account some features."""
    known: bool = True
    """False: the site did not report the status; the other fields are assumptions."""


def decode_status(payload: Any, problem: GatewayError | None, tier: str | None = None) -> SiteStatus:
    """Read the answer of `otAQ7b`; `tier` is the plan from the answer of `jSf9Qc`, if known.

    The plan is `tier`, else the plan that the account's flags name, else a paid plan if the site offers the account a
    model of paid plans. Source: "Batch calls"
    """
    tiers = set(_integers(jspb.array(payload, wire.ACCOUNT_TIERS)))
    flags = set(_integers(jspb.array(payload, wire.ACCOUNT_CAPABILITIES)))
    models = tuple(
        DiscoveredModel(
            id=identifier,
            name=_first_text(entry, wire.DISCOVERED_NAME),
            family=_first_text(entry, wire.DISCOVERED_FAMILY),
            number=jspb.integer(entry, wire.DISCOVERED_NUMBER),
            default=any(jspb.path(entry, path) is True for path in wire.DISCOVERED_DEFAULT),
        )
        for entry in jspb.array(payload, wire.ACCOUNT_MODELS)
        if (identifier := jspb.identifier(entry, *wire.DISCOVERED_ID))
    )
    flagged = "free"
    if wire.PLAN_PLUS in flags:
        flagged = "plus"
    elif wire.PLAN_PRO[0] in tiers or wire.PLAN_PRO[1] in flags:
        flagged = "pro"
    elif wire.PLAN_ADVANCED[0] in tiers or wire.PLAN_ADVANCED[1] in flags:
        flagged = "advanced"
    offered = "advanced" if any(model.id in _PAID for model in models) else "free"
    plan = tier or (flagged if flagged != "free" else offered)
    late = next((capacity for flag, capacity in wire.FIELD_13_CAPACITIES.items() if flag in tiers), None)
    by_plan = wire.CAPACITIES[flagged if "free" not in {plan, flagged} else plan]
    return SiteStatus(problem=problem, plan=plan, models=models, capacity=late or by_plan, field13=late is not None)


_PAID = frozenset(identifier for ids in wire.MODEL_IDS.values() for plan, identifier in ids.items() if plan != "free")
"""Ids of models that only paid plans are offered."""


def _integers(values: list[Any]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _first_text(entry: Any, paths: tuple[tuple[int], tuple[int]]) -> str:
    return next((text for path in paths if (text := jspb.encodable(entry, *path))), "")


_FAMILY_OF_ID: dict[str, str] = {
    **{identifier: Family(family) for family, ids in wire.MODEL_IDS.items() for identifier in ids.values()},
    wire.MODEL_ID_CURRENT_FLASH: Family.FLASH,
    wire.MODEL_ID_AUTO: "",
}

_FAMILY_OF_WORD = {
    "lite": Family.FLASH_LITE,
    "thinking": Family.FLASH_THINKING,
    "pro": Family.PRO,
    "flash": Family.FLASH,
    "fast": Family.FLASH,
}
"""Words in a model's name and their family; the first that occurs decides: "Flash-Lite" is lite."""

_MEDIA_WORDS = frozenset({"banana", "imagen", "veo", "lyria"})
"""Words in the names of models for pictures, videos and music, which belong to no family here."""


def choose(model: Model, transport: str, status: SiteStatus) -> ModelHeader:
    """Return the model header for a model: from the settings, else as discovered, else from the built-in table."""
    table_plan = status.plan if status.plan in {"free", "plus"} else "advanced"
    configured = model.upstream.get(transport)
    if configured:
        found = _by_id(configured, status)
    else:
        fitting = [one for one in status.models if family_of(one) == model.family]
        found = next((one for one in fitting if one.default), fitting[0] if fitting else None)
    number = found.number if found is not None else None
    return ModelHeader(
        id=configured or (found.id if found is not None else wire.MODEL_IDS[model.family][table_plan]),
        number=wire.MODEL_NUMBERS[model.family] if number is None else number,
        capacity=wire.CAPACITIES[status.plan] if status.capacity is None else status.capacity,
        field13=status.field13,
    )


def asked(model: Model, chosen: ModelHeader | None, status: SiteStatus) -> UpstreamModel:
    """Describe the model that a request asks the site for; a guest's request asks for the site's default."""
    if chosen is None:
        return UpstreamModel(family=model.family)
    found = _by_id(chosen.id, status)
    if chosen.id in _FAMILY_OF_ID:
        family = _FAMILY_OF_ID[chosen.id]
    else:
        family = (family_of(found) if found is not None else "") or model.family
    return UpstreamModel(id=chosen.id, name=found.name if found is not None else "", family=family)


def answered(identifier: str, name: str, status: SiteStatus) -> UpstreamModel | None:
    """Describe the model that answered according to the site; None if the site did not name one.

    A picture model answers turns that generate pictures; it does not show which family would have answered.
    """
    if not identifier and not name:
        return None
    found = _by_id(identifier, status)
    if _MEDIA_WORDS.isdisjoint(_words(name)):
        family = _FAMILY_OF_ID.get(identifier) or (family_of(found) if found is not None else "") or _by_words(name)
    else:
        family = ""
    return UpstreamModel(id=identifier, name=name or (found.name if found is not None else ""), family=family)


def family_of(found: DiscoveredModel) -> str:
    """Return a discovered model's family, from the table of ids, else from its name."""
    if found.id in _FAMILY_OF_ID:
        return _FAMILY_OF_ID[found.id]
    return _by_words(found.family) or _by_words(found.name)


def _by_id(identifier: str | None, status: SiteStatus) -> DiscoveredModel | None:
    return next((found for found in status.models if found.id == identifier), None)


def _by_words(name: str) -> str:
    words = _words(name)
    if not _MEDIA_WORDS.isdisjoint(words):
        return ""
    return next((family for word, family in _FAMILY_OF_WORD.items() if word in words), "")


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", name.lower()))
