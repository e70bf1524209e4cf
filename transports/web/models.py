"""Which of the site's models a catalogue entry stands for; no I/O. Source: "Common request parts"."""

from protocol.model import Family, Model
from transports.web import wire
from transports.web.decode import AccountStatus, DiscoveredModel
from transports.web.encode import SiteModel

_NAMES = {
    Family.FLASH_LITE: ("flash-lite", "flash lite"),
    Family.FLASH_THINKING: ("flash-thinking", "flash thinking", "thinking"),
    Family.PRO: ("pro",),
    Family.FLASH: ("flash", "fast"),
}
"""Words by which a discovered name tells its family, the longer before those they contain."""


def choose(model: Model, transport: str, status: AccountStatus, *, field13: bool = False) -> SiteModel:
    """Name a model to the site: configuration wins over discovery, discovery over the page's table."""
    table_plan = status.plan if status.plan in {"free", "plus"} else "advanced"
    number = wire.MODEL_NUMBERS[model.family.value]
    configured = model.upstream.get(transport)
    found = None if configured else _discovered(model, status.models)
    if found is not None and found.number is not None:
        number = found.number
    identifier = configured or (found.id if found else wire.MODEL_IDS[model.family.value][table_plan])
    return SiteModel(id=identifier, number=number, capacity=wire.CAPACITIES[status.plan], field13=field13)


def _discovered(model: Model, models: tuple[DiscoveredModel, ...]) -> DiscoveredModel | None:
    fitting = [found for found in models if family_of(found) is model.family]
    version = _words(model.id)
    exact = (found for found in fitting if version in _words(found.name) or version in _words(found.family))
    return next(exact, fitting[0] if fitting else None)


def family_of(found: DiscoveredModel) -> Family | None:
    """Tell a discovered model's family: by the table's ids, else by its words, else by its number."""
    for family, ids in wire.MODEL_IDS.items():
        if found.id in ids.values():
            return Family(family)
    words = f"{found.family} {found.name}".lower()
    for family, names in _NAMES.items():
        if any(name in words for name in names):
            return family
    numbers = {number: family for family, number in wire.MODEL_NUMBERS.items()}
    return Family(numbers[found.number]) if found.number in numbers else None


def _words(name: str) -> str:
    return name.lower().replace("-", " ").removeprefix("gemini ")
