"""Sends one StreamGenerate call and iterates over the events of its answer. Source: "StreamGenerate"."""

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
from transports.web.codec.answer import AnswerReader
from transports.web.codec.batch import LONGEST_REFUSAL, answer_error
from transports.web.errors import html_instead_of_frames
from transports.web.session.client import SiteClient
from transports.web.session.session import Ready

_REFUSAL_SECONDS = 5.0
"""How long the body of an HTTP 400 is waited for."""
_AFTER_COMPLETE = 5.0
"""How long the stream of a complete answer may take to end."""


class Generation:
    """One call to StreamGenerate: `begin` sends it, then it yields the events of its answer. Always `close` it.

    This one iterator is all that stands between the decoder and the caller, for speed; peeked events are put back here.
    """

    def __init__(self, site: SiteClient, ready: Ready, call: encode.GenerateCall, reader: AnswerReader) -> None:
        """Decode the answer with `reader`."""
        self._site, self._ready, self._call, self._reader = site, ready, call, reader
        self._response: aiohttp.ClientResponse | None = None
        self._chunks: _Chunks | None = None
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
            self._chunks = _Chunks(response.content, until, timeouts.between_frames)
            if response.status == 400:
                raise answer_error(400, response.headers, await _refusal(response))
            if response.status != 200:
                raise answer_error(response.status, response.headers)
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


async def _refusal(response: aiohttp.ClientResponse) -> bytes:
    """Read the body of a refusal within bounds of time and size; it only adds detail to the status."""
    body = bytearray()
    with anyio.move_on_after(_REFUSAL_SECONDS), suppress(*CLIENT_ERRORS):
        while len(body) < LONGEST_REFUSAL and (chunk := await response.content.readany()):
            body += chunk
    return bytes(body)


class _Chunks:
    """Reads a response's bytes, with a timeout that only valid frames reset.

    One timer serves the whole answer. A scope around each read would cost as much as the read itself.
    """

    def __init__(self, content: aiohttp.StreamReader, until: float, between: float) -> None:
        """Time out at `until`, and after each frame `between` seconds later."""
        self._content, self._until, self._between = content, until, between
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(until, self._look)
        self._interleaver = interleaver()
        self._frames = 0
        self._waiting = self._complete = False

    async def next(self) -> bytes:
        """Return the next bytes, empty at the end; after the first frame, yield to requests that have none yet.

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
        """Update the timeout from the reader's progress."""
        if reader.complete:
            if not self._complete:
                self._until = self._loop.time() + _AFTER_COMPLETE
                self._timer.cancel()
                self._timer = self._loop.call_at(self._until, self._look)
        elif reader.frames != self._frames or self._complete:
            self._until = self._loop.time() + self._between
        self._complete, self._frames = reader.complete, reader.frames

    def close(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()

    def _look(self) -> None:
        """Time out a wait that is too long, else check again later."""
        now = self._loop.time()
        if not self._waiting:
            self._until = max(self._until, now + self._between)
        if self._until <= now:
            self._content.set_exception(TimeoutError())
        else:
            self._timer = self._loop.call_at(self._until, self._look)


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


def _failure(error: Exception, *, started: bool) -> UpstreamFailed:
    if started and isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream stopped in the middle of its answer.", code="upstream_stalled")
    return mapped(error)
