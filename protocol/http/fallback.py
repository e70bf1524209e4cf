"""Lets another model answer when no account can serve the requested one.

The operator lists the models that stand in for each model. If an exchange is refused before its first event, because
the quota is used up or no account has the model, the dialect is asked for the answer again, with the next of these
models. So the answer's `model` is that of the model that answers; a header says it, too. Files that the first attempt
has fetched are not fetched again. A job does the same when it starts, and has no header.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from protocol.http.context import RequestContext
from protocol.model import (
    BadRequest,
    Blocked,
    Caller,
    Engine,
    GatewayError,
    RateLimited,
    Selection,
    SignedOut,
    Throttled,
    Unsupported,
)

_HEADER = b"x-gateway-fallback"

_log = structlog.get_logger()


def asks_for_another_model(error: GatewayError) -> bool:
    """Return whether an error means that no account can serve the model now."""
    if isinstance(error, Unsupported):
        return error.param == "model"
    return isinstance(error, RateLimited | SignedOut | Blocked) and not isinstance(error, Throttled)


def stand_ins(engine: Engine, selection: Selection, caller: Caller) -> list[Selection]:
    """Return the models that may answer a caller in place of another, in their order."""
    return [one for one in engine.catalogue.fallbacks_of(selection, caller.fallbacks) if caller.may_use(one)]


@dataclass(kw_only=True, slots=True)
class FallbackAnswer:
    """An answer by the first of several models that an account can serve: an exchange, and the writer of its events."""

    answer: Any
    """The `Answer` of the requested model, and later that of the model that answers."""
    others: Sequence[Selection]
    """The models that stand in for it, in their order."""
    answer_with: Callable[[Selection], Awaitable[Any]]
    """Returns the dialect's `Answer` with another model."""
    headers: list[tuple[bytes, bytes]]
    """The headers of the response; not sent before the exchange is open."""
    context: RequestContext

    @asynccontextmanager
    async def exchange(self) -> AsyncGenerator[Any]:
        """Open the exchange of the first model that an account can serve.

        Raises:
            GatewayError: none can be served; the error of the requested model.

        """
        async with AsyncExitStack() as stack:
            try:
                opened = await stack.enter_async_context(self.answer.exchange)
            except GatewayError as error:
                opened = await self._open_other(stack, error) if asks_for_another_model(error) else None
                if opened is None:
                    raise
            finally:
                self.context.fetched = None
            yield opened

    async def _open_other(self, stack: AsyncExitStack, refused: GatewayError) -> Any:
        """Open the exchange of the next model; None: there is none that can be served."""
        requested = self.context.record.model
        for selection in self.others:
            try:
                answer = await self.answer_with(selection)
                opened = await stack.enter_async_context(answer.exchange)
            except GatewayError as error:
                if not asks_for_another_model(error) and not isinstance(error, BadRequest):
                    raise
                continue
            _log.info("model_fallback_used", requested=requested, model=selection.id, code=refused.code)
            self.answer, self.context.record.model = answer, selection.id
            self.headers.append((_HEADER, selection.id.encode()))
            return opened
        return None

    @property
    def finished(self) -> bool:
        """As `EventWriter.finished`."""
        return self.answer.writer.finished

    def opened(self) -> bytes:
        """As `EventWriter.opened`."""
        return self.answer.writer.opened()

    def event(self, event: Any) -> Any:
        """As `EventWriter.event`."""
        return self.answer.writer.event(event)

    def error(self, error: GatewayError) -> bytes:
        """As `EventWriter.error`."""
        return self.answer.writer.error(error)

    def whole(self, reply: Any) -> Any:
        """As `AnswerWriter.whole`."""
        return self.answer.writer.whole(reply)

    async def fold(self, steps: Any) -> Any:
        """As `Answer.fold`."""
        return await self.answer.fold(steps)
