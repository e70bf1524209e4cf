"""Says turns at the site in one account's name, in a fresh conversation or going on with one."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial

import msgspec
import structlog

from protocol.model import (
    Event,
    GatewayError,
    ModelDowngraded,
    RateLimited,
    Selection,
    Served,
    SignedOut,
    Text,
    Throttled,
    UpstreamModel,
    Waiting,
    estimate_tokens,
)
from transports.clock import Clock
from transports.web import encode, models
from transports.web.codes import AttachmentRefused, TokenRefused, is_known
from transports.web.config import Slots
from transports.web.decode import AnswerReader, Conversation
from transports.web.errors import ModelMismatch, StaleBuild, StaleToken, Temporary
from transports.web.generate import generated
from transports.web.narrate import Teller
from transports.web.quota import seconds_to_reset
from transports.web.session import Ready, Session

_TEMPORARY_PAUSE = 1.5

_log = structlog.get_logger()


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn says."""

    prompt: str
    files: tuple[encode.Uploaded, ...] = ()
    slots: Mapping[int, object] = {}
    """What its capability wants besides."""
    temporary: bool = True
    """The site shall not keep the conversation."""


class Answer:
    """The answer to one turn, as it comes; `first` has been awaited when it is handed out."""

    def __init__(
        self,
        events: AsyncIterator[Event],
        reader: AnswerReader,
        asked: Served,
        answered: Callable[[AnswerReader], UpstreamModel | None],
    ) -> None:
        """Take the events of a response that is open for as long as this is used.

        `asked` says what was asked of whom, `answered` which model the reader has seen.
        """
        self._events, self._reader = events, reader
        self._asked, self._answered = asked, answered
        self._first: list[Event] = []

    @property
    def served(self) -> Served:
        """Who answers, as far as the site has said."""
        return msgspec.structs.replace(self._asked, answered=self._answered(self._reader))

    @property
    def conversation(self) -> Conversation | None:
        """Where the site keeps the turn, as far as it has said."""
        return self._reader.conversation

    async def first(self, *, refuse_mismatch: bool = False, past_progress: bool = False) -> None:
        """Wait for the first event that says something; only waiting goes before it.

        `past_progress`: lines about what the site is doing are kept back, and the answer itself is waited for. A code
        that comes behind such lines is then raised here, when another account can still be asked.
        `refuse_mismatch`: wait until it is known which model answers, or for the first text.

        Raises:
            GatewayError: the site refused.
            ModelDowngraded: another family answers than was asked for, and that is refused.

        """
        async for event in self._events:
            if isinstance(event, Waiting):
                continue
            self._first.append(event)
            if past_progress and not self._reader.begun:
                continue
            if not refuse_mismatch or isinstance(event, Text) or self.served.answered is not None:
                break
        mismatch = self.served.mismatch
        if refuse_mismatch and mismatch is not None:
            asked, answered = mismatch
            message = f"The upstream answers with a model of the family '{answered}' in place of '{asked}'."
            raise ModelDowngraded(message, asked=asked, answered=answered)

    async def __aiter__(self) -> AsyncGenerator[Event]:
        """Yield the events."""
        for event in self._first:
            yield event
        async for event in self._events:
            yield event


class Speaker:
    """One account's turns for one request."""

    def __init__(self, session: Session, selection: Selection, teller: Teller, clock: Clock) -> None:
        """Begin without a conversation."""
        self.conversation: Conversation | None = None
        """The one that the next turn goes on with; None: a fresh one."""
        self.turn = ""
        """Id of the last turn, where the site has named one."""
        self._session, self._selection, self._teller, self._clock = session, selection, teller, clock
        self.answered: UpstreamModel | None = None
        """The model that the site says has answered the last turn, so far."""
        refuses = session.site.config.model_mismatch == "refuse"
        self._refuses_mismatch = refuses and not selection.capability.lasting  # else it would be paid for twice

    async def answer(self, stack: AsyncExitStack, words: Words) -> Answer:
        """Say a turn and await the beginning of its answer, which is open for as long as `stack` is.

        What one more try with the same account can mend is mended, once each. An attachment that is refused in the long
        form is named in the short one; an account whose site takes that keeps to it.

        Raises:
            GatewayError: the site refused.

        """
        before, forms = self.conversation, self._session.forms
        try:
            return await self._mended(stack, words, forms)
        except AttachmentRefused:
            if not words.files or forms.attachments == "short":
                raise
        _log.info("attachment_form_refused", account=self._session.name)
        self.conversation, short = before, msgspec.structs.replace(forms, attachments="short")
        answer = await self._mended(stack, words, short)
        self._session.forms = short
        return answer

    async def _mended(self, stack: AsyncExitStack, words: Words, forms: Slots) -> Answer:
        """Say a turn, and again after each kind of error that one more try with the same account can mend.

        A turn that begins paid work is not said again once the site has named it: the work may have begun.
        """
        mended: set[type[GatewayError]] = set()
        stale: Ready | None = None
        before = self.conversation
        while True:
            ready = await self._session.ready(stale)
            signing = self._session.signing
            try:
                return await self._attempt(stack, ready, words, forms)
            except (StaleToken, StaleBuild, TokenRefused, ModelMismatch, Temporary, SignedOut) as error:
                if isinstance(error, SignedOut):
                    await self._session.forget(ready)
                ended = type(error) is SignedOut and not await self._session.renewed(signing)
                underway = self._selection.capability.lasting and self.turn
                if type(error) in mended or ended or underway:
                    raise
                mended.add(type(error))
                self.conversation = before
                stale = await self._mend(error, ready) or stale
            except RateLimited as error:
                await self._learn_reset(ready, error)
                raise

    async def _mend(self, error: GatewayError, ready: Ready) -> Ready | None:
        """Do what an error asks for before the call is sent again; return the session if it must be fetched again."""
        match error:
            case Temporary():
                await self._clock.sleep(_TEMPORARY_PAUSE)
                return None
            case StaleToken():
                # The page is still good. The request gets a new UUID: the site refused the first one before
                # it did anything, and never sees the same UUID twice.
                self._session.site.keep(error)
                return None
            case TokenRefused():
                await self._session.forget_token(ready)
                return ready
            case _:
                return ready

    async def _attempt(self, stack: AsyncExitStack, ready: Ready, words: Words, forms: Slots) -> Answer:
        async with AsyncExitStack() as attempt:
            await self._session.ping(ready)
            answer = await attempt.enter_async_context(self._send(ready, words, forms))
            lasting = self._selection.capability.lasting  # its turn may have been paid for: it is not said again
            await answer.first(refuse_mismatch=self._refuses_mismatch, past_progress=not lasting)
            stack.push_async_exit(attempt.pop_all())
            return answer

    async def _learn_reset(self, ready: Ready, error: RateLimited) -> None:
        """Find out when a limit that is used up is reset, where the site tells an account."""
        told = error.retry_after is not None or isinstance(error, Throttled)
        if not told and self._session.site.vault is not None:
            family = self._selection.model.family
            error.retry_after = await seconds_to_reset(self._session, ready, family, self._clock)

    @asynccontextmanager
    async def _send(self, ready: Ready, words: Words, forms: Slots) -> AsyncGenerator[Answer]:
        session, model = self._session, self._model(ready)
        self.turn = ""
        call = encode.GenerateCall(
            prompt=words.prompt,
            language=ready.page.language,
            request_uuid=str(uuid.uuid4()).upper(),
            client_uuid=session.site.client_uuid,
            model=model,
            extended=self._selection.extended,
            temporary=words.temporary,
            files=words.files,
            slots=words.slots,
            forms=forms,
            conversation=self.conversation,
        )
        reader = AnswerReader(
            max_frame=session.site.config.max_frame,
            input_tokens=estimate_tokens(words.prompt),
            teller=self._teller,
            turn=self.conversation.turn + 1 if self.conversation is not None else 0,
        )
        async with aclosing(generated(session.site, ready, call, reader)) as events:
            try:
                yield Answer(events, reader, self._asked(model, ready), partial(self._note_answered, ready))
            finally:
                self.turn = reader.rid
                self._note_answered(ready, reader)
                _note_code(reader, session.name)
                self.conversation = reader.conversation or self.conversation

    async def served(self) -> Served:
        """Return who is asked; which model answers is known later.

        Raises:
            GatewayError: the account cannot.

        """
        ready = await self._session.ready()
        return self._asked(self._model(ready), ready)

    def _asked(self, model: encode.SiteModel | None, ready: Ready) -> Served:
        described = models.asked(self._selection.model, model, ready.status)
        return Served(transport=self._teller.transport, account=self._session.name, asked=described)

    def _note_answered(self, ready: Ready, reader: AnswerReader) -> UpstreamModel | None:
        found = models.answered(reader.model_id, reader.model_name, ready.status)
        if found is not None:
            self.answered = self._session.answered = found
        return found

    def _model(self, ready: Ready) -> encode.SiteModel | None:
        session = self._session
        if session.site.vault is None:
            return None
        chosen = self._selection.model
        return models.choose(chosen, self._teller.transport, ready.status)

    async def say(
        self,
        text: str,
        slots: Mapping[int, object],
        files: tuple[encode.Uploaded, ...] = (),
    ) -> AsyncGenerator[Event]:
        """Say a turn that the site keeps, going on with the last one; yield what its stream says.

        Raises:
            GatewayError: the site refused, or its answer broke off.

        """
        async with AsyncExitStack() as stack:
            answer = await self.answer(stack, Words(prompt=text, files=files, slots=slots, temporary=False))
            async for event in answer:
                self.conversation = answer.conversation or self.conversation
                yield event


def _note_code(reader: AnswerReader, account: str) -> None:
    """Log the code that came with an answer."""
    if reader.code is None:
        return
    if reader.ignored:
        _log.info("answer_code_ignored", account=account, code=reader.code)
    elif is_known(reader.code):
        _log.info("answer_code_received", account=account, code=reader.code)
    else:
        _log.warning("answer_code_unknown", account=account, code=reader.code)
