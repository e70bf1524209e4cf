"""What an answer holds, whole, and work that is done after the answer. No I/O."""

from typing import Any, Protocol

import msgspec

from transports.simulator import emit


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One turn's answer."""

    text: str
    thoughts: str = ""
    rich: dict[int, Any] = {}
    """Comes with the last frames."""
    meanwhile: dict[int, Any] = {}
    """Comes with the frames before those."""
    tool: str = ""
    """What runs meanwhile."""
    document: emit.Document | None = None
    card: bool = False
    others: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    """The media tokens of the pictures."""
    complete: bool = True
    """Whether its stream ever says so."""


class Work(Protocol):
    """What goes on when a turn's stream has ended."""

    def answer(self, now: float) -> Answer:
        """Return the turn's answer as it stands at `now`."""
        ...
