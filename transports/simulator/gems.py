"""The gems of an account at the simulated site. No I/O. Source: "Batch calls"."""

import secrets
from typing import Any

import msgspec


class Gem(msgspec.Struct, frozen=True, kw_only=True):
    """A gem: a prompt that precedes each conversation."""

    name: str
    description: str
    prompt: str


PREMADE = {
    "storybook": Gem(name="Storybook", description="Writes an illustrated story", prompt="Tell a story."),
    "brainstormer": Gem(name="Brainstormer", description="Finds ideas", prompt="Find ideas."),
}
HIDDEN = {"simulated-hidden": Gem(name="Hidden", description="Is not shown", prompt="Stay out of sight.")}
_OWN = {"sim-own-gem": Gem(name="My simulated gem", description="Answers as any other", prompt="Answer.")}


class Gems:
    """One account's gems."""

    def __init__(self) -> None:
        """Start with one gem of the account's own."""
        self._own = dict(_OWN)

    def find(self, identity: str) -> Gem | None:
        """Return a gem that a turn names."""
        return self._own.get(identity) or PREMADE.get(identity) or HIDDEN.get(identity)

    def listed(self, kind: int) -> list[Any] | None:
        """Return the gems of a kind: 2 own, 3 premade (1 in browsers), 4 premade with hidden; None: no such kind."""
        kinds = {1: PREMADE, 2: self._own, 3: PREMADE, 4: PREMADE | HIDDEN}
        if kind not in kinds:
            return None
        return [[identity, [gem.name, gem.description], [gem.prompt]] for identity, gem in kinds[kind].items()]

    def create(self, gem: Gem) -> str:
        """Keep a gem; return its id."""
        identity = secrets.token_hex(6)
        self._own[identity] = gem
        return identity

    def change(self, identity: str, gem: Gem) -> bool:
        """Replace one of the account's own gems; return whether it exists."""
        if identity not in self._own:
            return False
        self._own[identity] = gem
        return True

    def delete(self, identity: str) -> bool:
        """Delete one of the account's own gems; return whether it existed."""
        return self._own.pop(identity, None) is not None
