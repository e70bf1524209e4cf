"""Lets requests in: a bounded number at once, and none while the process ends."""

from typing import Any, Protocol

from protocol.http.body import discard_body
from protocol.http.context import context_of
from protocol.http.endpoint import Refuse
from protocol.http.whole import shutting_down
from protocol.model import GatewayError, Saturated
from service.drain import Drain


class Guarded(Protocol):
    """An ASGI app that knows its dialect's way to say no."""

    refuse: Refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        ...


class Admission:
    """Guards one route; all routes share the drain's count."""

    def __init__(self, endpoint: Guarded, drain: Drain, most: int) -> None:
        """Let at most `most` requests in at once."""
        self._endpoint, self._drain, self._most = endpoint, drain, most
        self.refuse = endpoint.refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        refusal = self._refusal()
        if refusal is not None:
            context_of(scope).record.error = refusal.code
            await discard_body(scope, receive)
            await self.refuse(refusal)(scope, receive, send)
            return
        self._drain.begin()
        try:
            await self._endpoint(scope, receive, send)
        finally:
            self._drain.end()

    def _refusal(self) -> GatewayError | None:
        if self._drain.draining:
            return shutting_down()
        if self._drain.in_flight >= self._most:
            return Saturated("The gateway has as many requests as it takes.")
        return None
