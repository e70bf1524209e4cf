"""Makes the n-th operation of a request fail, for each n and in each way.

The ports count their operations (methods of the store; sends and reads of the HTTP client), and the request's
own task counts its suspensions. Background tasks are not counted.
"""

import asyncio
import base64
import json
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from urllib.parse import quote

import aiohttp
import anyio
import anyio.lowlevel

from transports.store.port import StoreDown

WAYS = ("error", "timeout", "cancel", "hang", "applied, then error")
LATE_SECONDS = 0.05

_planned = ContextVar("planned", default=None)


class Plan:
    """The fault of one run: the n-th operation, or else the n-th suspension, in this way; 0: none."""

    def __init__(self, way="", *, operation=0, suspension=0):
        self.way, self.operation, self.suspension = way, operation, suspension
        self.leave = None
        """Cancels the request, as a disconnect of its client does."""
        self.reset()

    def reset(self):
        """Count from the beginning."""
        self.operations = self.suspensions = 0
        self.done = []

    @property
    def reached(self):
        """Whether the run came as far as the plan."""
        return self.operations >= self.operation and self.suspensions >= self.suspension

    def __repr__(self):
        where = f"operation {self.operation}" if self.operation else f"suspension {self.suspension}"
        return f"{self.way or 'nothing'} at {where} {self.done[-1:]}"

    async def run(self, coroutine):
        """Run a request under this plan, and return what it does."""
        token = _planned.set(self)
        try:
            return await _Steps(coroutine, self)
        finally:
            _planned.reset(token)

    def suspended(self):
        self.suspensions += 1
        if self.suspensions == self.suspension:
            self.leave()


class _Steps:
    """Awaits a coroutine and reports each of its suspensions to the plan."""

    def __init__(self, coroutine, plan):
        self._coroutine, self._plan = coroutine, plan

    def __await__(self):
        inner = self._coroutine.__await__()
        step = partial(inner.send, None)
        while True:
            try:
                waited_for = step()
            except StopIteration as end:
                return end.value
            self._plan.suspended()
            try:
                sent = yield waited_for
            except BaseException as error:  # noqa: BLE001 -- it is the coroutine's
                step = partial(inner.throw, error)
            else:
                step = partial(inner.send, sent)


async def _hour():
    await anyio.sleep(3600)


async def done(name, operation, errors, hang=_hour):
    """Run an operation of a port unless the plan makes it fail; `errors` make its failure and its timeout."""
    plan = _planned.get()
    if plan is None:
        return await operation()
    plan.operations += 1
    if plan.operations != plan.operation:
        return await operation()
    plan.done.append(name)
    failed, late = errors
    match plan.way:
        case "error":
            raise failed()
        case "timeout":
            raise late()
        case "cancel":
            plan.leave()
            await anyio.sleep(LATE_SECONDS)
            raise late()
        case "hang":
            await (anyio.sleep(LATE_SECONDS) if isinstance(late(), StoreDown) else hang())
            raise late()
        case "applied, then error":
            await operation()
            raise failed()


class CountedStore:
    """A store that counts its operations, and remembers which locks and slots are held."""

    def __init__(self, store):
        self._store = store
        self.locks, self.slots = set(), set()

    def __getattr__(self, name):
        method = getattr(self._store, name)

        async def operation(*arguments, **options):
            await anyio.lowlevel.checkpoint()  # as a store over a network does, before and after
            found = await method(*arguments, **options)
            self._note(name, arguments, found)
            await anyio.lowlevel.checkpoint()
            return found

        async def call(*arguments, **options):
            return await done(name, partial(operation, *arguments, **options), (_cut, _late))

        return call

    def _note(self, method, arguments, found):
        match method:
            case "acquire" if found is not None:
                self.locks.add(arguments[:2])
            case "release":
                self.locks.discard(arguments[:2])
            case "take_slot" if found == 0.0 and not arguments[0].endswith("/wait"):  # that is a mark, and expires
                self.slots.add(arguments[:2])
            case "release_slots":
                self.slots -= set(arguments[0])


def _cut():
    return StoreDown("cut off")


def _late():
    return StoreDown("too late")


async def _nothing_comes(stream):
    """Wait as aiohttp waits for bytes that do not come: until the reader is cancelled, or the stream has an error."""
    while stream.exception() is None:
        stream._waiter = asyncio.get_running_loop().create_future()
        try:
            await stream._waiter
        finally:
            stream._waiter = None


@contextmanager
def counted_client():
    """Count what every HTTP client sends and reads while the context lasts."""
    send, read = aiohttp.ClientSession._request, aiohttp.StreamReader.readany
    errors = (aiohttp.ServerDisconnectedError, aiohttp.SocketTimeoutError)

    async def _request(self, method, url, **options):
        return await done(f"{method} {str(url).partition('?')[0]}", partial(send, self, method, url, **options), errors)

    async def readany(self):
        return await done("read", partial(read, self), errors, partial(_nothing_comes, self))

    aiohttp.ClientSession._request, aiohttp.StreamReader.readany = _request, readany
    try:
        yield
    finally:
        aiohttp.ClientSession._request, aiohttp.StreamReader.readany = send, read


def secrets_in(text, secrets):
    """Return the secrets that a text contains in any of five spellings."""
    return [secret for secret in secrets if any(spelling in text for spelling in spellings(secret))]


def spellings(secret):
    raw = secret.encode()
    return {
        secret,
        base64.b64encode(raw).decode().rstrip("=")[:-1],
        quote(secret, safe=""),
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        raw.hex(),
    }
