"""The simulated site's models: which plans may use which model, and which one answers. No I/O.

Source: "Common request parts"
"""

from typing import Any

import msgspec

from transports.simulator import encode
from transports.web import wire

DEFAULT = "flash"
SMALLEST = "flash-lite"
"""Answers requests for a model that the plan does not include."""
FAMILIES = tuple(wire.MODEL_IDS)
PICTURES = "Nano Banana 2"
"""Model name in answers of image turns."""

_NAMES = {
    "flash": "3.6 Flash",
    "pro": "3.1 Pro",
    "flash-thinking": "3.6 Thinking",
    "flash-lite": "3.5 Flash-Lite",
}
_SHOWN_FAMILIES = {"flash": "Flash", "pro": "Pro", "flash-thinking": "Thinking", "flash-lite": "Flash-Lite"}
_ABOUT = {
    "flash": "All-around help",
    "pro": "Advanced reasoning",
    "flash-thinking": "Solves complex problems",
    "flash-lite": "Fastest answers",
}
_QUOTA_IDS = {"flash": 20, "pro": 4, "flash-thinking": 15, "flash-lite": 1}
_LISTED = ("flash-lite", "flash", "pro")
"""The models that the site lists now; the ids of the others still work."""
_ALIASES = {"a74ec8485b3b5ce4": "flash", "797f3d0293f288ad": "flash"}


class Answering(msgspec.Struct, frozen=True, kw_only=True):
    """The model that answers a turn, as the answer names it."""

    family: str
    id: str
    name: str


def of_plan(plan: str) -> dict[str, str]:
    """Return the family of each model id that an account of this plan may name."""
    column = plan if plan in {"free", "plus"} else "advanced"
    return {ids[column]: family for family, ids in wire.MODEL_IDS.items()}


def id_of(family: str, plan: str) -> str:
    """Return the id of a family's model for a plan."""
    return next(identifier for identifier, found in of_plan(plan).items() if found == family)


def family_of(model_id: str) -> str | None:
    """Return the family of any model id that the site knows."""
    return next((family for family, ids in wire.MODEL_IDS.items() if model_id in ids.values()), _ALIASES.get(model_id))


def answering(family: str, plan: str, *, extended: bool = False, name: str = "") -> Answering:
    """Return the model of a family as an answer names it."""
    shown = name or _NAMES[family] + (" Extended" if extended else "")
    return Answering(family=family, id=id_of(family, plan), name=shown)


def serving(plan: str, model_id: str | None) -> str | None:
    """Return the family that answers: the smallest beyond the plan; None: the site knows no such model."""
    if model_id is None:
        return DEFAULT
    family = family_of(model_id)
    if family is None:
        return None
    within = model_id in _ALIASES or plan != "free" or model_id in of_plan(plan)
    return family if within else SMALLEST


def entries(plan: str) -> list[list[Any]]:
    """Return the models that the account status lists: 20 dense fields each. Source: "Batch calls"."""
    rows: list[list[Any]] = []
    for family in _LISTED:
        shown, name, about = _SHOWN_FAMILIES[family], _NAMES[family], _ABOUT[family]
        default = family == DEFAULT
        rollout = "Flash3p6" if default else ""
        start = [id_of(family, plan), shown, about, [2, 140], 2, None, [], default, rollout, _QUOTA_IDS[family]]
        number = wire.MODEL_NUMBERS[family]
        rows.append([*start, shown, name, about, None, None, default, rollout, number, [], name])
    return rows


def mixed_entries(plan: str) -> list[list[Any]]:
    """Return the plan's models in the places and forms that a decoder must survive, which alternate."""
    rows: list[list[Any]] = []
    for row, (identifier, family) in enumerate(of_plan(plan).items()):
        name, number = _NAMES[family], wire.MODEL_NUMBERS[family]
        fields: dict[int, Any] = {0: identifier, 2: "simulated", 9: number, 10: family, 19: name}
        if row % 4 < 2:
            fields = {0: identifier, 1: family, 11: name, 12: "simulated", 17: number}
        rows.append(encode.layout(fields, sparse=row % 2 == 1, dense_until=9))
    return rows
