"""Continues conversations that the site stores, and deletes them when they expire.

Theory of operation. OpenAI clients resend the whole history with each request; the site stores conversations and needs
only the new turns. After a complete answer, `ConversationRecorder` stores the site's ids under a key: a digest of the
caller, the model and all turns including the answer (see `key_of`). The next request is split
after its last answer. If the digest of the first part is a stored key, only the rest is sent, in that conversation and
with the account that owns it. `take` removes the key, so two requests never continue from the same point; `put_back`
restores it if the site refuses the new turn. A conversation whose answer broke off is deleted at once, the others after
`reuse_seconds`.

Example: request 1 is [user A] and is answered B. The key of [A, B] is stored with conversation c_1. Request 2 is
[A, B, user C]: its known part [A, B] matches, so C alone is sent to c_1, and the key of [A, B, C, D] is stored after
answer D. A request [A, X, user C] matches nothing and is sent whole in a new conversation.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from hashlib import blake2b
from io import StringIO
from typing import Protocol

import msgspec
import structlog

from protocol.model import (
    NOTICE,
    CallArguments,
    CallCollector,
    Caller,
    CallMalformed,
    CallStarted,
    Event,
    FilePart,
    Finish,
    GatewayError,
    GenerationRequest,
    JsonScanner,
    Media,
    MediaPart,
    MediaRef,
    Piece,
    Role,
    Served,
    Text,
    TextPart,
    ToolCall,
    Turn,
    WebImage,
    canonical_json,
)
from transports.accounts.conversations import Conversations, StoredConversation
from transports.clock import Clock
from transports.tasks import every
from transports.web.codec.answer import SiteConversation
from transports.web.session.session import Session
from transports.web.turns.saved import Chats
from transports.web.turns.tool_calls import CallGrammar

_SWEEP_SECONDS = 60.0

_SWEEP_BATCH = 50

_RETRY_SECONDS = 600.0
"""Delay before a failed deletion is retried."""

_MAX_TRIES = 5
"""Attempts to delete a conversation; after that it stays in the account."""

_KEPT = (Text, Media, WebImage, CallStarted, CallArguments, CallMalformed)
"""The events that a conversation's key depends on."""

_encode = msgspec.json.Encoder().encode

_log = structlog.get_logger()


class ReusableAnswer(Protocol):
    """An answer with the conversation that the site stores it in."""

    @property
    def served(self) -> Served:
        """The account and model of the answer, as far as known."""
        ...

    @property
    def conversation(self) -> SiteConversation | None:
        """The conversation of the turn, if the site has named it."""
        ...

    @property
    def events(self) -> AsyncIterator[Event]:
        """The events, to be read once."""
        ...


class ExpiredConversation(msgspec.Struct, frozen=True, kw_only=True):
    """An expired conversation: the stored fields that its deletion needs."""

    cid: str
    tries: int = 0
    """Number of failed deletions."""


_decode = msgspec.json.Decoder(SiteConversation).decode

_decode_expired = msgspec.json.Decoder(ExpiredConversation).decode


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """A request that continues a stored conversation."""

    key: bytes
    conversation: SiteConversation
    request: GenerationRequest
    """The request with the new turns only."""


class ConversationReuse:
    """Stores, finds and deletes the conversations of one transport's accounts."""

    def __init__(
        self,
        kept: Conversations,
        session_of: Callable[[str], Session | None],
        clock: Clock,
        seconds: float,
    ) -> None:
        """Keep each conversation for `seconds` after its last turn; 0 keeps none."""
        self._kept, self._session_of, self._clock = kept, session_of, clock
        self.seconds = seconds

    async def account_of(self, request: GenerationRequest) -> str | None:
        """Return the account that owns the conversation a request continues, or None."""
        parts = split_history(request.turns) if self.seconds else None
        if parts is None:
            return None
        try:
            return await self._kept.account_of(key_of(request, parts.known))
        except OSError:
            _log.warning("conversations_unreadable")
            return None

    async def take(self, request: GenerationRequest, account: str) -> Resumed | None:
        """Claim the conversation of this account that a request continues; no other request can claim it."""
        parts = split_history(request.turns)
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
        shortened = msgspec.structs.replace(request, turns=parts.new)
        return Resumed(key=key, conversation=conversation, request=shortened)

    async def put_back(self, resumed: Resumed, account: str) -> None:
        """Store a claimed conversation again: the site refused the new turn, so the conversation is unchanged."""
        await self._keep(resumed.key, account, resumed.conversation, self.seconds)

    def delete_soon(self, account: str, conversation: SiteConversation) -> None:
        """Delete a conversation at the site in the background."""
        session = self._session_of(account)
        if session is None:
            return
        chats = Chats(session)
        session.site.background.later(0.0, "delete_conversation", lambda: chats.delete(conversation.cid))

    async def keep(
        self, request: GenerationRequest, answer: ReusableAnswer, turns: tuple[Turn, ...], tools: str = ""
    ) -> bool:
        """Store the conversation of a complete answer, which holds `turns`; return whether it can be continued.

        `tools`: the digest of the tools that it has seen.
        """
        conversation = answer.conversation
        if conversation is None or not (conversation.rid and conversation.context):
            return False
        conversation = msgspec.structs.replace(conversation, tools=tools)
        return await self._keep(key_of(request, turns), answer.served.account, conversation, self.seconds)

    async def delete_later(self, account: str, cid: str, seconds: float) -> None:
        """Delete an abandoned conversation after `seconds`, unless `cancel_deletion` is called before."""
        await self._keep(_abandoned_key(cid), account, SiteConversation(cid=cid, rid=""), seconds)

    async def is_watched(self, account: str, cid: str) -> bool:
        """Return whether a request, of any process, waits for the work of a conversation: `delete_later` noted it."""
        try:
            return await self._kept.account_of(_abandoned_key(cid)) == account
        except OSError:
            _log.warning("conversations_unreadable")
            return False

    async def cancel_deletion(self, account: str, cid: str) -> None:
        """Cancel `delete_later` of a conversation: its answer has been read."""
        try:
            await self._kept.take(_abandoned_key(cid), account)
        except OSError:
            _log.warning("conversations_unreadable")

    async def delete_expired(self, account: str) -> None:
        """Delete an account's expired conversations once a minute, until cancelled."""
        await every(_SWEEP_SECONDS, partial(self._delete_expired, account), self._clock, wait=True)

    async def _delete_expired(self, account: str) -> None:
        try:
            while found := await self._kept.overdue(account, most=_SWEEP_BATCH):
                over: list[ExpiredConversation] = []
                for one in found:
                    try:
                        over.append(_decode_expired(one.conversation))
                    except msgspec.MsgspecError:
                        _log.warning("conversations_unreadable")
                await self._delete(account, over)
        except OSError:
            _log.warning("conversations_unreadable")

    async def _delete(self, account: str, over: list[ExpiredConversation]) -> None:
        session = self._session_of(account)
        if not over or session is None:
            return
        try:
            await Chats(session).delete(*(one.cid for one in over))
        except GatewayError as error:
            again = [msgspec.structs.replace(one, tries=one.tries + 1) for one in over if one.tries + 1 < _MAX_TRIES]
            _log.info("conversations_delete_failed", account=account, error=type(error).__name__, code=error.code)
            if len(again) < len(over):
                _log.warning("conversations_left_upstream", account=account, count=len(over) - len(again))
            for one in again:
                await self._keep(b"again:" + one.cid.encode("utf-8", "surrogatepass"), account, one, _RETRY_SECONDS)

    async def _keep(
        self, key: bytes, account: str, conversation: SiteConversation | ExpiredConversation, seconds: float
    ) -> bool:
        """Store a conversation of an account; return whether the store took it."""
        kept = StoredConversation(account=account, conversation=_encode(conversation))
        try:
            await self._kept.keep(key, kept, seconds=seconds)
        except OSError:
            _log.warning("conversation_save_failed", account=account)
            return False
        return True


def _abandoned_key(cid: str) -> bytes:
    return b"watched:" + cid.encode("utf-8", "surrogatepass")


class ConversationRecorder:
    """Passes an answer on; stores its conversation when it is complete and deletes it otherwise."""

    def __init__(
        self, reuse: ConversationReuse, request: GenerationRequest, answer: ReusableAnswer, grammar: CallGrammar
    ) -> None:
        """Record the answer to `request`, whose calls are in `grammar`; the conversation holds all of its turns."""
        self._reuse, self._request, self._answer, self._grammar = reuse, request, answer, grammar
        self._kept = False

    async def events(self) -> AsyncGenerator[Event]:
        """Yield the events; store the conversation before the last one, as the next request may follow at once."""
        caller = self._request.caller
        content = _AnswerContent(caller)
        async for event in self._grammar.events(self._answer.events):
            if isinstance(event, _KEPT):
                content.add(event)
            elif isinstance(event, Finish):
                rewritten = event.rewritten
                if rewritten is not None and not self._request.streamed:
                    content = _AnswerContent(caller, rewritten.pieces)
                text, calls = content.text.getvalue(), content.called.calls
                turns = answered(self._request, _delivered(self._request, text, calls), content.shown, calls)
                self._kept = await self._reuse.keep(self._request, self._answer, turns, self._grammar.seen)
            yield event

    def close(self) -> None:
        """Delete the conversation of an incomplete answer; must always be called."""
        conversation = self._answer.conversation
        if not self._kept and conversation is not None:
            self._reuse.delete_soon(self._answer.served.account, conversation)


class _AnswerContent:
    """An answer's text and the media that its caller gets, collected for its conversation's key.

    It does not keep each event.
    """

    def __init__(self, caller: Caller, pieces: Iterable[Piece] = ()) -> None:
        self._caller = caller
        self.text = StringIO()
        self.shown: dict[MediaRef, None] = {}
        self.called = CallCollector()
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Event) -> None:
        match piece:
            case Text() | CallMalformed():
                self.text.write(piece.text)
            case CallStarted() | CallArguments():
                self.called.add(piece)
            case Media() | WebImage():
                self.text.write("\n\n")  # media are shown in a paragraph of their own
                if isinstance(piece, Media) and self._caller.includes(piece.ref.feature):
                    self.shown[piece.ref] = None
            case _:
                pass


def _delivered(request: GenerationRequest, text: str, calls: tuple[ToolCall, ...]) -> str:
    """Return the text of an answer as the client gets it: required calls come without words, and JSON comes alone."""
    if calls:
        return "" if request.tools is not None and request.tools.mode == "required" else text
    begin = _JSON_BEGIN.search(text) if request.output is not None else None
    if begin is None:
        return text
    value = text[begin.start(1) :]
    return value[: JsonScanner().end(value)]


_JSON_BEGIN = re.compile(r"(?:\A.*?^[ \t]*```[^\n]*\n\s*|\A[^{\[]*)([{\[])", re.MULTILINE | re.DOTALL)
"""The first JSON in a code block, or else in the text."""

_SHOWN = re.compile(
    r"""
    !\[(?:\\.|[^\[\]\\])*\]\([^\s()]*\)  # an image at any address
    | \[(?:\\.|[^\[\]\\])*\]\(https?://[^\s()]*/media/[\w-]+\)  # a video or audio link of this gateway
    """,
    re.VERBOSE,
)
"""Media in an answer, as this gateway writes them: brackets and parentheses are escaped."""

_packed = msgspec.msgpack.Encoder().encode


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A request's turns, split into the known history and the new turns."""

    known: tuple[Turn, ...]
    new: tuple[Turn, ...]


def split_history(turns: tuple[Turn, ...]) -> Split | None:
    """Split turns after the last answer; None if there is no answer or no turn after it."""
    last = max((index for index, turn in enumerate(turns) if turn.role is Role.ASSISTANT), default=-1)
    if last < 0 or last == len(turns) - 1:
        return None
    return Split(known=turns[: last + 1], new=turns[last + 1 :])


def key_of(request: GenerationRequest, turns: tuple[Turn, ...]) -> bytes:
    """Return the key of the conversation that holds `turns`, for this request's caller and model alone."""
    digest = blake2b(digest_size=32)
    digest.update(_packed([request.caller.owner, request.selection.id]))
    for turn in turns:
        found = turn.digests.get(__name__)
        if found is None:
            calls = ([call.name, call.canonical_arguments] for call in turn.tool_calls)
            content = _packed([turn.role.value, turn.name, *calls, *_content(turn)])
            found = turn.digests[__name__] = blake2b(content, digest_size=32).digest()
        digest.update(found)
    return digest.digest()


def answered(
    request: GenerationRequest, text: str, shown: Iterable[MediaRef] = (), calls: tuple[ToolCall, ...] = ()
) -> tuple[Turn, ...]:
    """Return the turns of a conversation in which the request was answered so, as the client will send them back."""
    parts = (TextPart(text=text), *(MediaPart(ref=ref) for ref in shown))
    seen = request.turns[: len(request.turns) - request.unseen]
    return (*seen, Turn(role=Role.ASSISTANT, parts=parts, tool_calls=calls))


def _content(turn: Turn) -> Iterator[str | bytes]:
    """Yield a turn's text, and digests or references of its files and media."""
    text = turn.text
    if turn.role is Role.ASSISTANT and "](" in text:
        text = _SHOWN.sub("\n", text)
    if turn.role is Role.ASSISTANT and "left out: " in text:
        text = NOTICE.sub("\n", text)
    if turn.role is Role.ASSISTANT and text.lstrip()[:1] in {"{", "["}:
        text = canonical_json(text)
    lines = "\n".join(line.rstrip() for line in text.splitlines() if line.strip()).strip()
    # half of a surrogate pair cannot be encoded
    yield lines if lines.isascii() else lines.encode("utf-8", "replace").decode()
    for part in turn.parts:
        if isinstance(part, FilePart):
            yield part.digest
        elif isinstance(part, MediaPart):
            yield _packed(part.ref)
