"""Limits the number of concurrent requests, in total and per license; refuses new ones during shutdown."""

from collections import Counter
from typing import Any

from protocol.http.context import context_of
from protocol.http.errors import ASGIResponse, Refuse, shutting_down
from protocol.model import Caller, GatewayError, RateLimited, Saturated
from service.server.shutdown import Shutdown

_OWN_TO_FREE = 3
"""Open requests of one license per free slot, at most: one license can take three quarters of the slots."""


class RequestSlots:
    """Counts open requests of all routes against the limits."""

    def __init__(self, shutdown: Shutdown, most: int, most_of_one: int | None) -> None:
        """Allow `most` concurrent requests, and `most_of_one` of a single license.

        None: three quarters of the slots that other licenses leave free, so that another license finds a slot.
        """
        self._shutdown, self._most, self._most_of_one = shutdown, most, most_of_one
        self._open: Counter[str] = Counter()

    def refusal(self, caller: Caller | None) -> GatewayError | None:
        """Return the error that refuses a request; None: a slot is free."""
        if self._shutdown.draining:
            return shutting_down()
        if self._shutdown.in_flight >= self._most:
            return Saturated("The gateway has reached its limit of concurrent requests. Retry later.")
        if caller is None:
            return None
        own, most = self._open[caller.id], self._most_of_one
        if most is None:
            most = _OWN_TO_FREE * (self._most - self._shutdown.in_flight)
        if own < most:
            return None
        message = f"This license has reached its limit of {own} concurrent requests. Wait for one to finish."
        return RateLimited(message, retry_after=1.0, code="rate_limit_exceeded")

    def begin(self, caller: Caller | None) -> None:
        """Take a slot."""
        self._shutdown.count_in()
        if caller is not None:
            self._open[caller.id] += 1

    def end(self, caller: Caller | None) -> None:
        """Free a slot."""
        self._shutdown.count_out()
        if caller is not None:
            self._open[caller.id] -= 1
            if not self._open[caller.id]:
                del self._open[caller.id]


class ConcurrencyLimit:
    """Middleware of one route that takes a slot for each request; all routes share the slots."""

    def __init__(self, endpoint: ASGIResponse, slots: RequestSlots, refuse: Refuse) -> None:
        """Take slots from `slots` for requests of `endpoint`; `refuse` writes the error of refused ones."""
        self._endpoint, self._slots, self._refuse = endpoint, slots, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        context = context_of(scope)
        refusal = self._slots.refusal(context.caller)
        if refusal is not None:
            context.record.error = refusal.code
            await self._refuse(refusal)(scope, receive, send)
            return
        self._slots.begin(context.caller)
        try:
            await self._endpoint(scope, receive, send)
        finally:
            self._slots.end(context.caller)
