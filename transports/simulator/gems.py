"""The gems that the simulated site offers. No I/O."""

from typing import Any

PREMADE = {
    "storybook": ("Storybook", "Writes an illustrated story"),
    "brainstormer": ("Brainstormer", "Finds ideas"),
}
OWN = {"sim-own-gem": ("My simulated gem", "Answers as any other")}


def known(gem: str | None) -> bool:
    """Say whether a turn may name the gem."""
    return gem is None or gem in PREMADE or gem in OWN


def listed(*, own: bool) -> list[Any]:
    """Return the answer of `CNgdBe`: each gem as `[id, [name, description], [instruction]]`."""
    gems = OWN if own else PREMADE
    return [None, None, [[identity, [name, about], [about]] for identity, (name, about) in gems.items()]]
