"""Goes on with conversations that the site keeps, and has it forget those whose time is over.

See `transports.web.conversations` for which request goes on with which. A conversation that nobody can go on with,
since its answer broke off, is deleted at once; the others when their time is over.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Protocol

import msgspec
import structlog

from protocol.model import Event, Finish, GatewayError, GenerationRequest, Served, Text
from transports.base import ConversationStore, Kept
from transports.clock import Clock
from transports.web.conversations import answered, key_of, split
from transports.web.decode import Conversation
from transports.web.errands import Errands
from transports.web.session import Session
from transports.web.turns import Chats

_SWEEP_SECONDS = 60.0
_SWEPT_AT_ONCE = 50
_AGAIN_SECONDS = 600.0
"""What could not be deleted is tried again so much later."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Conversation).decode

_log = structlog.get_logger()


class Told(Protocol):
    """An answer that tells where the site keeps it."""

    served: Served

    @property
    def conversation(self) -> Conversation | None:
        """Where the site keeps the turn, as far as it has said."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events."""
        ...


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """A request that goes on with a conversation."""

    conversation: Conversation
    request: GenerationRequest
    """Only what is new."""


class Reuse:
    """The conversations of one transport's accounts."""

    def __init__(
        self,
        kept: ConversationStore,
        sessions: Mapping[str, Session],
        errands: Errands,
        clock: Clock,
        seconds: float,
    ) -> None:
        """Keep each for so long after its last turn; 0: keep none."""
        self._kept, self._sessions, self._errands, self._clock = kept, sessions, errands, clock
        self.seconds = seconds

    async def home(self, request: GenerationRequest) -> str | None:
        """Return the account that has the conversation which a request goes on with."""
        parts = split(request.turns) if self.seconds else None
        if parts is None:
            return None
        try:
            return await self._kept.whose(key_of(request, parts.known))
        except OSError:
            _log.warning("conversations_unreadable")
            return None

    async def take(self, request: GenerationRequest, account: str) -> Resumed | None:
        """Return what goes on with a conversation of this account; nobody else will go on with it from here."""
        if await self.home(request) != account:
            return None
        parts = split(request.turns)
        assert parts is not None, "it has a home"  # noqa: S101
        try:
            kept = await self._kept.take(key_of(request, parts.known))
        except OSError:
            return None
        if kept is None or kept.account != account:
            return None
        fresh = msgspec.structs.replace(request, turns=parts.fresh)
        return Resumed(conversation=_decode(kept.conversation), request=fresh)

    def forget(self, account: str, conversation: Conversation) -> None:
        """Have the site forget a conversation, as soon as it is convenient."""
        chats = Chats(self._sessions[account])
        self._errands.later(0.0, "delete_conversation", lambda: chats.delete(conversation.cid))

    def follow(self, request: GenerationRequest, answer: Told) -> "Followed":
        """Return the answer, to be remembered when it is whole; `close` it in any case."""
        return Followed(self, request, answer)

    async def keep(self, request: GenerationRequest, answer: Told, text: str) -> bool:
        """Remember where a whole answer is; say whether it can be gone on with."""
        conversation = answer.conversation
        if conversation is None or not conversation.context:
            return False
        kept = Kept(account=answer.served.account, conversation=_encode(conversation))
        try:
            await self._kept.keep(key_of(request, answered(request, text)), kept, seconds=self.seconds)
        except OSError:
            _log.warning("conversation_not_kept", account=kept.account)
            return False
        return True

    async def watch(self, account: str, cid: str, seconds: float) -> None:
        """Have the site forget a conversation after so long, unless `unwatch` comes before: nobody came back for it."""
        conversation = Conversation(cid=cid, rid="")
        kept = Kept(account=account, conversation=_encode(conversation))
        try:
            await self._kept.keep(_watched(cid), kept, seconds=seconds)
        except OSError:
            _log.warning("conversation_not_kept", account=account)

    async def unwatch(self, cid: str) -> None:
        """Leave a conversation to whoever has read it."""
        try:
            await self._kept.take(_watched(cid))
        except OSError:
            _log.warning("conversations_unreadable")

    async def sweep(self, account: str) -> None:
        """Have the site forget an account's conversations when their time is over, for as long as this runs."""
        while True:
            await self._clock.sleep(_SWEEP_SECONDS)
            try:
                over = await self._kept.overdue(account, most=_SWEPT_AT_ONCE)
                if over:
                    await self._delete(account, over)
            except OSError:
                _log.warning("conversations_unreadable")

    async def _delete(self, account: str, over: list[Kept]) -> None:
        try:
            await Chats(self._sessions[account]).delete(*(_decode(kept.conversation).cid for kept in over))
        except GatewayError as error:
            _log.info("conversations_not_deleted", account=account, error=type(error).__name__, code=error.code)
            for kept in over:
                await self._kept.keep(kept.conversation, kept, seconds=_AGAIN_SECONDS)


def _watched(cid: str) -> bytes:
    return b"watched:" + cid.encode("utf-8", "surrogatepass")


class Followed:
    """An answer, and what becomes of its conversation."""

    def __init__(self, reuse: Reuse, request: GenerationRequest, answer: Told) -> None:
        """Follow the answer to `request`, all of which the conversation holds."""
        self._reuse, self._request, self._answer = reuse, request, answer
        self.served = answer.served
        self._kept = False

    async def __aiter__(self) -> AsyncGenerator[Event]:
        """Yield the events; the conversation is kept before the last of them, since the next request may be quick."""
        said: list[str] = []
        async for event in self._answer:
            if isinstance(event, Text):
                said.append(event.text)
            elif isinstance(event, Finish):
                self._kept = await self._reuse.keep(self._request, self._answer, "".join(said))
            yield event

    def close(self) -> None:
        """Have the site forget a conversation that nobody can go on with."""
        conversation = self._answer.conversation
        if not self._kept and conversation is not None:
            self._reuse.forget(self.served.account, conversation)
