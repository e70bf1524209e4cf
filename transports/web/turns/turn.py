"""Sends turns to the site with one account, in a new or an existing conversation, with retries."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress

import aiohttp
import anyio
import msgspec
import structlog

from protocol.model import (
    NO_USAGE,
    Event,
    Exchange,
    Finish,
    GatewayError,
    Media,
    ModelDowngraded,
    RateLimited,
    Returnable,
    Rewritten,
    Selection,
    Served,
    SignedOut,
    Text,
    Throttled,
    UpstreamModel,
    UpstreamTimeout,
    peek,
)
from transports.clock import Clock
from transports.http import CLIENT_ERRORS, is_html, mapped
from transports.timed_bytes import TimedBytes
from transports.web import wire
from transports.web.codec import encode, models
from transports.web.codec.answer import AnswerReader, SiteConversation
from transports.web.codec.batch import LONGEST_REFUSAL, answer_error
from transports.web.codec.codes import AttachmentRefused, TokenRefused, is_known
from transports.web.codec.events import MediaRefs
from transports.web.config import Slots
from transports.web.errors import ModelMismatch, StaleBuild, StaleToken, Temporary, html_instead_of_frames
from transports.web.session.client import SiteClient
from transports.web.session.session import Ready, Session

_REFUSAL_SECONDS = 5.0
"""How long to wait for the body of an HTTP 400."""


class Generation:
    """One call to StreamGenerate: `begin` sends it, then it yields the events of its answer. Always `close` it.

    One iterator does all the work, for speed; peeked events are put back here.
    """

    def __init__(self, site: SiteClient, ready: Ready, call: encode.GenerateCall, reader: AnswerReader) -> None:
        """Decode the answer with `reader`."""
        self._site, self._ready, self._call, self._reader = site, ready, call, reader
        self._response: aiohttp.ClientResponse | None = None
        self._chunks: TimedBytes | None = None
        self._events: Iterator[Event] = iter(())
        """Events decoded from the last bytes."""
        self._first: list[Event] = []
        self._over = False

    async def begin(self) -> None:
        """Send the call and wait for the head of its answer.

        Raises:
            GatewayError: the site refused, or did not answer in time.

        """
        site, timeouts = self._site, self._site.config.timeouts
        until = asyncio.get_running_loop().time() + timeouts.first_frame
        version = site.cookies_version
        request = site.post(
            wire.GENERATE_PATH,
            self._ready.page,
            encode.generate_headers(self._call, site.config.hosts.site),
            encode.generate_form(self._call, site.access_token),
        )
        try:
            async with asyncio.timeout_at(until):
                self._response = response = await request
            site.note_cookies(response, since=version)
            self._chunks = TimedBytes(response.content, until, timeouts.between_frames)
            if response.status != 200:
                body = bytearray()
                if response.status == 400:  # the body only adds detail to the status, so it is not waited for long
                    with anyio.move_on_after(_REFUSAL_SECONDS), suppress(*CLIENT_ERRORS):
                        while len(body) < LONGEST_REFUSAL and (chunk := await response.content.readany()):
                            body += chunk
                raise answer_error(response.status, response.headers, bytes(body))
            if is_html(response.headers):
                raise html_instead_of_frames()
        except CLIENT_ERRORS as error:
            raise mapped(error) from None

    def __aiter__(self) -> "Generation":
        """Return this iterator."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            GatewayError: the site refused, or the answer broke off.

        """
        if self._first:
            return self._first.pop(0)
        reader = self._reader
        while True:
            try:
                for event in self._events:
                    return _prompted(event, self._call.prompt)
                if self._over or self._chunks is None:
                    raise StopAsyncIteration
                self._chunks.note(reader.frames, complete=reader.complete)
                chunk = b"" if reader.finished else await self._chunks.next()
            except CLIENT_ERRORS as error:
                if not reader.complete:
                    stalled = reader.frames and isinstance(error, TimeoutError)
                    message = "The upstream stopped in the middle of its answer."
                    raise (UpstreamTimeout(message, code="upstream_stalled") if stalled else mapped(error)) from None
                chunk = b""
            if chunk:
                self._events = reader.feed(chunk)
            else:
                self.close()
                self._events, self._over = reader.end(), True

    def put_back(self, events: Iterable[Event]) -> None:
        """As `protocol.model.Returnable.put_back`."""
        self._first.extend(events)

    def close(self) -> None:
        """Release the response: reuse the connection after a complete answer, else close it."""
        self._over = True
        response, self._response = self._response, None
        if self._chunks is not None:
            self._chunks.close()
        if response is None:
            return
        if self._reader.finished:
            self._site.finish_response(response)
        else:
            response.close()


def _prompted(event: Event, prompt: str) -> Event:
    """Return the event with the prompt set as `revised_prompt` of media that have none."""
    match event:
        case Media(revised_prompt=""):
            return msgspec.structs.replace(event, revised_prompt=prompt)
        case Finish(rewritten=Rewritten() as whole):
            pieces = tuple(
                msgspec.structs.replace(piece, revised_prompt=prompt)
                if isinstance(piece, Media) and not piece.revised_prompt
                else piece
                for piece in whole.pieces
            )
            return msgspec.structs.replace(event, rewritten=msgspec.structs.replace(whole, pieces=pieces))
        case _:
            return event


_TEMPORARY_PAUSE = 1.5

_RETRYABLE = (StaleToken, StaleBuild, TokenRefused, ModelMismatch, Temporary, SignedOut)

_log = structlog.get_logger()


class TurnContent(msgspec.Struct, frozen=True, kw_only=True):
    """The content of one turn."""

    prompt: str
    files: tuple[encode.Uploaded, ...] = ()
    slots: Mapping[int, object] = {}
    """Additional request slots of its capability."""
    temporary: bool = True
    """Ask the site not to store the conversation."""


class TurnAnswer(Exchange):
    """The answer to one turn; `first` has been awaited before callers get it."""

    __slots__ = ("_reader", "_source")

    def __init__(self, served: Callable[[], Served], events: Returnable, reader: AnswerReader) -> None:
        """Take the events that `reader` decodes."""
        super().__init__(served, aiter(events))
        self._source, self._reader = events, reader

    @property
    def conversation(self) -> SiteConversation | None:
        """The conversation of the turn, if the site has named it."""
        return self._reader.conversation

    async def first(self, *, refuse_mismatch: bool = False, past_progress: bool = False) -> None:
        """Wait for the first event that decides whether the answer is usable.

        `past_progress`: skip progress lines and wait for the answer itself. An error code after such lines is then
        raised here, where another account can still be tried.
        `refuse_mismatch`: wait until the answering model is known, or for the first text.

        Raises:
            GatewayError: the site refused.
            ModelDowngraded: a model of another family answers, and the settings refuse that.

        """
        reader = self._reader

        def enough(event: Event) -> bool:
            if past_progress and not reader.begun:
                return False
            return not refuse_mismatch or isinstance(event, Text) or self.served.answered is not None

        await peek(self._source, enough)
        mismatch = self.served.mismatch if refuse_mismatch else None
        if mismatch is not None:
            requested, answered = mismatch
            message = f"The upstream answered with a model of the family '{answered}' instead of '{requested}'."
            raise ModelDowngraded(message, requested=requested, answered=answered)


class TurnSender:
    """Sends the turns of one request with one account."""

    def __init__(self, session: Session, selection: Selection, media_refs: MediaRefs, clock: Clock) -> None:
        """Start without a conversation."""
        self.conversation: SiteConversation | None = None
        """The conversation that the next turn continues; None: a new one."""
        self.turn = ""
        """Id of the last turn, if the site has named it."""
        self.prompt = NO_USAGE
        """The usage of the request's prompt."""
        self._session, self._selection, self._media_refs, self._clock = session, selection, media_refs, clock
        self.answered: UpstreamModel | None = None
        """The model that answered the last turn, if the site has named it."""
        refuses = session.site.config.model_mismatch == "refuse"
        self._refuses_mismatch = refuses and not selection.capability.long_running  # a retry would be billed twice

    async def answer(self, stack: AsyncExitStack, content: TurnContent) -> TurnAnswer:
        """Send a turn and wait for the first event of its answer, which stays open until `stack` closes.

        Each kind of retryable error is retried once with the same account. If attachments in the long form are refused,
        the short form is tried, and kept for the account if it works. A turn that starts paid work is not sent again
        once the site has named it: the work may have started.

        Raises:
            GatewayError: the site refused.

        """
        session, before = self._session, self.conversation
        default = session.request_forms
        forms: Slots = default
        retried: set[type[GatewayError]] = set()
        stale: Ready | None = None
        while True:
            ready = await session.ready(stale)
            credentials = session.credentials_id
            try:
                answer = await self._attempt(stack, ready, content, forms)
            except AttachmentRefused:
                if not content.files or forms.attachments == "short":
                    raise
                _log.info("attachment_form_refused", account=session.name)
                forms, stale = msgspec.structs.replace(forms, attachments="short"), None
                retried.clear()
            except _RETRYABLE as error:
                stale = await self._prepare_retry(error, ready, credentials, retried) or stale
            except RateLimited as error:
                known = error.retry_after is not None or isinstance(error, Throttled)
                if not known and session.site.session_store is not None:
                    error.retry_after = await session.seconds_to_reset(ready, self._selection.model.family)
                raise
            else:
                session.request_forms = session.request_forms if forms is default else forms
                return answer
            self.conversation = before

    async def _prepare_retry(
        self, error: GatewayError, ready: Ready, credentials: object, retried: set[type[GatewayError]]
    ) -> Ready | None:
        """Prepare the retry after `error`, unless it is in `retried`; return the session if it must be fetched again.

        Raises:
            GatewayError: `error`, if a retry cannot help; a signed-out session must have been renewed meanwhile.

        """
        if isinstance(error, SignedOut):
            await self._session.forget(ready)
        if type(error) is SignedOut and not await self._session.credentials_changed(credentials):
            raise error
        if type(error) in retried or (self._selection.capability.long_running and self.turn):
            raise error
        retried.add(type(error))
        match error:
            case Temporary():
                await self._clock.sleep(_TEMPORARY_PAUSE)
                return None
            case StaleToken():
                # The page is still good. The request gets a new UUID: the site refused the first one before
                # it did anything, and never sees the same UUID twice.
                self._session.site.use_token(error)
                return None
            case TokenRefused():
                await self._session.forget_token(ready)
                return ready
            case _:
                return ready

    async def _attempt(self, stack: AsyncExitStack, ready: Ready, content: TurnContent, forms: Slots) -> TurnAnswer:
        session = self._session
        await session.ping(ready)
        model = self._model(ready)
        reader = AnswerReader(
            max_frame=session.site.config.max_frame,
            prompt=self.prompt,
            refs=self._media_refs,
            turn=self.conversation.turn + 1 if self.conversation is not None else 0,
        )
        call = encode.GenerateCall(
            prompt=content.prompt,
            language=ready.page.language,
            request_uuid=str(uuid.uuid4()).upper(),
            client_uuid=session.site.client_uuid,
            model=model,
            extended=self._selection.extended,
            temporary=content.temporary,
            files=content.files,
            slots=content.slots,
            forms=forms,
            conversation=self.conversation,
        )
        generation = Generation(session.site, ready, call, reader)
        answer = TurnAnswer(
            ServedTracker(self, ready, reader, self._served_by(model, ready)).served, generation, reader
        )
        lasting = self._selection.capability.long_running  # its turn may have been billed: do not send it again
        self.turn = ""
        try:
            await generation.begin()
            await answer.first(refuse_mismatch=self._refuses_mismatch, past_progress=not lasting)
        except BaseException:
            self._close(generation, ready, reader)
            raise
        stack.callback(self._close, generation, ready, reader)
        return answer

    def _close(self, generation: Generation, ready: Ready, reader: AnswerReader) -> None:
        """Close an answer; keep its turn id, model, code and conversation."""
        generation.close()
        self.turn = reader.rid
        self.note_answered(ready, reader)
        if reader.code is not None:
            name = "answer_code_ignored" if reader.ignored else "answer_code_received"
            if reader.ignored or is_known(reader.code):
                _log.info(name, account=self._session.name, code=reader.code)
            else:
                _log.warning("answer_code_unknown", account=self._session.name, code=reader.code)
        self.conversation = reader.conversation or self.conversation
        if self.conversation is not None:
            self._session.claims.add(self.conversation.cid)

    async def served(self) -> Served:
        """Return the account and the requested model; the answering model is known later.

        Raises:
            GatewayError: the account cannot serve the model.

        """
        ready = await self._session.ready()
        return self._served_by(self._model(ready), ready)

    def _served_by(self, model: encode.ModelHeader | None, ready: Ready) -> Served:
        described = models.asked(self._selection.model, model, ready.status)
        return Served(transport=self._media_refs.transport, account=self._session.name, requested=described)

    def note_answered(self, ready: Ready, reader: AnswerReader) -> UpstreamModel | None:
        """Return the answering model if the site has named it, and remember it."""
        found = models.answered(reader.model_id, reader.model_name, ready.status)
        if found is not None:
            self.answered = self._session.last_model = found
        return found

    def _model(self, ready: Ready) -> encode.ModelHeader | None:
        session = self._session
        if session.site.session_store is None:
            return None
        chosen = self._selection.model
        return models.choose(chosen, self._media_refs.transport, ready.status)

    async def send(
        self,
        text: str,
        slots: Mapping[int, object],
        files: tuple[encode.Uploaded, ...] = (),
    ) -> AsyncGenerator[Event]:
        """Send a turn that the site stores, in the conversation of the last one; yield its events.

        Raises:
            GatewayError: the site refused, or its answer broke off.

        """
        async with AsyncExitStack() as stack:
            answer = await self.answer(stack, TurnContent(prompt=text, files=files, slots=slots, temporary=False))
            async for event in answer.events:
                self.conversation = answer.conversation or self.conversation
                yield event


class ServedTracker:
    """Tracks which model answers a turn; recomputed only when the site names another one."""

    def __init__(self, sender: TurnSender, ready: Ready, reader: AnswerReader, requested: Served) -> None:
        """Start with the requested model."""
        self._sender, self._ready, self._reader, self._served = sender, ready, reader, requested
        self._model_seen = ("", "")

    def served(self) -> Served:
        """Return the account and the answering model."""
        seen = (self._reader.model_id, self._reader.model_name)
        if seen != self._model_seen:
            answered = self._sender.note_answered(self._ready, self._reader)
            self._model_seen, self._served = seen, msgspec.structs.replace(self._served, answered=answered)
        return self._served
