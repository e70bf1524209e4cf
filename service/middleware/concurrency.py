"""Lets requests in: a bounded number at once, of all and of each license, and none while the process ends."""

from collections import Counter
from typing import Any, Protocol

from protocol.http.body import discard_body
from protocol.http.context import context_of
from protocol.http.endpoint import Refuse
from protocol.http.response import shutting_down
from protocol.model import Caller, GatewayError, RateLimited, Saturated
from service.server.shutdown import Shutdown

_OWN_TO_FREE = 3
"""Open requests of one license for each further one that could be let in, at most: three quarters to one quarter."""


class Guarded(Protocol):
    """An ASGI app that knows its dialect's way to say no."""

    refuse: Refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        ...


class RequestSlots:
    """How many requests may be open at once, whatever their routes."""

    def __init__(self, drain: Shutdown, most: int, most_of_one: int | None) -> None:
        """Take `most` requests at once, `most_of_one` of them of the same license.

        None: three quarters of what the other licenses leave, so that there is always room for one more license.
        """
        self._drain, self._most, self._most_of_one = drain, most, most_of_one
        self._open: Counter[str] = Counter()

    def refusal(self, caller: Caller | None) -> GatewayError | None:
        """Return why a request is not let in; None: it is."""
        if self._drain.draining:
            return shutting_down()
        if self._drain.in_flight >= self._most:
            return Saturated("The gateway has as many requests as it takes.")
        if caller is not None and self._has_enough(self._open[caller.id]):
            message = f"This license has {self._open[caller.id]} open requests, as many as it may."
            return RateLimited(message, retry_after=1.0, code="rate_limit_exceeded")
        return None

    def _has_enough(self, own: int) -> bool:
        if self._most_of_one is not None:
            return own >= self._most_of_one
        return own >= _OWN_TO_FREE * (self._most - self._drain.in_flight)

    def begin(self, caller: Caller | None) -> None:
        """Count a request in."""
        self._drain.begin()
        if caller is not None:
            self._open[caller.id] += 1

    def end(self, caller: Caller | None) -> None:
        """Count a request out."""
        self._drain.end()
        if caller is not None:
            self._open[caller.id] -= 1
            if not self._open[caller.id]:
                del self._open[caller.id]


class ConcurrencyLimit:
    """Guards one route; all routes share a room."""

    def __init__(self, endpoint: Guarded, room: RequestSlots) -> None:
        """Let in what there is room for."""
        self._endpoint, self._room = endpoint, room
        self.refuse = endpoint.refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        context = context_of(scope)
        refusal = self._room.refusal(context.caller)
        if refusal is not None:
            context.record.error = refusal.code
            await discard_body(scope, receive)
            await self.refuse(refusal)(scope, receive, send)
            return
        self._room.begin(context.caller)
        try:
            await self._endpoint(scope, receive, send)
        finally:
            self._room.end(context.caller)
