"""A whole answer, folded from its events: streamed and whole answers come from the same events."""

from collections.abc import AsyncIterable

import msgspec

from protocol.model.errors import UpstreamFailed
from protocol.model.exchange import (
    Citation,
    Document,
    Event,
    Finish,
    FinishReason,
    Media,
    Piece,
    Rewritten,
    Text,
    Thought,
    Usage,
    WebImage,
    Withheld,
)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    pieces: tuple[Piece, ...]
    """The content in order; adjacent texts are joined."""
    thoughts: str
    finish: FinishReason
    usage: Usage

    @property
    def text(self) -> str:
        """All text of the answer."""
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Text))

    @property
    def media(self) -> tuple[Media, ...]:
        """All media of the answer."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Media))


class _Pieces:
    """Collects pieces and joins adjacent texts."""

    def __init__(self) -> None:
        self._done: list[Piece] = []
        self._text: list[str] = []

    def add(self, piece: Piece) -> None:
        if isinstance(piece, Text):
            self._text.append(piece.text)
        else:
            self._settle()
            self._done.append(piece)

    def all(self) -> tuple[Piece, ...]:
        self._settle()
        return tuple(self._done)

    def _settle(self) -> None:
        if self._text:
            self._done.append(Text(text="".join(self._text)))
            self._text.clear()


async def fold(events: AsyncIterable[Event]) -> Reply:
    """Fold events into the whole answer.

    The events are read to their end: the event loop would close an unfinished generator in a separate task.

    Raises:
        UpstreamFailed: the events ended without `Finish`.

    """
    pieces = _Pieces()
    thoughts: list[str] = []
    reply: Reply | None = None
    async for event in events:
        match event:
            case Text() | Media() | WebImage() | Citation() | Document() | Withheld():
                pieces.add(event)
            case Thought():
                thoughts.append(event.text)
            case Finish(rewritten=Rewritten() as whole):
                rewritten = _Pieces()
                for piece in whole.pieces:
                    rewritten.add(piece)
                reply = Reply(pieces=rewritten.all(), thoughts=whole.thoughts, finish=whole.reason, usage=whole.usage)
            case Finish():
                reply = Reply(
                    pieces=pieces.all(),
                    thoughts="".join(thoughts),
                    finish=event.reason,
                    usage=event.usage,
                )
            case _:
                pass
    if reply is None:
        raise UpstreamFailed("The upstream ended its answer before it was complete.", code="upstream_truncated")
    return reply
