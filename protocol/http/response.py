"""Responses with a complete body: the work runs inside the response and stops if the client disconnects."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from protocol.http.context import context_of
from protocol.http.disconnect import DisconnectWatcher
from protocol.http.errors import CLIENT_GONE, ASGIResponse, Refuse
from protocol.model import GatewayError, released


class Payload:
    """A response with a complete body; cheaper than Starlette's, which costs as much as encoding the JSON."""

    def __init__(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Answer with 200, these headers, and the body's length."""
        self._body, self._headers = body, headers

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        """Handle the request."""
        headers = [*self._headers, (b"content-length", b"%d" % len(self._body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


class WholeResponse:
    """Runs the work and sends its response; the work is cancelled if the client disconnects."""

    def __init__(self, work: Callable[[], Awaitable[ASGIResponse]], refuse: Refuse) -> None:
        """Take the work; `refuse` writes an error in the dialect's form."""
        self._work, self._refuse = work, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the request."""
        context = context_of(scope)
        watcher = DisconnectWatcher(scope, context.endings)
        response: ASGIResponse | None = None
        try:
            with watcher:
                response = await self._work()
        except GatewayError as error:
            context.record.note_error(error)
            response = self._refuse(released(error))
        if response is None and watcher.gone:
            context.record.error = CLIENT_GONE
            return
        if response is None and watcher.ended is not None:
            context.record.error = watcher.ended.code
            response = self._refuse(watcher.ended)
        assert response is not None, "the work ends with a response, the disconnect or an ending"  # noqa: S101
        await response(scope, receive, send)
