"""One call to StreamGenerate, as the events of its answer. Source: "StreamGenerate"."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress

import aiohttp
import anyio
import msgspec

from protocol.model import Event, Finish, Media, Rewritten, UpstreamFailed, UpstreamTimeout
from transports.http import CLIENT_ERRORS, is_html, mapped
from transports.interleave import interleaver
from transports.web import wire
from transports.web.codec import encode
from transports.web.codec.decode import AnswerReader
from transports.web.codec.refusals import LONGEST_REFUSAL, answer_error
from transports.web.errors import html_instead_of_frames
from transports.web.session.client import SiteClient
from transports.web.session.session import Ready

_REFUSAL_SECONDS = 5.0
"""How long the body of an HTTP 400 is waited for."""
_AFTER_COMPLETE = 5.0
"""A whole answer's stream is given so many seconds to end."""


class Generation:
    """One call to StreamGenerate: `begin` sends it, then it yields the events of its answer. Always `close` it.

    An event passes this one iterator on its way from the decoder: no generator stands between, and events that were
    looked at are put back here.
    """

    def __init__(self, site: SiteClient, ready: Ready, call: encode.GenerateCall, reader: AnswerReader) -> None:
        """Decode the answer with `reader`."""
        self._site, self._ready, self._call, self._reader = site, ready, call, reader
        self._response: aiohttp.ClientResponse | None = None
        self._chunks: _Chunks | None = None
        self._events: Iterator[Event] = iter(())
        """The events of the bytes that were read last."""
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
            self._chunks = _Chunks(response.content, until, timeouts.between_frames)
            await _check(response)
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
                self._chunks.note(reader)
                chunk = b"" if reader.finished else await self._chunks.next()
            except CLIENT_ERRORS as error:
                if not reader.complete:
                    raise _failure(error, started=bool(reader.frames)) from None
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
        """Let go of the response: its connection is used again where the answer is whole, else closed at once."""
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


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what an answer stands for that is no stream of frames."""
    if response.status == 400:
        raise answer_error(400, response.headers, await _refusal(response))
    if response.status != 200:
        raise answer_error(response.status, response.headers)
    if is_html(response.headers):
        raise html_instead_of_frames()


async def _refusal(response: aiohttp.ClientResponse) -> bytes:
    """Read the body of a refusal as far as it comes, within bounds: it says more, but the status alone decides."""
    body = bytearray()
    with anyio.move_on_after(_REFUSAL_SECONDS), suppress(*CLIENT_ERRORS):
        while len(body) < LONGEST_REFUSAL and (chunk := await response.content.readany()):
            body += chunk
    return bytes(body)


class _Chunks:
    """An answer's bytes as they come, for as long as valid frames come in time; bytes that make none do not count.

    One timer serves the whole answer. A scope around each read would cost as much as the read itself.
    """

    def __init__(self, content: aiohttp.StreamReader, until: float, between: float) -> None:
        """Raise TimeoutError to who waits at `until`, and after each frame `between` seconds later."""
        self._content, self._until, self._between = content, until, between
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(until, self._look)
        self._interleaver = interleaver()
        self._frames = 0
        self._waiting = self._complete = False

    async def next(self) -> bytes:
        """Return the next bytes, none at the end; once the answer has begun, let requests that have not go first.

        Raises:
            TimeoutError: no valid frame came in time.

        """
        self._waiting = True
        try:
            chunk = await self._content.readany()
        finally:
            self._waiting = False
        if self._frames:
            await self._interleaver.turn()
        return chunk

    def note(self, reader: AnswerReader) -> None:
        """Take it that the reader has read what came."""
        if reader.complete:
            if not self._complete:
                self._until = self._loop.time() + _AFTER_COMPLETE
                self._timer.cancel()
                self._timer = self._loop.call_at(self._until, self._look)
        elif reader.frames != self._frames or self._complete:
            self._until = self._loop.time() + self._between
        self._complete, self._frames = reader.complete, reader.frames

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        """End the wait if it is too long; look again later if it is not, or while the reader is busy."""
        now = self._loop.time()
        if not self._waiting:
            self._until = max(self._until, now + self._between)
        if self._until <= now:
            self._content.set_exception(TimeoutError())
        else:
            self._timer = self._loop.call_at(self._until, self._look)


def _prompted(event: Event, prompt: str) -> Event:
    """Return an event; media say what prompt they were made of, unless the site has changed it."""
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


def _failure(error: Exception, *, started: bool) -> UpstreamFailed:
    if started and isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream stopped in the middle of its answer.", code="upstream_stalled")
    return mapped(error)
