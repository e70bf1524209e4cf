"""As many pictures as were asked for, from as many turns as that takes.

One turn goes first: its refusal is a status, and it may give all that is wanted. What is missing is asked for in
turns side by side, each for itself. What fails there is tried once more, and again for as long as that brings
pictures (accounts may have no room for all at once), but not where the upstream may be at work on it. Each turn's
pictures are given as soon as they are there; where there are not enough in the end, that is an error.
"""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec
from anyio.abc import TaskGroup

from protocol.model import (
    Certainty,
    Engine,
    Exchange,
    GatewayError,
    GenerationRequest,
    Media,
    MediaKind,
    Refused,
    Reply,
    Served,
    Usage,
    fold,
    released,
)

_SAID = 500
_NONE = Usage(input_tokens=0, output_tokens=0)


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, and what it cost."""

    media: Media
    usage: Usage
    """Of its turn; that is counted with the turn's first picture."""


class _Aside:
    """Turns side by side, and what comes of each, as it comes."""

    def __init__(self, engine: Engine, request: GenerationRequest, tasks: TaskGroup) -> None:
        self._engine, self._request, self._tasks = engine, request, tasks
        self._outcomes: deque[list[Drawn] | GatewayError] = deque()
        self._ready = anyio.Event()

    def begin(self, turns: int) -> None:
        """Begin so many."""
        for _ in range(turns):
            self._tasks.start_soon(self._turn)

    async def outcome(self) -> list[Drawn] | GatewayError:
        """Return what came of one of them, the first that is ready."""
        while not self._outcomes:
            self._ready = anyio.Event()
            await self._ready.wait()
        return self._outcomes.popleft()

    async def _turn(self) -> None:
        try:
            async with self._engine.open(self._request) as exchange:
                outcome = drawn_in(await fold(exchange))
        except GatewayError as error:
            outcome = released(error)
        self._outcomes.append(outcome)
        self._ready.set()


class Drawing:
    """Pictures in the making; the first turn is under way."""

    def __init__(self, first: Exchange, turn: AsyncExitStack, aside: _Aside) -> None:
        """Read `first` to its end, then leave `turn`, which holds it; what is missing is drawn `aside`."""
        self._first, self._turn, self._aside = first, turn, aside

    @property
    def served(self) -> Served:
        """Who answers the first turn."""
        return self._first.served

    async def pictures(self, n: int) -> AsyncGenerator[list[Drawn]]:
        """Yield each turn's pictures as soon as they are there, so many in all.

        Raises:
            Refused: the model gave none.
            GatewayError: there are not enough, and why.

        """
        drawn = drawn_in(await fold(self._first))
        await self._turn.aclose()  # its account is free for the turns to come
        under_way = missing = max(0, n - len(drawn))
        self._aside.begin(under_way)
        yield drawn[:n]
        failure: GatewayError | None = None
        patience, before = 1, missing
        while under_way and missing:
            outcome = await self._aside.outcome()
            under_way -= 1
            if isinstance(outcome, GatewayError):
                failure = failure if _is_in_doubt(failure) else outcome
            else:
                yield outcome[:missing]
                missing = max(0, missing - len(outcome))
            if not under_way and not _is_in_doubt(failure):
                patience = 0 if missing < before else patience - 1
                under_way, before = (missing if patience >= 0 else 0), missing
                self._aside.begin(under_way)
        if missing and failure is not None:
            raise failure


@asynccontextmanager
async def drawing(engine: Engine, request: GenerationRequest) -> AsyncGenerator[Drawing]:
    """Begin the first turn.

    Raises:
        GatewayError: the request was refused, or no account could take it.

    """
    failure: GatewayError | None = None
    async with anyio.create_task_group() as tasks:
        aside = _Aside(engine, request, tasks)
        try:
            async with AsyncExitStack() as turn:
                first = await turn.enter_async_context(engine.open(request))
                yield Drawing(first, turn, aside)
        except GatewayError as error:
            failure = error  # raised outside of the group, which would wrap it
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def drawn_in(reply: Reply) -> list[Drawn]:
    """Return a turn's pictures.

    Raises:
        Refused: there are none; what the model said instead is told.

    """
    pictures = [media for media in reply.media if media.ref.kind is MediaKind.IMAGE]
    if not pictures:
        said = reply.text.strip()
        said = f" It said: {said[:_SAID]}{'…' if len(said) > _SAID else ''}" if said else ""
        raise Refused(f"The model made no picture of this prompt.{said}")
    return [Drawn(media=media, usage=reply.usage if index == 0 else _NONE) for index, media in enumerate(pictures)]


def _is_in_doubt(failure: GatewayError | None) -> bool:
    return failure is not None and failure.certainty is Certainty.MAYBE_ACCEPTED
