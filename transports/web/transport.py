"""The Gemini website as a transport: one request to StreamGenerate, its answer as events.

Source: "StreamGenerate", "Codes".
"""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import aiohttp
import anyio

from protocol.model import (
    Capability,
    Event,
    GatewayError,
    GenerationRequest,
    MediaRef,
    MediaStream,
    Selection,
    Served,
    SignedOut,
    UpstreamFailed,
    UpstreamTimeout,
    Waiting,
    estimate_tokens,
)
from transports.base import Account
from transports.clock import Clock
from transports.http import CLIENT_ERRORS, mapped
from transports.web import encode, models, wire
from transports.web.client import SiteClient, answer_error
from transports.web.decode import AnswerReader
from transports.web.errors import ModelMismatch, StaleToken, Temporary, html_instead_of_frames
from transports.web.prompt import flatten
from transports.web.session import Ready, Session

_TEMPORARY_PAUSE = 1.5
_AFTER_COMPLETE = 5.0
"""A whole answer's stream is given so many seconds to end."""


class Answer:
    """The answer to one request, as it comes; `first` has been awaited when it is handed out."""

    def __init__(self, events: AsyncIterator[Event], served: Served) -> None:
        """Take the events of a response that is open for as long as this is used."""
        self._events = events
        self._first: Event | None = None
        self.served = served

    async def first(self) -> None:
        """Wait for the first event that says something; only waiting goes before it.

        Raises:
            GatewayError: the site refused.

        """
        async for event in self._events:
            if not isinstance(event, Waiting):
                self._first = event
                return

    async def __aiter__(self) -> AsyncGenerator[Event]:
        """Yield the events."""
        if self._first is not None:
            yield self._first
        async for event in self._events:
            yield event


class WebTransport:
    """The website with the operator's accounts, and as a guest."""

    def __init__(self, name: str, sessions: Mapping[str, Session], accounts: Sequence[Account], clock: Clock) -> None:
        """Serve `accounts`, whose sessions are `sessions`."""
        self.name = name
        self.accounts = accounts
        self._sessions, self._clock = sessions, clock
        self._field13 = {
            account.id for session in sessions.values() for account in session.site.config.accounts if account.field13
        }

    def offers(self, selection: Selection) -> bool:
        """Say whether some account can do it: chat, for now; a guest only what needs no account."""
        served = any(selection.model.guest or not account.guest for account in self.accounts)
        return served and selection.capability is Capability.CHAT

    @asynccontextmanager
    async def open(self, request: GenerationRequest, account: Account) -> AsyncGenerator[Answer]:
        """Send the request; what one more try with the same account can mend is mended, once each."""
        session = self._sessions[account.id]
        prompt = flatten(request.turns)
        async with AsyncExitStack() as stack:
            yield await self._answer(stack, session, request.selection, prompt)

    def media(self, ref: MediaRef, *, original: bool) -> AbstractAsyncContextManager[MediaStream]:
        """Open a piece of media with the account's cookies."""
        raise NotImplementedError

    async def _answer(self, stack: AsyncExitStack, session: Session, selection: Selection, prompt: str) -> Answer:
        mended: set[type[GatewayError]] = set()
        stale: Ready | None = None
        while True:
            ready = await session.ready(stale)
            try:
                await session.ping(ready)
                answer = await stack.enter_async_context(self._send(session, ready, selection, prompt))
                await answer.first()
            except (StaleToken, ModelMismatch, Temporary, SignedOut) as error:
                if isinstance(error, SignedOut):
                    await session.forget(ready)
                if type(error) in mended or type(error) is SignedOut:
                    raise
                mended.add(type(error))
                await stack.aclose()
                if isinstance(error, Temporary):
                    await self._clock.sleep(_TEMPORARY_PAUSE)
                else:
                    stale = ready
            else:
                return answer

    @asynccontextmanager
    async def _send(
        self,
        session: Session,
        ready: Ready,
        selection: Selection,
        prompt: str,
    ) -> AsyncGenerator[Answer]:
        model = None
        if session.site.vault is not None:
            field13 = session.name in self._field13
            model = models.choose(selection.model, self.name, ready.status, field13=field13)
        call = encode.GenerateCall(
            prompt=prompt,
            language=ready.page.language,
            request_uuid=str(uuid.uuid4()).upper(),
            client_uuid=session.site.client_uuid,
            model=model,
            extended=selection.extended,
            temporary=session.site.config.temporary,
        )
        served = Served(transport=self.name, account=session.name, model=model.id if model else "default")
        reader = AnswerReader(max_frame=session.site.config.max_frame, input_tokens=estimate_tokens(prompt))
        async with aclosing(_events(session.site, ready, call, reader)) as events:
            yield Answer(events, served)


async def _events(
    site: SiteClient,
    ready: Ready,
    call: encode.GenerateCall,
    reader: AnswerReader,
) -> AsyncGenerator[Event]:
    """Send a call and yield its answer's events; closing this closes the response at once."""
    config = site.config
    watch = _Watch(config.timeouts.first_frame, config.timeouts.between_frames)
    request = site.request(
        "POST",
        config.hosts.site + wire.GENERATE_PATH,
        encode.generate_headers(call, config.hosts.site),
        params=site.query(ready.page),
        data=encode.generate_form(call, ready.page.access_token),
    )
    async with AsyncExitStack() as stack:
        try:
            response = await _response(stack, request, watch)
            async for chunk in _chunks(response, reader, watch):
                for event in reader.feed(chunk):
                    yield event
        except CLIENT_ERRORS as error:
            if not reader.complete:
                raise _failure(error, started=bool(reader.frames)) from None
        for event in reader.end():
            yield event


async def _response(stack: AsyncExitStack, request: Any, watch: "_Watch") -> aiohttp.ClientResponse:
    with anyio.fail_after(watch.left()):
        response = await stack.enter_async_context(request)
    stack.callback(response.close)
    if response.status != 200:
        raise answer_error(response.status, response.headers)
    if response.content_type == "text/html":
        raise html_instead_of_frames()
    return response


async def _chunks(
    response: aiohttp.ClientResponse,
    reader: AnswerReader,
    watch: "_Watch",
) -> AsyncIterator[bytes]:
    while not reader.finished:
        with anyio.fail_after(_AFTER_COMPLETE if reader.complete else watch.left()):
            chunk = await response.content.readany()
        if not chunk:
            return
        yield chunk
        watch.seen(reader.frames)


class _Watch:
    """Measures the wait for the next valid frame; bytes that make none do not count."""

    def __init__(self, first: float, between: float) -> None:
        self._between = between
        self._frames = 0
        self._until = anyio.current_time() + first

    def left(self) -> float:
        return max(0.0, self._until - anyio.current_time())

    def seen(self, frames: int) -> None:
        if frames != self._frames:
            self._frames = frames
            self._until = anyio.current_time() + self._between


def _failure(error: Exception, *, started: bool) -> UpstreamFailed:
    if started and isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream stopped in the middle of its answer.", code="upstream_stalled")
    return mapped(error)
