"""Goes on with conversations that the site keeps, and has it forget those whose time is over.

See `transports.web.turns.history` for which request goes on with which. A conversation that nobody can go on with,
since its answer broke off, is deleted at once; the others when their time is over.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from io import StringIO
from typing import Protocol

import msgspec
import structlog

from protocol.model import (
    Event,
    Finish,
    GatewayError,
    GenerationRequest,
    Media,
    MediaRef,
    Piece,
    Served,
    Text,
    Turn,
    WebImage,
)
from transports.clock import Clock
from transports.conversations import ConversationStore, Kept
from transports.web.codec.decode import SiteConversation
from transports.web.session.session import Session
from transports.web.turns.history import answered, key_of, split
from transports.web.turns.saved import Chats

_SWEEP_SECONDS = 60.0
_SWEEP_BATCH = 50
_RETRY_SECONDS = 600.0
"""What could not be deleted is tried again so much later."""
_MAX_TRIES = 5
"""… and so often; then it is left to the account's owner."""

_KEPT = (Text, Media, WebImage)
"""What a conversation's key is made of."""

_encode = msgspec.json.Encoder().encode

_log = structlog.get_logger()


class ReusableAnswer(Protocol):
    """An answer that tells where the site keeps it."""

    @property
    def served(self) -> Served:
        """Who answers, as far as the site has said."""
        ...

    @property
    def conversation(self) -> SiteConversation | None:
        """Where the site keeps the turn, as far as it has said."""
        ...

    @property
    def events(self) -> AsyncIterator[Event]:
        """The events, to be read once."""
        ...


class ExpiredConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation whose time is over: of what is kept of it, that which its deletion needs."""

    cid: str
    tries: int = 0
    """So often it could not be deleted."""


_decode = msgspec.json.Decoder(SiteConversation).decode
_decode_expired = msgspec.json.Decoder(ExpiredConversation).decode


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """A request that goes on with a conversation."""

    key: bytes
    conversation: SiteConversation
    request: GenerationRequest
    """Only what is new."""


class ConversationReuse:
    """The conversations of one transport's accounts."""

    def __init__(
        self,
        kept: ConversationStore,
        sessions: Mapping[str, Session],
        clock: Clock,
        seconds: float,
    ) -> None:
        """Keep each for so long after its last turn; 0: keep none. `sessions` are those of now."""
        self._kept, self._sessions, self._clock = kept, sessions, clock
        self.seconds = seconds

    async def account_of(self, request: GenerationRequest) -> str | None:
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
        parts = split(request.turns)
        if parts is None:
            return None
        key = key_of(request, parts.known)
        try:
            kept = await self._kept.take(key, account)
            conversation = _decode(kept.conversation) if kept is not None else None
        except (OSError, msgspec.MsgspecError):
            _log.warning("conversations_unreadable")
            return None
        if conversation is None:
            return None
        fresh = msgspec.structs.replace(request, turns=parts.fresh)
        return Resumed(key=key, conversation=conversation, request=fresh)

    async def put_back(self, resumed: Resumed, account: str) -> None:
        """Remember a conversation that was taken and is as it was: the site has said no to what is new."""
        await self._keep(resumed.key, Kept(account=account, conversation=_encode(resumed.conversation)), self.seconds)

    def delete_soon(self, account: str, conversation: SiteConversation) -> None:
        """Have the site forget a conversation, as soon as it is convenient."""
        session = self._sessions.get(account)
        if session is None:
            return
        chats = Chats(session)
        session.site.background.later(0.0, "delete_conversation", lambda: chats.delete(conversation.cid))

    def record(self, request: GenerationRequest, answer: ReusableAnswer) -> "ConversationRecorder":
        """Follow an answer, to remember its conversation when it is whole."""
        return ConversationRecorder(self, request, answer)

    async def keep(self, request: GenerationRequest, answer: ReusableAnswer, turns: tuple[Turn, ...]) -> bool:
        """Remember where a whole answer is, all that was said being `turns`; say whether it can be gone on with."""
        conversation = answer.conversation
        if conversation is None or not (conversation.rid and conversation.context):
            return False
        kept = Kept(account=answer.served.account, conversation=_encode(conversation))
        return await self._keep(key_of(request, turns), kept, self.seconds)

    async def delete_later(self, account: str, cid: str, seconds: float) -> None:
        """Have the site forget a conversation after so long, unless `unwatch` comes before: nobody came back for it."""
        conversation = SiteConversation(cid=cid, rid="")
        await self._keep(_abandoned_key(cid), Kept(account=account, conversation=_encode(conversation)), seconds)

    async def cancel_deletion(self, account: str, cid: str) -> None:
        """Leave a conversation to whoever has read it."""
        try:
            await self._kept.take(_abandoned_key(cid), account)
        except OSError:
            _log.warning("conversations_unreadable")

    async def delete_expired(self, account: str) -> None:
        """Have the site forget an account's conversations when their time is over, for as long as this runs."""
        while True:
            await self._clock.sleep(_SWEEP_SECONDS)
            try:
                while found := await self._kept.overdue(account, most=_SWEEP_BATCH):
                    await self._delete(account, _decode_expired_all(found))
            except OSError:
                _log.warning("conversations_unreadable")

    async def _delete(self, account: str, over: list[ExpiredConversation]) -> None:
        session = self._sessions.get(account)
        if not over or session is None:
            return
        try:
            await Chats(session).delete(*(one.cid for one in over))
        except GatewayError as error:
            again = [msgspec.structs.replace(one, tries=one.tries + 1) for one in over if one.tries + 1 < _MAX_TRIES]
            _log.info("conversations_not_deleted", account=account, error=type(error).__name__, code=error.code)
            if len(again) < len(over):
                _log.warning("conversations_left_at_the_site", account=account, count=len(over) - len(again))
            for one in again:
                await self._keep(_retry_key(one.cid), Kept(account=account, conversation=_encode(one)), _RETRY_SECONDS)

    async def _keep(self, key: bytes, kept: Kept, seconds: float) -> bool:
        """Remember; say whether that could be done."""
        try:
            await self._kept.keep(key, kept, seconds=seconds)
        except OSError:
            _log.warning("conversation_not_kept", account=kept.account)
            return False
        return True


def _decode_expired_all(kept: Iterable[Kept]) -> list[ExpiredConversation]:
    """Return what can be deleted of what was kept; what cannot be read is no conversation."""
    over: list[ExpiredConversation] = []
    for one in kept:
        try:
            over.append(_decode_expired(one.conversation))
        except msgspec.MsgspecError:
            _log.warning("conversations_unreadable")
    return over


def _abandoned_key(cid: str) -> bytes:
    return b"watched:" + cid.encode("utf-8", "surrogatepass")


def _retry_key(cid: str) -> bytes:
    return b"again:" + cid.encode("utf-8", "surrogatepass")


class ConversationRecorder:
    """Follows an answer: remembers its conversation when it is whole, and has the site forget it otherwise."""

    def __init__(self, reuse: ConversationReuse, request: GenerationRequest, answer: ReusableAnswer) -> None:
        """Follow the answer to `request`, all of which the conversation holds."""
        self._reuse, self._request, self._answer = reuse, request, answer
        self._kept = False

    async def events(self) -> AsyncGenerator[Event]:
        """Yield the events; the conversation is kept before the last of them, since the next request may be quick."""
        got = _AnswerContent()
        async for event in self._answer.events:
            if isinstance(event, _KEPT):
                got.add(event)
            elif isinstance(event, Finish):
                rewritten = event.rewritten
                if rewritten is not None and not self._request.streamed:
                    got = _AnswerContent(rewritten.pieces)
                turns = answered(self._request, got.text.getvalue(), got.shown)
                self._kept = await self._reuse.keep(self._request, self._answer, turns)
            yield event

    def close(self) -> None:
        """Have the site forget the conversation of an answer that is not whole; to be called in any case."""
        conversation = self._answer.conversation
        if not self._kept and conversation is not None:
            self._reuse.delete_soon(self._answer.served.account, conversation)


class _AnswerContent:
    """What an answer said and showed, as its conversation's key needs it; it holds no object for each event."""

    def __init__(self, pieces: Iterable[Piece] = ()) -> None:
        self.text = StringIO()
        self.shown: dict[MediaRef, None] = {}
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        match piece:
            case Text():
                self.text.write(piece.text)
            case Media() | WebImage():
                self.text.write("\n\n")  # what is shown stands in a paragraph of its own
                self.shown.update({piece.ref: None} if isinstance(piece, Media) else {})
            case _:
                pass
