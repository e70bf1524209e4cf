"""Runs several turns for one request at once, and yields their events as they come.

Each event carries the number of its turn (`Numbered`). The first error of any turn ends the whole answer, and the
other turns are cancelled. Few events are buffered: a slow client slows all turns down.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from protocol.http.stop import Bounds, bounded
from protocol.model import (
    Engine,
    Event,
    Exchange,
    Finish,
    GatewayError,
    GenerationRequest,
    Media,
    Reply,
    Served,
    Usage,
    Waiting,
    fold,
    released,
)

_BUFFERED = 64
"""The number of events that wait for the client."""


class Numbered(msgspec.Struct, frozen=True):
    """An event of one of several turns."""

    index: int
    """The number of the turn, from 0."""
    event: Event

    @property
    def usage(self) -> Usage | None:
        """The usage of the turn, if this is its end."""
        return self.event.usage if isinstance(self.event, Finish) else None


class Replies(msgspec.Struct, frozen=True):
    """The whole answers of all turns, in order."""

    replies: tuple[Reply, ...]

    @property
    def media(self) -> list[Media]:
        """The media of all turns."""
        return [media for reply in self.replies for media in reply.media]

    @property
    def usage(self) -> Usage:
        """The usage of all turns together."""
        first, *others = (reply.usage for reply in self.replies)
        return sum(others, first)


Opening = Callable[[], AbstractAsyncContextManager[Exchange]]
_Outcome = Numbered | GatewayError


def openings_of(engine: Engine, request: GenerationRequest, bounds: Bounds, count: int) -> list[Opening]:
    """Return the openings of several turns for one request, whose prompt counts once."""
    again = msgspec.structs.replace(request, counted=True)
    return [partial(bounded, engine, one, bounds) for one in (request, *[again] * (count - 1))]


class SideBySide:
    """The events of several turns that run at once."""

    def __init__(self, received: MemoryObjectReceiveStream[_Outcome]) -> None:
        """Read the outcomes of the turns from `received`."""
        self._received = received
        self._first: Numbered | None = None
        self.exchange: Exchange | None = None
        """The turn that began first."""

    @property
    def served(self) -> Served:
        """The account and model that serve the turn that began first."""
        return self.exchange.served if self.exchange is not None else Served(transport="", account="")

    async def wait(self) -> None:
        """Wait for the first event of any turn.

        Raises:
            GatewayError: a turn was refused before.

        """
        self._first = await anext(aiter(self), None)

    async def __aiter__(self) -> AsyncIterator[Numbered]:
        """Yield the events of all turns.

        Raises:
            GatewayError: a turn was refused, or its answer broke off.

        """
        if self._first is not None:
            yield self._first
        async for outcome in self._received:
            if isinstance(outcome, GatewayError):
                raise outcome
            yield outcome

    async def read(self, index: int, opening: Opening, send: MemoryObjectSendStream[_Outcome]) -> None:
        """Read a turn to its end."""
        async with send:
            try:
                async with opening() as exchange:
                    self.exchange = self.exchange or exchange
                    async for event in exchange:
                        if not isinstance(event, Waiting):
                            await send.send(Numbered(index, event))
            except GatewayError as error:
                await send.send(released(error))


@asynccontextmanager
async def side_by_side(openings: Sequence[Opening]) -> AsyncGenerator[SideBySide]:
    """Open all turns at once, and yield their events once the first has come.

    Raises:
        GatewayError: as `SideBySide.wait`.

    """
    failure: GatewayError | None = None
    send, received = anyio.create_memory_object_stream[_Outcome](_BUFFERED)
    turns = SideBySide(received)
    with received:
        async with anyio.create_task_group() as tasks:
            try:
                async with send:
                    for index, opening in enumerate(openings):
                        tasks.start_soon(turns.read, index, opening, send.clone())
                await turns.wait()
                yield turns
            except GatewayError as error:
                failure = error  # raised outside of the group, which would wrap it
            finally:
                tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def fold_each(turns: AsyncIterable[Numbered]) -> Replies:
    """Fold the events of each turn into its whole answer; as `protocol.model.fold`."""
    events: dict[int, list[Event]] = {}
    async for one in turns:
        events.setdefault(one.index, []).append(one.event)
    return Replies(tuple([await fold(_each(events[index])) for index in sorted(events)]))


async def _each(events: Sequence[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event
