"""Refuses requests while the process is overloaded; probes are always answered."""

from typing import Any

from protocol.http.body import UNREAD, discard_body
from protocol.http.context import context_of
from protocol.http.errors import Refuse
from protocol.model import Saturated
from service.middleware.load_monitor import LoadMonitor, OverloadStep
from service.server.health import PATHS

_RETRY_SECONDS = 5.0


class LoadShedding:
    """Middleware of the whole API that sheds load by the monitor's step."""

    def __init__(self, app: Any, monitor: LoadMonitor, long_body_bytes: int, refuse: Refuse) -> None:
        """Pass requests on to `app` unless the load forbids it; `refuse` writes the error of refused ones."""
        self._app, self._monitor, self._long_body_bytes, self._refuse = app, monitor, long_body_bytes, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one connection's scope."""
        step = self._monitor.step
        if step is OverloadStep.NOTHING or scope["type"] != "http" or scope["path"] in PATHS:
            await self._app(scope, receive, send)
            return
        if step >= OverloadStep.CONNECTIONS:
            send = _closing_connection(send)
        if step is OverloadStep.ALL:
            await self._refused("The gateway is overloaded. Retry later.", scope, receive, send)
        elif self._is_long(scope):
            message = "The gateway is too loaded for a request body of this length. Retry later."
            await self._refused(message, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_long(self, scope: Any) -> bool:
        """Return whether a request's body is long, or of unknown length."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        return b"transfer-encoding" in headers or (length.isdigit() and int(length) > self._long_body_bytes)

    async def _refused(self, message: str, scope: Any, receive: Any, send: Any) -> None:
        error = Saturated(message, retry_after=_RETRY_SECONDS)
        context_of(scope).record.error = error.code
        if self._is_long(scope):
            await discard_body(scope, receive)
        else:
            scope[UNREAD] = True
        await self._refuse(error)(scope, receive, send)


def _closing_connection(send: Any) -> Any:
    """Wrap `send` so that the connection is closed after the response."""

    async def closing(message: Any) -> None:
        if message["type"] == "http.response.start":
            named = {name for name, _ in message["headers"]}
            more = [] if b"connection" in named else [(b"connection", b"close")]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return closing
