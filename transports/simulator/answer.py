"""The whole answer of a turn, and work that continues after it. No I/O."""

from typing import Any, Protocol

import msgspec

from transports.simulator import encode


class SimulatedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One turn's answer."""

    text: str
    thoughts: str = ""
    rich: dict[int, Any] = {}
    """Rich content of the last frames."""
    meanwhile: dict[int, Any] = {}
    """Rich content of the frames before the last."""
    tool: str = ""
    """Name of the tool that runs before the last frames."""
    tool_words: str = ""
    """Progress text of a tool that runs before the answer."""
    document: encode.SiteDocument | None = None
    card: bool = False
    others: tuple[str, ...] = ()
    sources: list[Any] = []
    """Search sources, as they stand in a candidate's `[2][1]`."""
    pictures: tuple[str, ...] = ()
    """The media tokens of the pictures."""
    complete: bool = True
    """Whether the stream marks the answer as complete."""

    def picture(self, identity: str) -> str | None:
        """Return the media token of a picture: its id is `img_<token>`, or the link that stands for it in the text."""
        token = identity.removeprefix("img_")
        number = identity.rpartition("/")[2]
        if "/image_generation_content/" in identity and number.isdecimal() and int(number) < len(self.pictures):
            token = self.pictures[int(number)]
        return token if token in self.pictures else None


class PendingWork(Protocol):
    """Work that continues after a turn's stream has ended: a video or research."""

    def answer(self, now: float) -> SimulatedAnswer:
        """Return the turn's answer as it stands at `now`."""
        ...
