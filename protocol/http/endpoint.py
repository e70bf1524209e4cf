"""Turns a handler function into an ASGI app whose errors are written in the dialect's form."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from protocol.http.context import context_of
from protocol.http.errors import ClientGone
from protocol.model import GatewayError, released

ASGIResponse = Callable[[Any, Any, Any], Awaitable[None]]
Refuse = Callable[[GatewayError], ASGIResponse]

CLIENT_GONE = "client_closed_request"


class Endpoint:
    """The ASGI app of one route."""

    def __init__(self, handle: Callable[[Request], Awaitable[ASGIResponse]], refuse: Refuse) -> None:
        """Send the response that `handle` returns; `refuse` writes an error in the dialect's form."""
        self._handle = handle
        self.refuse = refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        context = context_of(scope)
        try:
            try:
                response = await self._handle(Request(scope, receive))
            except GatewayError as error:
                context.record.error = error.code
                response = self.refuse(released(error))
            except ClientGone:
                context.record.error = CLIENT_GONE
                return
            await response(scope, receive, send)
        finally:
            context.release()
