"""Map models of the catalogue to the site's models, and the model that answered back; no I/O.

Models are identified by family, never by version: by an id in the built-in table, else by the words of their name.

Source: "Common request parts", "Who answered".
"""

import re

from protocol.model import Family, Model, UpstreamModel
from transports.web import wire
from transports.web.codec.decode import AccountStatus, DiscoveredModel
from transports.web.codec.encode import ModelHeader

_FAMILY_OF_ID: dict[str, Family | None] = {
    **{identifier: Family(family) for family, ids in wire.MODEL_IDS.items() for identifier in ids.values()},
    wire.MODEL_ID_CURRENT_FLASH: Family.FLASH,
    wire.MODEL_ID_AUTO: None,
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


def choose(model: Model, transport: str, status: AccountStatus) -> ModelHeader:
    """Return the model header for a model: from the settings, else as discovered, else from the built-in table."""
    table_plan = status.plan if status.plan in {"free", "plus"} else "advanced"
    configured = model.upstream.get(transport)
    found = _by_id(configured, status) if configured else _by_family(model.family, status)
    number = found.number if found is not None else None
    return ModelHeader(
        id=configured or (found.id if found is not None else wire.MODEL_IDS[model.family.value][table_plan]),
        number=wire.MODEL_NUMBERS[model.family.value] if number is None else number,
        capacity=wire.CAPACITIES[status.plan] if status.capacity is None else status.capacity,
        field13=status.field13,
    )


def asked(model: Model, chosen: ModelHeader | None, status: AccountStatus) -> UpstreamModel:
    """Describe the model that a request asks the site for; a guest's request asks for the site's default."""
    if chosen is None:
        return UpstreamModel(family=model.family)
    found = _by_id(chosen.id, status)
    if chosen.id in _FAMILY_OF_ID:
        family = _FAMILY_OF_ID[chosen.id]
    else:
        family = (family_of(found) if found is not None else None) or model.family
    return UpstreamModel(id=chosen.id, name=found.name if found is not None else "", family=family)


def answered(identifier: str, name: str, status: AccountStatus) -> UpstreamModel | None:
    """Describe the model that answered according to the site; None if the site did not name one.

    A picture model answers turns that generate pictures; it does not show which family would have answered.
    """
    if not identifier and not name:
        return None
    found = _by_id(identifier, status)
    if _MEDIA_WORDS.isdisjoint(_words(name)):
        family = _FAMILY_OF_ID.get(identifier) or (family_of(found) if found is not None else None) or _by_words(name)
    else:
        family = None
    return UpstreamModel(id=identifier, name=name or (found.name if found is not None else ""), family=family)


def family_of(found: DiscoveredModel) -> Family | None:
    """Return a discovered model's family, from the table of ids, else from its name."""
    if found.id in _FAMILY_OF_ID:
        return _FAMILY_OF_ID[found.id]
    return _by_words(found.family) or _by_words(found.name)


def _by_id(identifier: str | None, status: AccountStatus) -> DiscoveredModel | None:
    return next((found for found in status.models if found.id == identifier), None)


def _by_family(family: Family, status: AccountStatus) -> DiscoveredModel | None:
    """Return the family's model: the site's default, else the first."""
    fitting = [found for found in status.models if family_of(found) is family]
    return next((found for found in fitting if found.default), fitting[0] if fitting else None)


def _by_words(name: str) -> Family | None:
    words = _words(name)
    if not _MEDIA_WORDS.isdisjoint(words):
        return None
    return next((family for word, family in _FAMILY_OF_WORD.items() if word in words), None)


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", name.lower()))
