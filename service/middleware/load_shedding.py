"""Takes from callers what a process that is hard pressed cannot give; probes are answered all the same."""

from typing import Any

from protocol.http.body import UNREAD, discard_body
from protocol.http.context import context_of
from protocol.http.endpoint import Refuse
from protocol.model import Saturated
from service.middleware.load_monitor import LoadMonitor, Step
from service.server.health import PATHS

_RETRY_SECONDS = 5.0


class LoadShedding:
    """Guards the whole API."""

    def __init__(self, app: Any, pressure: LoadMonitor, long_body_bytes: int, refuse: Refuse) -> None:
        """Let through to `app` what there is room for; `refuse` tells of the rest."""
        self._app, self._pressure, self._long_body_bytes, self._refuse = app, pressure, long_body_bytes, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one connection's scope."""
        step = self._pressure.step
        if step is Step.NOTHING or scope["type"] != "http" or scope["path"] in PATHS:
            await self._app(scope, receive, send)
            return
        if step >= Step.CONNECTIONS:
            send = _closing(send)
        if step is Step.ALL:
            await self._refused("The gateway is overloaded.", scope, receive, send)
        elif self._is_long(scope):
            await self._refused("The gateway has no room for a body that is so long.", scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_long(self, scope: Any) -> bool:
        """Say whether a request's body is long, or may be."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        return b"transfer-encoding" in headers or (length.isdigit() and int(length) > self._long_body_bytes)

    async def _refused(self, words: str, scope: Any, receive: Any, send: Any) -> None:
        error = Saturated(words, retry_after=_RETRY_SECONDS)
        context_of(scope).record.error = error.code
        if self._is_long(scope):
            await discard_body(scope, receive)
        else:
            scope[UNREAD] = True
        await self._refuse(error)(scope, receive, send)


def _closing(send: Any) -> Any:
    """Have the connection closed after the answer."""

    async def closing(message: Any) -> None:
        if message["type"] == "http.response.start":
            named = {name for name, _ in message["headers"]}
            more = [] if b"connection" in named else [(b"connection", b"close")]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return closing
