"""A whole answer, folded from its events: streamed and whole answers come from the same events."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable

import msgspec

from protocol.model.errors import UpstreamFailed
from protocol.model.exchange import (
    CallArguments,
    CallStarted,
    Citation,
    Consulted,
    Declined,
    Document,
    Event,
    Finish,
    FinishReason,
    Heard,
    Media,
    Piece,
    Signed,
    Sound,
    Text,
    Thought,
    UpstreamEnd,
    Vector,
    WebImage,
    Weighed,
    WeighedToken,
    Withheld,
)
from protocol.model.request import ToolCall
from protocol.model.usage_counts import Usage


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    pieces: tuple[Piece, ...]
    """The content in order; adjacent texts are joined."""
    thoughts: str
    finish: FinishReason
    usage: Usage
    calls: tuple[ToolCall, ...] = ()
    """The model's tool calls, in order."""
    declined: str = ""
    """The words with which the model declines to answer in the required form."""
    stop_sequence: str = ""
    """The stop sequence of the client that ended the text; empty: none did."""
    vectors: tuple[bytes, ...] = ()
    """The embeddings of the turns, as `Vector.data`."""
    sounds: tuple[Sound, ...] = ()
    """What is spoken."""
    about: tuple[Consulted | Signed | Weighed | Heard, ...] = ()
    """What the upstream tells about the text: its signature, tokens, times, and what was searched and opened for it."""
    upstream: UpstreamEnd = UpstreamEnd()

    @property
    def text(self) -> str:
        """All text of the answer."""
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Text))

    @property
    def signature(self) -> str:
        """The upstream's signature of the text; empty: there is none."""
        return next((one.signature for one in reversed(self.about) if isinstance(one, Signed)), "")

    @property
    def tokens(self) -> tuple[WeighedToken, ...]:
        """The tokens of the text, if their probabilities were asked for."""
        return tuple(token for one in self.about if isinstance(one, Weighed) for token in one.tokens)

    @property
    def media(self) -> tuple[Media, ...]:
        """All media of the answer."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Media))

    async def each(self) -> AsyncIterator[Event]:
        """Yield the events of this answer, as if it had been streamed in one part of each kind."""
        if self.thoughts:
            yield Thought(text=self.thoughts)
        for piece in self.pieces:
            yield piece
        for sound in self.sounds:
            yield sound
        for note in self.about:
            yield note
        for call in self.calls:
            yield CallStarted(id=call.id, name=call.name, signature=call.signature)
            yield CallArguments(text=call.arguments)
        if self.declined:
            yield Declined(text=self.declined)
        yield Finish(reason=self.finish, usage=self.usage, upstream=self.upstream)


class CallCollector:
    """Collects tool calls from the events of an answer."""

    def __init__(self) -> None:
        """Start without a call."""
        self._calls: list[tuple[CallStarted, list[str]]] = []

    def add(self, event: CallStarted | CallArguments) -> None:
        """Add the start of a call, or the next arguments of the last one."""
        if isinstance(event, CallStarted):
            self._calls.append((event, []))
        else:
            self._calls[-1][1].append(event.text)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls so far; the last one may lack the end of its arguments."""
        if not self._calls:  # as in most chats
            return ()
        return tuple(
            ToolCall(id=call.id, name=call.name, arguments="".join(parts), signature=call.signature)
            for call, parts in self._calls
        )


class _Pieces:
    """Collects pieces and joins adjacent texts."""

    def __init__(self, pieces: Iterable[Piece] = ()) -> None:
        self._done: list[Piece] = []
        self._text: list[str] = []
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        if type(piece) is Text:
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


class _Collector:
    """Collects the events of an answer."""

    def __init__(self) -> None:
        self._pieces = _Pieces()
        self._thoughts: list[str] = []
        self._calls = CallCollector()
        self._declined: list[str] = []
        self._vectors: list[bytes] = []
        self._sounds: list[Sound] = []
        self._about: list[Consulted | Signed | Weighed | Heard] = []

    def add(self, event: Event) -> None:
        match event:
            case Text() | Media() | WebImage() | Citation() | Document() | Withheld():
                self._pieces.add(event)
            case Thought():
                self._thoughts.append(event.text)
            case CallStarted() | CallArguments():
                self._calls.add(event)
            case Declined():
                self._declined.append(event.text)
            case Vector():
                self._vectors.append(event.data)
            case Sound():
                self._sounds.append(event)
            case Consulted() | Signed() | Weighed() | Heard():
                self._about.append(event)
            case _:
                pass

    def reply(self, finish: Finish) -> Reply:
        whole = finish.rewritten
        return Reply(
            pieces=self._pieces.all() if whole is None else _Pieces(whole.pieces).all(),
            thoughts="".join(self._thoughts) if whole is None else whole.thoughts,
            finish=finish.reason if whole is None else whole.reason,
            usage=finish.usage if whole is None else whole.usage,
            calls=self._calls.calls,
            declined="".join(self._declined),
            vectors=tuple(self._vectors),
            sounds=tuple(self._sounds),
            about=tuple(self._about),
            stop_sequence=finish.stop_sequence if whole is None else whole.stop_sequence,
            upstream=finish.upstream,
        )


async def fold(events: AsyncIterable[Event]) -> Reply:
    """Fold events into the whole answer.

    The events are read to their end: the event loop would close an unfinished generator in a separate task.

    Raises:
        UpstreamFailed: the events ended without `Finish`.

    """
    answer = _Collector()
    reply: Reply | None = None
    async for event in events:
        if isinstance(event, Finish):
            reply = answer.reply(event)
        else:
            answer.add(event)
    if reply is None:
        raise UpstreamFailed("The upstream ended its answer before it was complete.", code="upstream_truncated")
    return reply
