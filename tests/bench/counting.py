"""A gateway in this process whose operations are counted, over the fake upstream in another.

Counts do not depend on how busy the machine is. Where other tasks of the process may add to one, the least of several
tries is taken.
"""

import asyncio
import http.client
import inspect
import itertools
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from service.app import open_app
from service.config.loader import origin_of
from service.config.schema import ServerSettings, load
from service.server.hypercorn import listen, serve_loopback, serving, url_of
from service.server.listeners import API
from tests.bench import processes
from tests.bench.processes import KEY, ROOT
from transports.metrics import PrometheusStoreObserver

ROOMS = tuple(f"{ROOT}/{room}/" for room in ("service", "protocol", "transports"))
_GENERATORS = inspect.CO_ASYNC_GENERATOR | inspect.CO_GENERATOR
TRIES = 4


@dataclass
class Counts:
    """Counts of a period."""

    store: int = 0
    """Calls of the store, but for writes of several changes together: their number depends on time."""
    tasks: int = 0
    """Tasks of asyncio that began."""
    calls: int = 0
    """How often functions of ours began or went on."""
    generators: int = 0
    """How often those did that are generators."""
    libraries: int = 0
    """How often functions of installed packages began or went on."""


class Stand:
    """The gateway and the counters."""

    def __init__(self, base_url):
        self.base_url = base_url
        self.counts = Counts()

    def store_called(self, operation, _seconds, _outcome):
        self.counts.store += operation != "write"

    def task_made(self, loop, coroutine, **options):
        self.counts.tasks += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    def called(self, frame, event, _argument):
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename.startswith(ROOMS):
            self.counts.calls += 1
            self.counts.generators += bool(code.co_flags & _GENERATORS)
        elif "site-packages" in code.co_filename:
            self.counts.libraries += 1

    async def count(self, work):
        """Run some work, its functions in threads, and return the counts."""
        self.counts = counts = Counts()
        sys.setprofile(self.called)
        try:
            await work()
        finally:
            sys.setprofile(None)
        return counts

    async def least(self, work, times):
        """Return the least counts of each of `times` in a row, in several tries.

        What a request leaves to be done behind its answer is counted with the next one.
        """

        async def row():
            for _ in range(times):
                await work()

        tried = [vars(await self.count(row)) for _ in range(TRIES)]
        return Counts(**{name: min(one[name] for one in tried) / times for name in tried[0]})


@asynccontextmanager
async def stand(folder, monkeypatch, **setup):
    """Run a gateway, whose settings are those of a benchmark's."""
    folder = Path(folder)
    running = processes.started("upstream", ["-m", "tests.bench.upstream"], folder, set())
    with running as (_, upstream):
        processes.Setup(upstream, **setup).arguments(folder)
        path = folder / "gateway.toml"
        settings, origin = load(path, {}), origin_of(path)
        listening = listen("127.0.0.1", 0, 64)
        one = Stand(url_of(listening))
        monkeypatch.setattr(PrometheusStoreObserver, "store_call", one.store_called)
        loop = asyncio.get_running_loop()
        store = folder / "gateway.sqlite3"
        async with open_app(settings, origin=origin, store_path=store, serve=serve_loopback) as app:
            async with serving(app.apps[API], listening, ServerSettings()):
                loop.set_task_factory(one.task_made)
                try:
                    yield one
                finally:
                    loop.set_task_factory(None)


async def iterators_of(work):
    """Return the names of our async generators and iterators that go on while some work is done."""
    found = set()

    def called(frame, event, _argument):
        code = frame.f_code
        iterates = code.co_flags & inspect.CO_ASYNC_GENERATOR or code.co_name == "__anext__"
        if event == "call" and iterates and code.co_filename.startswith(ROOMS):
            found.add(code.co_qualname)

    sys.setprofile(called)
    try:
        await work()
    finally:
        sys.setprofile(None)
    return found


class Client:
    """A client over one connection; its methods block, and are called in threads."""

    def __init__(self, one):
        self._connection = http.client.HTTPConnection(urlsplit(one.base_url).netloc, timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._connection.close()

    async def begin(self, *messages, stream=False):
        """Send a chat, whose messages are the user's and the assistant's in turn; return the response."""
        roles = itertools.cycle(("user", "assistant"))
        said = [{"role": role, "content": text} for role, text in zip(roles, messages, strict=False)]
        return await self.send(said, stream=stream)

    async def send(self, messages, *, stream=False):
        """Send a chat with these messages; return the response."""
        body = json.dumps({"model": "gemini-3-pro", "messages": messages, "stream": stream})
        return await anyio.to_thread.run_sync(self._send, body)

    async def chat(self, *messages):
        """Return the whole answer to a chat."""
        response = await self.begin(*messages)
        answer = json.loads(await anyio.to_thread.run_sync(response.read))
        return answer["choices"][0]["message"]["content"]

    def _send(self, body):
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        self._connection.request("POST", "/v1/chat/completions", body, headers)
        response = self._connection.getresponse()
        assert response.status == 200, response.read()
        return response


async def chunks(response, count):
    """Read a number of chunks of a stream."""

    def read():
        for _ in range(count):
            assert response.readline().startswith(b"data: {")
            assert response.readline() == b"\n"

    await anyio.to_thread.run_sync(read)
