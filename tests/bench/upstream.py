"""The fake upstream: every answer is ready before it is asked for, so that others are what is measured.

It reads of a request its path, its Content-Length and one word of its body, and nothing else.
"""

import asyncio
import re
import signal

import uvloop

from tests.bench import answers

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_BACKLOG = 4096

_PAGE, _CALLS, _SHORT, _LONG, _HOLD = (
    answers.page(),
    answers.calls(),
    answers.short(),
    answers.long(),
    answers.hold(),
)
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection; requests come one after the other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._open = self._writable = True
        self._waiting = None

    def connection_made(self, transport):
        self._transport = transport

    def connection_lost(self, exc):
        self._open = False

    def pause_writing(self):
        self._writable = False

    def resume_writing(self):
        self._writable = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._frame(*waiting)

    def data_received(self, data):
        self._received += data
        end = self._received.find(_END_OF_HEAD)
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end)
        whole = end + len(_END_OF_HEAD) + (int(length[1]) if length else 0)
        if len(self._received) >= whole:
            request = bytes(self._received[:whole])
            del self._received[:whole]
            self._answer(request)

    def _answer(self, request):
        path = request.split(b" ", 2)[1]
        if b"/StreamGenerate" in path:
            self._generate(request)
        elif b"/batchexecute" in path:
            self._transport.write(_CALLS)
        else:
            self._transport.write(_PAGE if path == b"/app" else _MISSING)

    def _generate(self, request):
        if b"bench-short" in request:
            self._transport.write(_SHORT)
        elif b"bench-long" in request:
            self._frame(0, 0.0)
        elif b"bench-paced" in request:
            self._frame(0, answers.PACE_SECONDS)
        elif b"bench-hold" in request:
            self._transport.write(_HOLD)
        else:
            self._transport.write(_MISSING)

    def _frame(self, number, pause):
        """Write a frame; the next comes after a pause, or after all that is ready now, once the reader keeps up."""
        if not self._open:
            return
        if not self._writable:
            self._waiting = (number, pause)
            return
        self._transport.write(_LONG[number])
        if number + 1 == len(_LONG):
            return
        if pause:
            self._loop.call_later(pause, self._frame, number + 1, pause)
        else:
            self._loop.call_soon(self._frame, number + 1, pause)


async def main():
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=_BACKLOG)
    print(f"Listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(main())
