"""What an answer holds, whole, and work that is done after the answer. No I/O."""

from typing import Any, Protocol

import msgspec

from transports.simulator import encode


class SimulatedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One turn's answer."""

    text: str
    thoughts: str = ""
    rich: dict[int, Any] = {}
    """Comes with the last frames."""
    meanwhile: dict[int, Any] = {}
    """Comes with the frames before those."""
    tool: str = ""
    """What runs meanwhile."""
    tool_words: str = ""
    """What a tool that runs before the answer says to people."""
    document: encode.SiteDocument | None = None
    card: bool = False
    others: tuple[str, ...] = ()
    sources: list[Any] = []
    """Search sources, as they stand in a candidate's `[2][1]`."""
    pictures: tuple[str, ...] = ()
    """The media tokens of the pictures."""
    complete: bool = True
    """Whether its stream ever says so."""

    def picture(self, identity: str) -> str | None:
        """Return the media token of a picture: its id is `img_<token>`, or the link that stands for it in the text."""
        token = identity.removeprefix("img_")
        number = identity.rpartition("/")[2]
        if "/image_generation_content/" in identity and number.isdecimal() and int(number) < len(self.pictures):
            token = self.pictures[int(number)]
        return token if token in self.pictures else None


class PendingWork(Protocol):
    """What goes on when a turn's stream has ended."""

    def answer(self, now: float) -> SimulatedAnswer:
        """Return the turn's answer as it stands at `now`."""
        ...
