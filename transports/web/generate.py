"""One call to StreamGenerate, as the events of its answer. Source: "StreamGenerate"."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

import aiohttp
import anyio

from protocol.model import Event, UpstreamFailed, UpstreamTimeout
from transports.http import CLIENT_ERRORS, mapped
from transports.web import encode, wire
from transports.web.client import SiteClient
from transports.web.decode import AnswerReader
from transports.web.errors import html_instead_of_frames
from transports.web.refusal import LONGEST_REFUSAL, answer_error
from transports.web.session import Ready

_REFUSAL_SECONDS = 5.0
"""How long the body of an HTTP 400 is waited for."""
_AFTER_COMPLETE = 5.0
"""A whole answer's stream is given so many seconds to end."""


async def generated(
    site: SiteClient,
    ready: Ready,
    call: encode.GenerateCall,
    reader: AnswerReader,
) -> AsyncGenerator[Event]:
    """Send a call and yield its answer's events; closing this before its end closes the response at once."""
    config = site.config
    watch = _Watch(config.timeouts.first_frame, config.timeouts.between_frames)
    request = site.request(
        "POST",
        site.url(wire.GENERATE_PATH),
        encode.generate_headers(call, config.hosts.site) | site.user_headers,
        params=site.query(ready.page),
        data=encode.generate_form(call, site.access_token),
    )
    try:
        with anyio.fail_at(watch.until):
            response = await request
        try:
            await _check(response)
            async for chunk in _chunks(response, reader, watch):
                for event in reader.feed(chunk):
                    yield event
        finally:
            if reader.finished:
                site.leave(response)
            else:
                response.close()
    except CLIENT_ERRORS as error:
        if not reader.complete:
            raise _failure(error, started=bool(reader.frames)) from None
    for event in reader.end():
        yield event


async def _check(response: aiohttp.ClientResponse) -> None:
    """Raise what an answer stands for that is no stream of frames."""
    if response.status == 400:
        raise answer_error(400, response.headers, await _refusal(response))
    if response.status != 200:
        raise answer_error(response.status, response.headers)
    if response.content_type == "text/html":
        raise html_instead_of_frames()


async def _refusal(response: aiohttp.ClientResponse) -> bytes:
    """Read the body of a refusal as far as it comes, within bounds: it says more, but the status alone decides."""
    body = bytearray()
    with anyio.move_on_after(_REFUSAL_SECONDS), suppress(*CLIENT_ERRORS):
        while len(body) < LONGEST_REFUSAL and (chunk := await response.content.readany()):
            body += chunk
    return bytes(body)


async def _chunks(
    response: aiohttp.ClientResponse,
    reader: AnswerReader,
    watch: "_Watch",
) -> AsyncIterator[bytes]:
    over: float | None = None
    while not reader.finished:
        if not reader.complete:
            over = None
        elif over is None:
            over = watch.now() + _AFTER_COMPLETE
        until = watch.until if over is None else over
        chunk = None
        with anyio.CancelScope(deadline=until):
            chunk = await response.content.readany()
        if chunk is None:
            raise TimeoutError
        if not chunk:
            return
        yield chunk
        watch.seen(reader.frames)


class _Watch:
    """Measures the wait for the next valid frame; bytes that make none do not count."""

    def __init__(self, first: float, between: float) -> None:
        self._between = between
        self._frames = 0
        self.now = asyncio.get_running_loop().time
        """The clock of deadlines, without asking each time whose it is."""
        self.until = self.now() + first

    def seen(self, frames: int) -> None:
        if frames != self._frames:
            self._frames = frames
            self.until = self.now() + self._between


def _failure(error: Exception, *, started: bool) -> UpstreamFailed:
    if started and isinstance(error, TimeoutError):
        return UpstreamTimeout("The upstream stopped in the middle of its answer.", code="upstream_stalled")
    return mapped(error)
