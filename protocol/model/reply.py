"""A whole answer: the fold of its events. There is no second path to one."""

from collections.abc import AsyncIterable

import msgspec

from protocol.model.errors import UpstreamFailed
from protocol.model.event import (
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
)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange, folded."""

    pieces: tuple[Piece, ...]
    """What was said and shown, in order; text that nothing interrupts is one piece."""
    thoughts: str
    finish: FinishReason
    usage: Usage

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Text))

    @property
    def media(self) -> tuple[Media, ...]:
        """All that was drawn, filmed or composed."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Media))


class _Pieces:
    """Pieces in the making."""

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


def _reply(whole: Rewritten) -> Reply:
    pieces = _Pieces()
    for piece in whole.pieces:
        pieces.add(piece)
    return Reply(pieces=pieces.all(), thoughts=whole.thoughts, finish=whole.reason, usage=whole.usage)


async def fold(events: AsyncIterable[Event]) -> Reply:
    """Fold events into the whole answer.

    They are taken to their end: the event loop closes each generator that is left before, in a task of its own.

    Raises:
        UpstreamFailed: the events ended without `Finish`.

    """
    pieces = _Pieces()
    thoughts: list[str] = []
    reply: Reply | None = None
    async for event in events:
        match event:
            case Text() | Media() | WebImage() | Citation() | Document():
                pieces.add(event)
            case Thought():
                thoughts.append(event.text)
            case Finish(rewritten=Rewritten() as whole):
                reply = _reply(whole)
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
