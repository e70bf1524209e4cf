"""Draws the requested number of images, in as many turns as needed.

The first turn runs alone: its refusal becomes an HTTP status, and it may return all images. Missing images are drawn
by concurrent turns. Failed turns are retried once, and again while a round adds images (accounts may have no capacity
for all turns at once), but not if the upstream may still be working on one. The images of each turn are yielded when
it ends; too few images at the end are an error. Example for n=4: the first turn returns one image, three more turns
run, one of these fails and is retried.
"""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec
from anyio.abc import TaskGroup

from protocol.model import (
    NO_USAGE,
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


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """An image and its usage."""

    media: Media
    usage: Usage
    """The usage of its turn for the first image of a turn, else zero."""


class _ConcurrentTurns:
    """Runs concurrent turns and queues their outcomes; their prompt is counted by the first turn."""

    def __init__(self, engine: Engine, request: GenerationRequest, tasks: TaskGroup) -> None:
        self._engine, self._tasks = engine, tasks
        self._request = msgspec.structs.replace(request, counted=True)
        self._outcomes: deque[list[Drawn] | GatewayError] = deque()
        self._ready = anyio.Event()

    def begin(self, turns: int) -> None:
        """Start this number of turns."""
        for _ in range(turns):
            self._tasks.start_soon(self._turn)

    async def outcome(self) -> list[Drawn] | GatewayError:
        """Return the next outcome, in the order in which turns end."""
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
    """A drawing whose first turn has begun."""

    def __init__(self, first: Exchange, turn: AsyncExitStack, further: _ConcurrentTurns) -> None:
        """Read `first` to its end and close `turn`, which holds it; draw missing images with `further`."""
        self._first, self._turn, self._further = first, turn, further

    @property
    def served(self) -> Served:
        """The account and model that serve the first turn."""
        return self._first.served

    async def pictures(self, n: int) -> AsyncGenerator[list[Drawn]]:
        """Yield the images of each turn when it ends, `n` in total.

        Raises:
            Refused: the model drew no image.
            GatewayError: there are too few images; the error of the turn that failed.

        """
        drawn = drawn_in(await fold(self._first))
        await self._turn.aclose()  # releases its account for the other turns
        running = missing = max(0, n - len(drawn))
        self._further.begin(running)
        yield drawn[:n]
        failure: GatewayError | None = None
        retries, before = 1, missing
        while running and missing:
            outcome = await self._further.outcome()
            running -= 1
            if isinstance(outcome, GatewayError):
                failure = failure if _may_be_running(failure) else outcome
            else:
                yield outcome[:missing]
                missing = max(0, missing - len(outcome))
            if not running and not _may_be_running(failure):
                retries = 0 if missing < before else retries - 1
                running, before = (missing if retries >= 0 else 0), missing
                self._further.begin(running)
        if missing and failure is not None:
            raise failure


@asynccontextmanager
async def drawing(engine: Engine, request: GenerationRequest) -> AsyncGenerator[Drawing]:
    """Open the first turn.

    Raises:
        GatewayError: the request was refused, or no account could serve it.

    """
    failure: GatewayError | None = None
    async with anyio.create_task_group() as tasks:
        further = _ConcurrentTurns(engine, request, tasks)
        try:
            async with AsyncExitStack() as turn:
                first = await turn.enter_async_context(engine.open(request))
                yield Drawing(first, turn, further)
        except GatewayError as error:
            failure = error  # raised outside of the group, which would wrap it
        finally:
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def drawn_in(reply: Reply) -> list[Drawn]:
    """Return the images of a turn.

    Raises:
        Refused: there are none; the message quotes the answer of the model.

    """
    pictures = [media for media in reply.media if media.ref.kind is MediaKind.IMAGE]
    if not pictures:
        said = reply.text.strip()
        said = f" It answered: {said[:_SAID]}{'…' if len(said) > _SAID else ''}" if said else ""
        raise Refused(f"The model drew no image for this prompt: change the prompt.{said}")
    return [Drawn(media=media, usage=reply.usage if index == 0 else NO_USAGE) for index, media in enumerate(pictures)]


def _may_be_running(failure: GatewayError | None) -> bool:
    return failure is not None and failure.certainty is Certainty.MAYBE_ACCEPTED
