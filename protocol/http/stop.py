"""Ends the text of an answer at its first stop sequence or token limit, unless the upstream has done so.

Only the words end there. The answer is read to its end, because the pictures, films and documents that the upstream
makes come after the words, and are delivered.

Text arrives in pieces, and a stop sequence may span several. Characters that may begin one are held back until the next
piece decides. Example with the stop "END": the pieces "The E" and "ND." yield "The " and end the answer; the pieces
"The E" and "gg" yield "The " and "Egg".
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Container, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import msgspec

from protocol.model import (
    Document,
    Engine,
    Event,
    Exchange,
    Finish,
    FinishReason,
    GenerationRequest,
    Media,
    Piece,
    Rewritten,
    Served,
    Text,
    Thought,
    Usage,
    WebImage,
    Weighed,
    Withheld,
    estimated_usage,
    weight_limit,
    weight_of,
    within_tokens,
)

_PARTING = Finish | Media | WebImage | Document | Withheld
"""Events that separate texts: no stop sequence spans them."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The stop sequences and the token limit of an answer."""

    stops: tuple[str, ...] = ()
    """Stop sequences; none is empty."""
    tokens: int | None = None
    """The limit of estimated text tokens; thoughts do not count."""

    def without(self, applied: Container[str]) -> "Bounds":
        """Return the bounds that remain if an upstream applies these options."""
        if self == Bounds():
            return self
        return Bounds(
            stops=() if "stops" in applied else self.stops, tokens=None if "max_tokens" in applied else self.tokens
        )


class _Stop:
    """Searches for one stop sequence, in time linear in the text.

    This is the Knuth-Morris-Pratt algorithm; its table grows only as far as the answer has matched.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        """How many characters at the end of the input match the beginning of the sequence."""
        self._back: list[int] = []
        """The failure table: for each matched length, the length that remains matched after a mismatch."""

    def find(self, piece: str) -> int | None:
        """Read a piece; return the offset in it at which the sequence ends, or None."""
        place = 0
        while place < len(piece):
            if not self.matched:
                place = piece.find(self.text[0], place)
                if place < 0:
                    return None
            self._step(piece[place])
            place += 1
            if self.matched == len(self.text):
                return place
        return None

    def _step(self, character: str) -> None:
        while self.matched and self.text[self.matched] != character:
            self.matched = self._back[self.matched - 1]
        if self.text[self.matched] == character:
            self.matched += 1
        if self.matched <= len(self._back):
            return
        last = self.text[len(self._back)]  # the table grows by one
        kept = self._back[-1] if self._back else 0
        while kept and self.text[kept] != last:
            kept = self._back[kept - 1]
        self._back.append(kept + 1 if self._back and self.text[kept] == last else 0)


class Cutter:
    """Finds the first of several stop sequences in a text that arrives in pieces."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Search for `stops`; none is empty."""
        self._stops = [_Stop(stop) for stop in stops]
        self._held = ""
        self.found = ""
        """The sequence that was found first; empty: none."""

    def push(self, piece: str) -> str:
        """Read a piece; return the text that is certainly before any stop sequence."""
        text = self._held + piece
        ends = [(end, -len(stop.text), stop.text) for stop in self._stops if (end := stop.find(piece)) is not None]
        if ends:
            end, size, self.found = min(ends)
            return text[: len(self._held) + end + size]
        keep = max((stop.matched for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """Return the text held back, at the end of the text or before an event that separates texts."""
        for stop in self._stops:
            stop.matched = 0
        held, self._held = self._held, ""
        return held


class _Output:
    """The text and thoughts so far, counted against the token limit."""

    def __init__(self, tokens: int | None) -> None:
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._room = None if tokens is None else weight_limit(tokens)
        self.full = False

    def think(self, text: str) -> None:
        self._thoughts.append(text)

    def say(self, text: str) -> str:
        """Add a text; return the part that is within the limit."""
        if self._room is not None:
            weight = weight_of(text)
            self.full = weight > self._room
            if self.full:
                text = within_tokens(text, self._room)
            self._room -= weight
        self._texts.append(text)
        return text

    def usage(self, whole: Usage) -> Usage:
        """Return the usage of the part that is within the limit; `whole`: that of the whole answer."""
        return estimated_usage("".join(self._texts), "".join(self._thoughts), whole)


class _Cut:
    """Cuts the text of one answer at its first bound."""

    def __init__(self, bounds: Bounds) -> None:
        self._cutter, self._said = Cutter(bounds.stops), _Output(bounds.tokens)
        self._reason: FinishReason | None = None
        """Set once a bound is reached."""

    def take(self, event: Event) -> Iterator[Event]:
        """Read an event; yield it without the text and thoughts behind the bound."""
        if self._reason is None:
            yield from self._say(event)
        if self._reason is None:
            if isinstance(event, Thought):
                self._said.think(event.text)
            if not isinstance(event, Text):
                yield event
        elif isinstance(event, Finish):
            usage = self._said.usage(event.usage)
            stop = self._cutter.found if self._reason == "stop" else ""
            yield Finish(self._reason, usage, rewritten=event.rewritten, stop_sequence=stop)
        elif not isinstance(event, Text | Thought | Weighed):
            yield event

    def _say(self, event: Event) -> Iterator[Text]:
        """Yield the text that is before the bound, and note whether the bound is reached."""
        if isinstance(event, Text):
            piece = self._said.say(self._cutter.push(event.text))
        else:
            piece = self._said.say(self._cutter.rest()) if isinstance(event, _PARTING) else ""
        if piece:
            yield Text(text=piece)
        self._reason = "length" if self._said.full else "stop" if self._cutter.found else None


def _cut_rewritten(whole: Rewritten, bounds: Bounds) -> Rewritten:
    """Cut an answer that the upstream has rewritten, as if it had been streamed that way."""
    cut = _Cut(bounds)
    events: list[Event] = [Thought(text=whole.thoughts), *whole.pieces, Finish(reason=whole.reason, usage=whole.usage)]
    pieces: list[Piece] = []
    for event in events:
        for kept in cut.take(event):
            if isinstance(kept, Finish):
                return Rewritten(
                    pieces=tuple(pieces),
                    thoughts=whole.thoughts,
                    reason=kept.reason,
                    usage=kept.usage,
                    stop_sequence=kept.stop_sequence,
                )
            if isinstance(kept, Piece):
                pieces.append(kept)
    raise AssertionError("the last of the events ends the answer")


async def cut(events: AsyncIterable[Event], bounds: Bounds) -> AsyncIterator[Event]:
    """Yield the events with the text up to the first bound; no part of a stop sequence is yielded."""
    bounded = _Cut(bounds)
    async for event in events:
        if isinstance(event, Finish) and event.rewritten is not None:
            whole = _cut_rewritten(event.rewritten, bounds)
            event = msgspec.structs.replace(event, rewritten=whole)  # noqa: PLW2901 -- the same, cut
        for kept in bounded.take(event):
            yield kept


def bounded(engine: Engine, request: GenerationRequest, bounds: Bounds) -> AbstractAsyncContextManager[Exchange]:
    """Open an exchange that ends at its bounds; as `Engine.open`."""
    return engine.open(request) if bounds == Bounds() else open_cut(engine, request, bounds)


@asynccontextmanager
async def open_cut(engine: Engine, request: GenerationRequest, bounds: Bounds) -> AsyncGenerator[Exchange]:
    """Open an exchange that is cut at its bounds."""
    async with engine.open(request) as exchange:
        left = bounds.without(exchange.served.applied)
        if left == Bounds():
            yield exchange
            return

        def served() -> Served:
            return msgspec.structs.replace(exchange.served, counts=False)  # those of the text that is cut off, too

        yield Exchange(served, cut(exchange.events, left))
