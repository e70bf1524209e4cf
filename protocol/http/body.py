"""Reads request bodies under a size limit, a deadline and a memory budget, and decodes them.

A body of up to 64 KiB is not counted in the budget: the limit of concurrent requests bounds these. Of a longer body,
at most 64 KiB are read before memory is reserved, so a client that sends nothing reserves nothing. A client that stops
later is disconnected when other requests wait for memory. A body of up to 1 MiB is read whole. A longer body is passed
in blocks, in a worker thread, to a sink that keeps its long parts on disk; the budget counts the parts in memory.
"""

import asyncio
import codecs
import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio
import msgspec
from starlette.requests import Request

from protocol.http.budget import Sender
from protocol.http.content_coding import Decoding, codings_of
from protocol.http.context import RequestContext, RequestLimits, context_of
from protocol.http.errors import ClientGone, HttpError, shutting_down
from protocol.http.long_strings import LongStrings
from protocol.http.parallel import WorkerThreads, in_thread
from protocol.model import BadRequest, GatewayError

ValueT = TypeVar("ValueT")

FREE_BYTES = 64 * 1024
"""A body of up to this many bytes is not counted in the budget."""
_BYTES_PER_SECOND = 256 * 1024
_LONGEST_FACTOR = 4
_LEAST_SECONDS = 0.1
"""The least time that a client has after the gateway worked on its body."""
_OFF_LOOP_BYTES = 1024 * 1024
_BLOCK_BYTES = 512 * 1024
_WORKING_BYTES = 2 * 1024 * 1024
"""The memory that a long body takes while its blocks are processed."""
_FIRST_BYTES = 2 * _OFF_LOOP_BYTES + _BLOCK_BYTES + _WORKING_BYTES
"""The memory that a long body reserves before it is read; a body that stays in memory reserves more as it grows."""
_BYTES_PER_OBJECT = 256
_BYTES_PER_VALUE = 64
_PATH_SHOWN = 128
_MISSING = re.compile("Object missing required field `([^`]+)`")
_ANY_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATES = re.compile(
    rb"(?:\\[^u])+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""The escapes of a JSON text: others, a pair of surrogates, or a lone one."""

_threads = WorkerThreads("blocks")
_encode = msgspec.json.Encoder().encode


class Sink(Protocol):
    """Takes a long body in blocks and keeps its long parts on disk."""

    @property
    def resident(self) -> int:
        """The number of its bytes in memory."""
        ...

    @property
    def stored(self) -> int:
        """The number of its bytes on disk."""
        ...

    def feed(self, block: bytes) -> None:
        """Take the next block, in a thread. Raises GatewayError."""
        ...


class _NoSink:
    """Keeps a body in memory."""

    def __init__(self) -> None:
        self._body = bytearray()
        self.stored = 0

    @property
    def resident(self) -> int:
        return len(self._body)

    def feed(self, block: bytes) -> None:
        self._body += block

    def finish(self) -> bytes:
        return bytes(self._body)


async def read_body(scope: Any, receive: Callable[[], Any], context: RequestContext) -> bytes:
    """Return the request's body, in memory.

    Raises:
        HttpError: it is too long (413), too slow (408), or has an unsupported coding (415) or an invalid one (400).
        Saturated: the memory budget is full, or the process shuts down.
        ClientGone: the client disconnected before the end.

    """
    sink = _NoSink()
    rest = await receive_body(scope, receive, context, sink)
    return sink.finish() + rest if sink.resident else rest


async def read_json(request: Request, decode: Callable[[bytes], ValueT]) -> ValueT:
    """Read a JSON body and decode it with a msgspec decoder's `decode`.

    Long strings of base64 are decoded into `context.long_strings`.

    Raises:
        BadRequest: as `decode_body`.
        HttpError: as `read_body`.
        Saturated: the memory budget or the disk is full.
        ClientGone: the client disconnected before the end.

    """
    context = context_of(request.scope)
    headers = dict(request.scope["headers"])
    is_short = 0 < _declared_length(headers) <= _OFF_LOOP_BYTES and b"content-encoding" not in headers
    sink = None if is_short else LongStrings(context.spool, context.limits.file_bytes)
    rest = await receive_body(request.scope, request.receive, context, sink or _NoSink())
    if sink is not None and sink.resident:
        await _in_block_thread(sink.feed, rest)
        rest = sink.finish()
        context.long_strings = sink.found
    stored = sink.stored if sink is not None else 0
    decoded = 0
    if len(rest) > FREE_BYTES:
        counting = partial(_decoded_bytes, rest)
        decoded = await in_thread(counting) if len(rest) > _OFF_LOOP_BYTES else counting()
        await context.reserved().raise_to(_kept(context, len(rest) + decoded, stored))
    value = await decode_body(rest, decode)
    settle(context, decoded, stored)
    return value


def _decoded_bytes(body: bytes) -> int:
    """Return the most memory that a JSON body takes when decoded: `[[],[],[]]` takes twenty times its length."""
    objects, values = body.count(b"{"), body.count(b"[") + body.count(b",")
    return max(len(body), objects * _BYTES_PER_OBJECT + values * _BYTES_PER_VALUE)


def settle(context: RequestContext, resident: int, stored: int) -> None:
    """Lower the reservation to the bytes that the request keeps."""
    if context.hold is not None:
        context.hold.lower_to(_kept(context, resident if resident > FREE_BYTES else 0, stored))


async def receive_body(scope: Any, receive: Callable[[], Any], context: RequestContext, sink: Sink) -> bytes:
    """Receive a body; return all of it if it is short, else the last part, which is not in `sink` yet.

    Raises:
        GatewayError: as `read_json`, or as the sink does.
        ClientGone: the client disconnected before the end.

    """
    headers = dict(scope["headers"])
    codings = codings_of(scope["headers"])
    if codings:
        receive = Decoding(receive, codings, context.limits.body_bytes).receive
    receiving = _Receiving(receive, context, sink)
    try:
        receiving.expect(_declared_length(headers))
        rest = await receiving.run()
    except GatewayError:
        context.release()
        raise
    if rest is None:
        context.release()
        raise receiving.failure()
    return rest


def _declared_length(headers: dict[bytes, bytes]) -> int:
    """Return the length of the body as its header says, or 0."""
    declared = headers.get(b"content-length", b"")
    return int(declared) if declared.isdigit() else 0


class _Receiving:
    """A body that is being received."""

    def __init__(self, receive: Callable[[], Any], context: RequestContext, sink: Sink) -> None:
        self._receive, self._context, self._limits, self._sink = receive, context, context.limits, sink
        self._block = bytearray()
        self._first = min(_FIRST_BYTES, context.memory.total)
        """The memory that a long body reserves at first."""
        self._seen = 0
        self._time = asyncio.get_running_loop().time
        self._until = math.inf
        """The deadline by the event loop's clock, before the extension for received bytes."""
        self._working_since: float | None = None
        """When work on received bytes began; None while waiting for the client."""
        self._timeout = anyio.CancelScope()
        self._sender: Sender | None = None
        self._slow = False
        self._closed = False

    def expect(self, length: int) -> None:
        """Refuse a body whose declared length is too large."""
        if length > self._limits.body_bytes:
            raise _too_large(self._limits)
        if length:
            self._first = min(2 * length, self._first)

    def failure(self) -> GatewayError:
        """Return the error of a body that was not received."""
        if self._closed:
            return shutting_down()
        why = "The request's body did not arrive in time."
        if self._slow:
            why = "The request's body arrives too slowly while other requests wait for memory."
        return HttpError(408, "request_timeout", why)

    async def run(self) -> bytes | None:
        """Return the last part, which is not in the sink yet; None: see `failure`."""
        timer = self._context.timers.of(self._limits.body_timeout_seconds)
        self._until = self._time() + self._limits.body_timeout_seconds
        timer.add(self)
        self._context.closing.add_callback(self._close)
        try:
            with self._timeout:
                more = True
                while more:
                    more = await self._receive_more()
                return bytes(self._block)
        finally:
            self._context.closing.remove_callback(self._close)
            timer.discard(self)
            self._watch(on=False)
        return None

    @property
    def due(self) -> float:
        """When the body times out (`protocol.http.timers.Timeout`)."""
        extension = min(self._seen / _BYTES_PER_SECOND, (_LONGEST_FACTOR - 1) * self._limits.body_timeout_seconds)
        due = self._until + extension
        if self._working_since is None:
            return due
        now = self._time()
        return max(due + now - self._working_since, now + _LEAST_SECONDS)

    def expire(self) -> None:
        """Stop waiting for the body."""
        self._timeout.cancel()

    def _watch(self, *, on: bool) -> None:
        """Start or stop watching the client: it is disconnected if it sends too slowly while others wait for memory."""
        if self._sender is not None:
            self._sender.close()
        context = self._context
        self._sender = Sender(context.memory, self._cut, context.reserved().owner) if on else None

    def _close(self) -> None:
        """Stop waiting: the process shuts down."""
        self._closed = True
        self._timeout.cancel()

    def _cut(self) -> None:
        self._slow = True
        self._timeout.cancel()

    async def _receive_more(self) -> bool:
        """Receive a message and process it; return whether more will follow."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        data = message.get("body", b"")
        self._block += data
        self._seen += len(data)
        if self._seen > self._limits.body_bytes:
            raise _too_large(self._limits)
        if self._sender is not None:
            self._sender.received(len(data))
        if self._seen > FREE_BYTES and (self._need() > self._context.reserved().size or self._is_full()):
            await self._work()
        return message.get("more_body", False)

    def _need(self) -> int:
        """Return the memory that the body needs until it is decoded."""
        need = 2 * (len(self._block) + self._sink.resident)
        if self._seen > _OFF_LOOP_BYTES:
            need = _kept(self._context, need + _WORKING_BYTES, self._sink.stored)
        return max(need, self._first)

    def _is_full(self) -> bool:
        return self._seen > _OFF_LOOP_BYTES and len(self._block) >= _BLOCK_BYTES

    async def _work(self) -> None:
        """Reserve memory for the received bytes, and pass a full block to the sink; extend the client's deadline."""
        self._working_since = start = self._time()
        self._watch(on=False)
        hold, need = self._context.reserved(), self._need()
        if need > hold.size:
            await hold.raise_to(max(need, min(2 * hold.size, self._context.memory.total)))
        if self._is_full():
            block = bytes(self._block)
            self._block = bytearray()
            await _in_block_thread(self._sink.feed, block)
        self._watch(on=True)
        self._working_since = None
        self._until += self._time() - start


def _kept(context: RequestContext, resident: int, stored: int) -> int:
    """Return the memory that a request holds; files on a disk in memory count, too."""
    return resident + (stored if context.spool.in_memory else 0)


async def _in_block_thread(work: Callable[[bytes], None], block: bytes) -> None:
    """Process a block in a thread; at most two blocks at once."""
    await _threads.run(partial(work, block))


def _too_large(limits: RequestLimits) -> HttpError:
    return HttpError(413, "request_too_large", f"The request's body is longer than {limits.body_bytes} bytes.")


async def decode_body(body: bytes, decode: Callable[[bytes], ValueT]) -> ValueT:
    """Decode a body with a msgspec decoder's `decode`; a long one in a worker thread.

    Raises:
        BadRequest: `invalid_json`, `invalid_utf8`, or `invalid_value` with the field's path in `param`.

    """
    if len(body) > _OFF_LOOP_BYTES:
        return await in_thread(partial(_decode, body, decode))
    return _decode(body, decode)


def _decode(body: bytes, decode: Callable[[bytes], ValueT]) -> ValueT:
    try:
        return decode(body.removeprefix(codecs.BOM_UTF8))
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        path = path.rstrip("`").removeprefix("$")
        missing = _MISSING.match(reason)
        if missing:
            path = f"{path}.{missing[1]}"
        param = path.removeprefix(".")[:_PATH_SHOWN] or None
        where = f" (at '{param}')" if param else ""
        raise BadRequest(f"{_printable(reason)}{where}.", param=param) from None
    except UnicodeDecodeError:
        raise BadRequest("The request's body is not valid UTF-8.", code="invalid_utf8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        if body != (repaired := _without_lone_surrogates(body)):
            return _decode(repaired, decode)
        if body.lstrip().startswith(b"--"):
            message = (
                "The request's body is a form, but is read as JSON: send JSON; or, where a form is taken, its own "
                "Content-Type, 'multipart/form-data' with the form's boundary."
            )
            raise BadRequest(message, code="invalid_json") from None
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else _printable(str(error))
        raise BadRequest(f"The request's body is not valid JSON: {reason}.", code="invalid_json") from None


def _without_lone_surrogates(body: bytes) -> bytes:
    """Replace each half of a character by U+FFFD.

    JavaScript and Python write a text that was cut within an emoji with the escape of one surrogate, which msgspec
    takes for malformed JSON.
    """
    if _ANY_SURROGATE.search(body) is None:
        return body
    return _SURROGATES.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], body)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:_PATH_SHOWN]).rstrip(".")


def encode_json(value: msgspec.Struct | str) -> bytes:
    """Return a struct or a text as JSON: also lone surrogates, which are escaped, and integers of any length."""
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()
