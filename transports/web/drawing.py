"""The answer to a turn that asks for an image: where none comes, the turn is said once more without the tool's number.

Sources contradict one another on that number: browsers leave it out, and the words alone decide. An answer without an
image has made nothing, so nothing is made twice. Whether its text declines the wish or only misses it cannot be told;
the second answer, whatever it is, holds. Until an image comes, text is kept back: of two answers only one is shown.
Source: "Capabilities as turns"
"""

from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec
import structlog

from protocol.model import Event, Finish, GatewayError, Media, Served, Text, Waiting
from transports.web.decode import Conversation
from transports.web.speak import Answer, Words

_WISH = "Generate an image for this request:\n\n"

_log = structlog.get_logger()


Again = Callable[[Conversation | None], Awaitable[Answer]]
"""Says a turn once more, given the conversation that its first answer is in."""


def in_words(words: Words) -> Words:
    """Return the turn without the tool's number: its words say that an image is wanted."""
    return msgspec.structs.replace(words, prompt=f"{_WISH}{words.prompt}", slots={})


class Drawing:
    """An answer that should hold an image, and the one in its place where it does not."""

    def __init__(self, answer: Answer, again: Again) -> None:
        """Take an answer, and what says its turn once more."""
        self._answer, self._again = answer, again

    @property
    def served(self) -> Served:
        """Who answers, as far as the site has said."""
        return self._answer.served

    @property
    def conversation(self) -> Conversation | None:
        """Where the site keeps the turn, as far as it has said."""
        return self._answer.conversation

    async def __aiter__(self) -> AsyncGenerator[Event]:
        """Yield the events of the answer that holds."""
        kept: list[Event] = []
        shown = False
        async for event in self._answer:
            if isinstance(event, Finish) and not shown and await self._replaced():
                async for other in self._answer:
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
        """Say the turn once more; return whether there is another answer now."""
        try:
            self._answer = await self._again(self.conversation)
        except GatewayError as error:
            _log.info("image_retry_failed", account=self.served.account, error=type(error).__name__, code=error.code)
            return False
        _log.info("image_asked_again", account=self.served.account)
        return True
