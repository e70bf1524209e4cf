"""The fake upstream: every answer is ready before it is asked for, so that others are what is measured.

Of a request it reads the path, the Content-Length and the first token of the body that begins with `bench-`. It takes
every upload and refuses none.
"""

import asyncio
import re
import signal
from functools import partial

import uvloop

from tests.bench import answers

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
WORD = re.compile(rb"bench-[a-z]+")
_COUNT = re.compile(rb"-(\d{1,5})")
END_OF_HEAD = b"\r\n\r\n"
_BACKLOG = 4096

_MEGABYTES = {word.encode(): answers.Megabyte(kind) for kind, word in answers.MEGABYTE.items()}
_MEGABYTES[answers.FINE.encode()] = answers.Megabyte("fine")
_PAGE, _CALLS, _LARGE = answers.page(), answers.calls(), answers.large()
_WHOLE = {
    answers.SHORT.encode(): answers.short(),
    answers.HOLD.encode(): answers.hold(),
    answers.LARGE.encode(): _LARGE,
    answers.EMBED.encode(): answers.official_embedding(),
}
_OFFICIAL_SHORT, _OFFICIAL_MODELS = answers.official_short(), answers.official_models()
_OFFICIAL_SHORT_STREAM = b"".join(answers.official_stream(answers.SHORT_FRAMES))
_OFFICIAL_HOLD = answers.official_stream(answers.FRAMES)[0]
_OFFICIAL_PATH = b"/v1beta/models"
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_UPLOADED = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n/bench/upload"


class Connection(asyncio.Protocol):
    """One connection; requests come one after the other."""

    frames = site_frames = answers.long()
    """The chunks of the long answer that was asked for last."""
    official_frames = answers.official_stream(answers.FRAMES)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._whole = 0
        """The length of the request that is being received, once its head is there."""
        self._open = self._writable = True
        self._waiting = None

    def connection_made(self, transport):
        self._transport = transport
        host, port = transport.get_extra_info("sockname")
        self._origin = f"http://{host}:{port}"

    def connection_lost(self, exc):
        self._open = False

    def pause_writing(self):
        self._writable = False

    def resume_writing(self):
        self._writable = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting()

    def data_received(self, data):
        self._received += data
        if not self._whole:
            end = self._received.find(END_OF_HEAD)
            if end < 0:
                return
            length = _LENGTH.search(self._received, 0, end)
            if length is None and _CHUNKED.search(self._received, 0, end):
                raise NotImplementedError("a request in chunks")
            self._whole = end + len(END_OF_HEAD) + (int(length[1]) if length else 0)
        if len(self._received) >= self._whole:
            request, whole, self._received, self._whole = self._received, self._whole, bytearray(), 0
            self._answer(request)
            if len(request) > whole:
                self.data_received(request[whole:])

    def _answer(self, request):
        path = bytes(request[: request.index(b"\r\n")]).split(b" ", 2)[1]
        if b"/StreamGenerate" in path:
            self._generate(request)
        elif b"/batchexecute" in path:
            self._transport.write(_CALLS)
        elif path.startswith(_OFFICIAL_PATH):
            self._official(path, request)
        elif path.startswith(b"/upload"):
            self._upload(request)
        elif path.startswith(answers.PICTURE_PATH):
            self._transport.write(_LARGE)
        else:
            self._transport.write(_PAGE if path == b"/app" else MISSING)

    def _upload(self, request):
        """Take a file: the first of two requests gets the address of the second."""
        if b"/bench-session" in request[:64]:
            self._transport.write(_UPLOADED)
            return
        address = f"X-Goog-Upload-Url: {self._origin}/upload/bench-session\r\n".encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\n" + address + b"Content-Length: 0\r\n\r\n")

    def _official(self, path, request):
        """Answer as the official API does."""
        if b":batchEmbedContents" in path:
            self._transport.write(_WHOLE[answers.EMBED.encode()])
        elif b":generateContent" in path:
            self._transport.write(_OFFICIAL_SHORT)
        elif b":streamGenerateContent" not in path:
            self._transport.write(_OFFICIAL_MODELS)
        elif answers.HOLD.encode() in request:
            self._transport.write(_OFFICIAL_HOLD)
        elif answers.SHORT.encode() in request:
            self._transport.write(_OFFICIAL_SHORT_STREAM)
        else:
            self.frames = self.official_frames
            self._frame(0, answers.PACE_SECONDS if answers.PACED.encode() in request else 0.0)

    def _generate(self, request):
        found = WORD.search(request, request.index(END_OF_HEAD))
        word = found[0] if found else b""
        if word in _WHOLE:
            self._transport.write(_WHOLE[word])
        elif word in {b"bench-long", b"bench-paced"}:
            self.frames = self.site_frames
            self._frame(0, answers.PACE_SECONDS if word == b"bench-paced" else 0.0)
        elif word == b"bench-picture":
            self._transport.write(answers.picture(self._origin))
        elif word in _MEGABYTES:
            count = _COUNT.match(request, found.end())
            self._megabyte(_MEGABYTES[word], 1, int(count[1]) if count else answers.THOUSAND)
        else:
            self._transport.write(MISSING)

    def _frame(self, number, pause):
        """Write a frame; the next comes after a pause, or after all that is ready now, once the reader keeps up."""
        if not self._open:
            return
        if not self._writable:
            self._waiting = partial(self._frame, number, pause)
            return
        self._transport.write(self.frames[number])
        if number + 1 == len(self.frames):
            return
        if pause:
            self._loop.call_later(pause, self._frame, number + 1, pause)
        else:
            self._loop.call_soon(self._frame, number + 1, pause)

    def _megabyte(self, answer, number, last):
        """Write a frame of a large answer; the next comes once the reader keeps up."""
        if not self._open:
            return
        if not self._writable:
            self._waiting = partial(self._megabyte, answer, number, last)
            return
        self._transport.writelines(answer.frame(number))
        if number == last:
            self._transport.write(answer.end(number))
        else:
            self._loop.call_soon(self._megabyte, answer, number + 1, last)


async def main(connection=Connection):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(connection, "127.0.0.1", 0, backlog=_BACKLOG)
    print(f"Listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(main())
