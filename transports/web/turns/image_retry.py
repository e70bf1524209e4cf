"""Retries a turn that asks for an image without the tool's number if its answer has no image.

Sources contradict one another on that number: browsers leave it out, and the prompt alone decides. An answer without an
image has made nothing, so nothing is made twice. Its text may be a refusal or a misunderstanding; the gateway cannot
tell them apart, so the second answer replaces it. Text is held back until an image comes, because only one of the two
answers is delivered.
Source: "Capabilities as turns"
"""

from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec
import structlog

from protocol.model import Event, Finish, GatewayError, Media, Served, Text, Waiting
from transports.web.codec.answer import SiteConversation
from transports.web.turns.turn import TurnAnswer, TurnContent

_WISH = "Generate an image for this request:\n\n"

_log = structlog.get_logger()


SendAgain = Callable[[SiteConversation | None], Awaitable[TurnAnswer]]
"""Sends a turn once more, given the conversation of its first answer."""


def without_tool(content: TurnContent) -> TurnContent:
    """Return the turn without the tool's number: its prompt asks for the image."""
    return msgspec.structs.replace(content, prompt=f"{_WISH}{content.prompt}", slots={})


class ImageAnswer:
    """An answer that should hold an image, and the answer that replaces it if it does not."""

    def __init__(self, answer: TurnAnswer, again: SendAgain) -> None:
        """Take an answer, and the function that sends its turn once more."""
        self._answer, self._again = answer, again
        self.events = self._deliver()
        """The events of the answer that is delivered."""

    @property
    def served(self) -> Served:
        """The account and model of the answer, as far as they are known."""
        return self._answer.served

    @property
    def conversation(self) -> SiteConversation | None:
        """The conversation of the turn, if the site has named it."""
        return self._answer.conversation

    async def _deliver(self) -> AsyncGenerator[Event]:
        kept: list[Event] = []
        shown = False
        async for event in self._answer.events:
            if isinstance(event, Finish) and not shown and await self._replaced():
                async for other in self._answer.events:
                    yield other
                return
            shown = shown or isinstance(event, Media)
            if isinstance(event, Text) and not shown:
                kept.append(event)
                yield Waiting()
                continue
            if shown or isinstance(event, Finish):
                for earlier in kept:
                    yield earlier
                kept = []
            yield event

    async def _replaced(self) -> bool:
        """Send the turn once more; return whether there is another answer now."""
        try:
            self._answer = await self._again(self.conversation)
        except GatewayError as error:
            _log.info("image_retry_failed", account=self.served.account, error=type(error).__name__, code=error.code)
            return False
        _log.info("image_retried", account=self.served.account)
        return True
