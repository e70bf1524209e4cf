"""An ASGI connection for tests: they give the messages of the client, and get a list of the answers."""

import time

import anyio
import pytest

from protocol.http.context import RequestContext, RequestLimits, RequestRecord, attach
from protocol.http.disconnect import CLIENT, CallbackEvent


class Connection:
    """One request's `receive` and `send`."""

    def __init__(self, *messages, closing=None, limits=None, headers=()):
        self._messages = list(messages)
        self._gone = anyio.Event()
        self.sent = []
        self.closing = closing or CallbackEvent()
        self.scope = {"type": "http", "headers": list(headers), "method": "POST", "path": "/"}
        self.scope["extensions"] = {CLIENT: self}
        self._callback = None
        self.context = RequestContext(
            id="req_1",
            started=0.0,
            created=0.0,
            now=time.monotonic,
            closing=self.closing,
            record=RequestRecord(),
            limits=limits or RequestLimits(),
            links=None,
            fetch=None,
            jobs=None,
            responses=None,
            files=None,
        )
        attach(self.scope, self.context)

    def leave(self):
        self._gone.set()
        if self._callback is not None:
            self._callback()

    def set_callback(self, callback):
        self._callback = callback
        if self._gone.is_set():
            callback()

    def clear_callback(self):
        self._callback = None

    async def receive(self):
        if self._messages:
            return self._messages.pop(0)
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else None

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)


@pytest.fixture
def connect():
    return Connection
