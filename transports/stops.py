"""Leases an account for a request from the stops of its route.

Theory of operation. Each stop is asked in turn for an account that is free at once. If none has one, the request waits
at all stops that are only busy, and gets the account that is free first. A stop whose accounts cool down joins that
wait if the cooldown ends within it. The time in queues counts once for the whole request.

Example: the free key cools down for two seconds, and the account of the site answers another client. The request waits
for both. The site's answer ends after a second, so its account is leased.
"""

import math
from collections.abc import Mapping, Sequence

import anyio
import msgspec

from protocol.model import (
    Blocked,
    GatewayError,
    RateLimited,
    Saturated,
    Selection,
    Unsupported,
    UpstreamFailed,
    released,
)
from transports.accounts import Lease, RequestsThrottled
from transports.failover import Call, Failover

_FAILED_SECONDS = 5.0
_UNKNOWN_SECONDS = 3600.0
_CHANGED_SECONDS = 1e9
"""After which time a retry makes sense: after a failure, after a limit that does not say, and never as it is."""


class RouteStop(msgspec.Struct, frozen=True):
    """A transport that is asked for a request."""

    failover: Failover
    tier: str = ""
    """The only tier of accounts; empty: all."""
    home: str | None = None
    """The account that has the conversation, or the beginning of the prompt."""

    def has_all(self, owners: set[str]) -> bool:
        """Return whether it has the media of all these transports."""
        return owners <= {self.failover.transport.name}

    def ready(self, selection: Selection) -> bool:
        """Return whether an account of it can take a request at once."""
        return self.failover.ready(selection, self.tier)

    async def lease(self, call: Call, waited: float | None = None) -> Lease:
        """Lease an account, after `waited` seconds in queues; None: do not wait.

        Raises:
            GatewayError: as `Pool.lease`.

        """
        return await self.failover.lease(self.failover.ask(call, self.tier, self.home, waited))


class StopQueue:
    """The stops that are left for one request, in their order."""

    def __init__(self, call: Call, stops: Sequence[RouteStop]) -> None:
        """Start with all stops, at least one."""
        self._call, self._stops = call, stops
        self.alone = len(stops) == 1
        """Whether one stop is left."""
        self._passed: dict[RouteStop, GatewayError] = {}
        """The last error of each stop that did not answer."""
        self._counted: set[RouteStop] = set()
        """The stops from which a change to another one was counted."""

    async def lease_first(self) -> tuple[RouteStop, Lease]:
        """Lease an account of the first stop that has a free one, or else of the one that has one first.

        Raises:
            GatewayError: none has one in time; the most useful error of all stops.

        """
        call, waits, found = self._call, dict[RouteStop, float](), None
        began = anyio.current_time()
        for stop in self._stops:
            call.failover = stop.failover
            try:
                found = stop, await stop.lease(call, call.waited if self.alone else None)
                break
            except GatewayError as error:
                self._passed[stop] = released(error)
                is_busy = isinstance(error, Saturated) and not isinstance(error, RequestsThrottled)
                rest = 0.0 if is_busy else _seconds(error)
                if rest < stop.failover.pool.config.queue_timeout_seconds - call.waited:
                    waits[stop] = rest
        if found is None and not self.alone and 0.0 in waits.values():
            found = await self._wait_for(waits)
        call.waited += anyio.current_time() - began
        if found is None:
            raise self.most_useful()
        for stop in self._passed.keys() - self._counted - {found[0]}:
            stop.failover.note_rerouted(stop.tier, self._passed[stop])
            self._counted.add(stop)
        return found

    def leave(self, stop: RouteStop, error: GatewayError) -> None:
        """Ask a stop no more, unless it has accounts that are only busy; nor those that are not to be asked again."""
        self._passed[stop] = released(error)
        call = self._call
        self._stops = [
            other
            for other in self._stops
            if (other is not stop or (call.busy and not self.alone))
            and (not call.failed or other.failover.may_ask(call))
        ]
        self.alone = len(self._stops) == 1

    def most_useful(self, *errors: GatewayError) -> GatewayError:
        """Return the error that helps the client most, of those so far and of `errors`: the one to retry soonest."""
        return min([*self._passed.values(), *errors], key=_seconds)

    async def _wait_for(self, waits: Mapping[RouteStop, float]) -> tuple[RouteStop, Lease] | None:
        """Wait at several stops, at each after its seconds; return the first lease, or None."""
        won: list[tuple[RouteStop, Lease]] = []

        async def wait(stop: RouteStop, rest: float) -> None:
            try:
                await anyio.sleep(rest)
                lease = await stop.lease(self._call, self._call.waited + rest)
            except GatewayError as error:
                self._passed[stop] = released(error)
                return
            if won:  # another stop has had one at the same moment
                lease.release()
            else:
                won.append((stop, lease))
                tasks.cancel_scope.cancel()

        try:
            async with anyio.create_task_group() as tasks:
                for stop, rest in waits.items():
                    tasks.start_soon(wait, stop, rest)
        except BaseException:
            for _, lease in won:
                lease.release()
            raise
        return won[0] if won else None


def _seconds(error: GatewayError) -> float:
    """Return the seconds after which a retry makes sense."""
    match error:
        case RateLimited() | Blocked() | Saturated():
            return _UNKNOWN_SECONDS if error.retry_after is None else error.retry_after
        case UpstreamFailed():
            return _FAILED_SECONDS
        case Unsupported():
            return _CHANGED_SECONDS
        case _:
            return math.inf
