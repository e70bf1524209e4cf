"""Finds out whether a client that has closed its sending side still waits for its response.

A client may send a request, shut down its sending side and read on (`nc -N`, `shutdown(SHUT_WR)`). To TCP this looks
the same as a client that closed the connection: both send a FIN. They differ when the server writes: a closed socket
answers with a reset. So the server writes what a client must ignore, and looks for the reset: between server-sent
events, a comment, at once; before the response, an informational response (RFC 9110 section 15.2), after a moment. In
any other response, the response itself is the probe; the client is taken to be gone when that is silent.

    FIN ─ 0.5 s ─ 100 Continue ─ 2, 50, 250 ms ─ reset? the client has disconnected
                       ▲                            └ no: 4 s ─┐
                       └───────────────────────────────────────┘
"""

import asyncio
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

_FIRST_SECONDS = 0.5
_RESET_SECONDS = 0.002, 0.05, 0.25
"""When to look for the reset: a client nearby answers at once, others after a round trip."""
_NEXT_SECONDS = 4.0


class HalfClosedWatch:
    """Watches a client whose sending side may have closed, until `stop`."""

    def __init__(
        self, writer: asyncio.StreamWriter, probe: Callable[[], bytes | None], left: Callable[[], None]
    ) -> None:
        """Call `left` when the client is known to be gone; `probe` is `RequestStream.probe`."""
        self._writer, self._next_probe, self._left = writer, probe, left
        self._socket = writer.get_extra_info("socket")
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begin: the client has closed its sending side, or the whole connection."""
        if self._is_gone():
            self._left()
        elif self._timer is None:
            probe = self._next_probe()
            if probe and not probe.startswith(b"HTTP/"):
                self._write(probe)
            else:
                self._after(_FIRST_SECONDS, self._probe)

    def end(self) -> None:
        """Take a client that has closed its sending side to be gone: the process shuts down."""
        if self._timer is not None:
            self._left()

    @contextmanager
    def while_paused(self, reader: Any) -> Generator[None]:
        """Notice that the client disconnects while the server does not read from `reader`.

        A stream reader itself reports the end only when its buffer is empty.
        """

        def feed_eof() -> None:
            asyncio.StreamReader.feed_eof(reader)
            self.begin()

        def set_exception(error: Exception) -> None:
            asyncio.StreamReader.set_exception(reader, error)
            self._left()

        if reader.exception() is not None:
            self._left()
        elif reader._eof:  # noqa: SLF001 -- `at_eof` is false while the buffer is not empty
            self.begin()
        reader.feed_eof, reader.set_exception = feed_eof, set_exception
        try:
            yield
        finally:
            self.stop()
            del reader.feed_eof, reader.set_exception

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, action)

    def _probe(self) -> None:
        probe = None if self._is_gone() else self._next_probe()
        if probe is None:
            self._left()
        else:
            self._write(probe)

    def _write(self, probe: bytes) -> None:
        self._writer.write(probe)
        self._look(0)

    def _look(self, number: int) -> None:
        """Look for the reset; `number` counts the looks after a probe."""
        if self._is_gone():
            self._left()
        elif number < len(_RESET_SECONDS):
            self._after(_RESET_SECONDS[number], partial(self._look, number + 1))
        else:
            self._after(_NEXT_SECONDS, self._probe)

    def _is_gone(self) -> bool:
        """Return whether the connection is closed, or the client answered with a reset."""
        if self._writer.is_closing():
            return True
        try:
            return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        except OSError:
            return True
