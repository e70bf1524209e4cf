"""The engine: from a request's model and capability to the transports that have it, in the order of the routes."""

import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Annotated

import msgspec
from msgspec import Meta

from protocol.model import (
    BadRequest,
    Capability,
    Catalogue,
    Certainty,
    Exchange,
    GatewayError,
    GenerationRequest,
    Handle,
    MediaPart,
    MediaRef,
    MediaStream,
    Model,
    Refused,
    Rendition,
    Selection,
    Unsupported,
    UpstreamFailed,
    UpstreamModel,
    not_offered,
)
from transports.failover import Call, Failover, may_run_twice
from transports.routes import RequestTraits, Rng, RouteTable
from transports.stops import RouteStop, StopQueue

Seconds = Annotated[float, Meta(gt=0)]


class Deadlines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Upstream timeouts: how long a whole response may take, in seconds."""

    chat_seconds: Seconds = 300.0
    image_seconds: Seconds = 300.0
    video_seconds: Seconds = 900.0
    research_seconds: Seconds = 1800.0

    def seconds(self, capability: Capability) -> float:
        """Return the timeout of requests for a capability."""
        match capability:
            case Capability.IMAGEN | Capability.STORYBOOK:
                return self.image_seconds
            case Capability.VIDEO:
                return self.video_seconds
            case Capability.DEEPSEARCH:
                return self.research_seconds
            case _:
                return self.chat_seconds


class Router:
    """Implements `protocol.model.Engine` over the transports of the settings."""

    def __init__(
        self,
        catalogue: Catalogue,
        failovers: Sequence[Failover],
        deadlines: Deadlines,
        routes: RouteTable | None = None,
        rng: Rng = random.random,
    ) -> None:
        """Ask `failovers` in the order of `routes`; None: in their own order."""
        self._configured = self._catalogue = catalogue
        self._discovered: list[Sequence[Model]] = []
        """The models that the transports listed when `_catalogue` was made."""
        self._failovers, self._deadlines, self._rng = failovers, deadlines, rng
        self._by_name = {failover.transport.name: failover for failover in failovers}
        self.routes = routes or RouteTable((), dict.fromkeys(self._by_name, frozenset()))

    @property
    def catalogue(self) -> Catalogue:
        """The models of the settings, and those that the upstreams list now."""
        found = [failover.transport.discovered for failover in self._failovers]
        if found != self._discovered:  # the same lists are equal at a glance
            self._discovered, self._catalogue = found, self._configured.with_listed(chain.from_iterable(found))
        return self._catalogue

    @property
    def failovers(self) -> Sequence[Failover]:
        """The transports with their pools, in the order of the settings."""
        return self._failovers

    def offers(self, selection: Selection) -> bool:
        """Return whether a transport that the routes lead to has this model and capability now."""
        return any(failover.transport.offers(selection) for failover, _ in self._reachable(selection))

    def available(self, selection: Selection) -> bool:
        """Return whether an account can serve this now; as `Engine.available`."""
        return any(failover.available(selection, tier) for failover, tier in self._reachable(selection))

    def served_by(self, selection: Selection) -> Sequence[UpstreamModel]:
        """Return the upstream models that would be asked for this now, each once; as `Engine.served_by`."""
        found = dict[UpstreamModel, None]()
        for failover, tier in self._reachable(selection):
            if failover.transport.offers(selection):
                found |= dict.fromkeys(failover.served_by(selection, tier))
        return tuple(found)

    def asked_for(self, selection: Selection) -> frozenset[tuple[str, str]]:
        """Return what each transport would ask its upstream for, as `Engine.asked_for`: a model, or one of a family."""
        transports = {failover.transport.name: failover.transport for failover, _ in self._reachable(selection)}
        found = {name: one.quota_of(selection) for name, one in transports.items() if one.offers(selection)}
        model = selection.model
        return frozenset(
            (name, model.upstream.get(name, asked) if asked == model.family else asked) for name, asked in found.items()
        )

    def _reachable(self, selection: Selection) -> Iterator[tuple[Failover, str]]:
        """Yield the transports, and the tier of each, that some request for a selection may be sent to."""
        for hop in self.routes.reachable(selection):
            yield self._by_name[hop.transport], hop.tier

    def applies(self, selection: Selection) -> frozenset[str]:
        """Return the options that some transport which may be asked applies; as `Engine.applies`."""
        if len(self._failovers) == 1:
            return self._failovers[0].transport.applies(selection)
        reachable = {failover.transport.name: failover.transport for failover, _ in self._reachable(selection)}
        return frozenset[str]().union(
            *(transport.applies(selection) for transport in reachable.values() if transport.offers(selection))
        )

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncGenerator[Exchange]:
        """Open the request with the first transport that offers the model and accepts the request.

        Raises:
            Unsupported: no transport has this model and capability.
            GatewayError: as `Engine.open`.

        """
        call = Call(request, self._deadlines.seconds(request.selection.capability))
        queue = StopQueue(call, await self._stops(request))
        async with call.stack:
            with call.timeout:
                while True:
                    stop, lease = await queue.lease_first()
                    try:
                        exchange = await stop.failover.open(call, lease, alone=queue.alone)
                        break
                    except GatewayError as error:
                        if not _may_move_on(error, call, stop.failover):
                            raise
                        queue.leave(stop, error)
                yield exchange
            if call.timeout.cancelled_caught and call.failover is not None:
                waiting = call.lease is None
                error = call.failover.timed_out(call)
                raise queue.most_useful(error) if waiting else error

    async def _stops(self, request: GenerationRequest) -> list[RouteStop]:
        """Return the transports to ask, in their order and at least one.

        One that has the conversation comes first, then those that have all pictures of earlier turns, and of these the
        ones that have a free account.

        Raises:
            GatewayError: no account can be asked; as `open`.

        """
        offering = self._offering(request)
        if request.handle is not None or (self.routes.trivial and len(offering) == 1):
            failover = next(iter(offering.values()))
            home = await failover.transport.home(request) if request.handle is None else None
            return [RouteStop(failover, "", home)]
        hops = self.routes.hops(RequestTraits.of(request), self._rng)
        stops = [RouteStop(offering[hop.transport], hop.tier) for hop in hops if hop.transport in offering]
        stops = [stop for stop in stops if stop.failover.has_tier(stop.tier)] or stops
        if not stops:
            raise not_offered(request.selection)
        if len(stops) > 1:
            media = {part.ref.transport for turn in request.turns for part in turn.parts if isinstance(part, MediaPart)}
            stops.sort(key=lambda stop: (not stop.has_all(media), not stop.ready(request.selection)))
        for failover in dict.fromkeys(stop.failover for stop in stops):
            home = await failover.transport.home(request)
            if home is not None:
                tier = next((one.tier for one in failover.transport.accounts if one.id == home), "")
                first = RouteStop(failover, tier, home)
                return [first, *(stop for stop in stops if (stop.failover, stop.tier) != (failover, tier))]
        return [
            msgspec.structs.replace(stop, home=await stop.failover.transport.prefers(request, stop.tier))
            for stop in stops
        ]

    def _offering(self, request: GenerationRequest) -> dict[str, Failover]:
        """Return the transports that offer this by name, at least one."""
        offering = {
            name: failover for name, failover in self._by_name.items() if failover.transport.offers(request.selection)
        }
        if request.handle is not None:
            offering = {name: failover for name, failover in offering.items() if name == request.handle.transport}
            if not any(failover.has(request.handle.account) for failover in offering.values()):
                raise UpstreamFailed(
                    "The account that works on this request was removed from this gateway.", code="account_gone"
                )
        if not offering:
            raise not_offered(request.selection)
        return offering

    async def cancel(self, handle: Handle) -> None:
        """End long-running work whose result is not wanted any more; as `Engine.cancel`."""
        failover = self._by_name.get(handle.transport)
        if failover is not None and failover.has(handle.account):
            await failover.transport.cancel(handle)

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition = Rendition.USUAL) -> AsyncGenerator[MediaStream]:
        """Open a media file where it is kept; as `Engine.media`."""
        failover = self._by_name.get(ref.transport)
        if failover is None:
            raise UpstreamFailed(f"The transport '{ref.transport}' is not open here.", code="media_gone")
        async with failover.transport.media(ref, rendition) as stream:
            yield stream


def _may_move_on(error: GatewayError, call: Call, failover: Failover) -> bool:
    """Return whether to try another transport: it may help, and no upstream does expensive work twice."""
    if isinstance(error, BadRequest | Refused):
        return isinstance(error, Unsupported)
    if not isinstance(error, UpstreamFailed):
        return True
    unknown = error.certainty is Certainty.MAYBE_ACCEPTED
    return failover.may_move_on(call) and not (unknown and (call.attempts > 1 or not may_run_twice(call.request)))
