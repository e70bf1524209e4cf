"""As many pictures as were asked for, from as many turns as that takes.

One turn goes first: its refusal is a status, and it may give all that is wanted. What is missing is asked for in
turns side by side, each for itself. What fails there is tried once more, and again for as long as that brings
pictures (accounts may have no room for all at once), but not where the upstream may be at work on it. It is all or
nothing, as with OpenAI: pictures are given when there are enough.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

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
)
from protocol.openai.together import outcomes

_SAID = 500
_NONE = Usage(input_tokens=0, output_tokens=0)


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, and what it cost."""

    media: Media
    usage: Usage
    """Of its turn; that is counted with the turn's first picture."""


class Drawing:
    """Pictures in the making; the first turn is under way."""

    def __init__(self, engine: Engine, request: GenerationRequest, first: Exchange, turn: AsyncExitStack) -> None:
        """Read `first` to its end, then leave `turn`, which holds it."""
        self._engine, self._request, self._first, self._turn = engine, request, first, turn

    @property
    def served(self) -> Served:
        """Who answers the first turn."""
        return self._first.served

    async def pictures(self, n: int) -> list[Drawn]:
        """Return so many.

        Raises:
            Refused: the model gave none.
            GatewayError: there are not enough, and why.

        """
        drawn = drawn_in(await fold(self._first))
        await self._turn.aclose()  # its account is free for the turns to come
        failure: GatewayError | None = None
        patience = 1
        while len(drawn) < n and patience >= 0 and not _is_in_doubt(failure):
            before = len(drawn)
            for outcome in await outcomes([self._another] * (n - before)):
                if isinstance(outcome, GatewayError):
                    failure = failure if _is_in_doubt(failure) else outcome
                else:
                    drawn += outcome
            patience = 0 if len(drawn) > before else patience - 1
        if len(drawn) < n and failure is not None:
            raise failure
        return drawn[:n]

    async def _another(self) -> list[Drawn]:
        async with self._engine.open(self._request) as exchange:
            return drawn_in(await fold(exchange))


@asynccontextmanager
async def drawing(engine: Engine, request: GenerationRequest) -> AsyncGenerator[Drawing]:
    """Begin the first turn.

    Raises:
        GatewayError: the request was refused, or no account could take it.

    """
    async with AsyncExitStack() as turn:
        first = await turn.enter_async_context(engine.open(request))
        yield Drawing(engine, request, first, turn)


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
