"""The engine: from a request's model and capability to the transports that have it, in the order of the routes."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
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
    MediaRef,
    MediaStream,
    RateLimited,
    Refused,
    Rendition,
    Selection,
    SignedOut,
    Unsupported,
    UpstreamFailed,
    UpstreamModel,
)
from transports.failover import Call, Failover
from transports.routes import RequestTraits, Rng, RouteTable

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


class RouteStop(msgspec.Struct, frozen=True):
    """A transport that is asked for a request."""

    failover: Failover
    tier: str = ""
    """The only tier of accounts; empty: all."""
    home: str | None = None
    """The account that has the conversation."""


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
        self.catalogue = catalogue
        self._failovers, self._deadlines, self._rng = failovers, deadlines, rng
        self._by_name = {failover.transport.name: failover for failover in failovers}
        self.routes = routes or RouteTable((), dict.fromkeys(self._by_name, frozenset()))

    @property
    def failovers(self) -> Sequence[Failover]:
        """The transports with their pools, in the order of the settings."""
        return self._failovers

    def offers(self, selection: Selection) -> bool:
        """Return whether a transport has this model and capability now."""
        return any(failover.transport.offers(selection) for failover in self._failovers)

    def available(self, selection: Selection) -> bool:
        """Return whether an account can serve this now; as `Engine.available`."""
        return any(failover.available(selection) for failover in self._failovers)

    def served_by(self, selection: Selection) -> Sequence[UpstreamModel]:
        """Return the upstream models that would be asked for this now, each once; as `Engine.served_by`."""
        offering = (failover for failover in self._failovers if failover.transport.offers(selection))
        return tuple(dict.fromkeys(model for failover in offering for model in failover.served_by(selection)))

    @asynccontextmanager
    async def open(self, request: GenerationRequest) -> AsyncGenerator[Exchange]:
        """Open the request with the first transport that offers the model and accepts the request.

        Raises:
            Unsupported: no transport has this model and capability.
            GatewayError: as `Engine.open`.

        """
        seconds = self._deadlines.seconds(request.selection.capability)
        call = Call(request, asyncio.get_running_loop().time() + seconds)
        stop, *others = await self._stops(request)
        async with call.stack:
            with call.timeout:
                while True:
                    try:
                        exchange = await stop.failover.open(call, stop.tier, stop.home)
                        break
                    except GatewayError as error:
                        if not others or not _elsewhere(error):
                            raise
                        stop = others.pop(0)
                yield exchange
            if call.timeout.cancelled_caught:
                raise stop.failover.timed_out(call)

    async def _stops(self, request: GenerationRequest) -> list[RouteStop]:
        """Return the transports to ask, in their order and at least one; one that has the conversation comes first.

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
        if not stops:
            raise _unavailable(request.selection)
        for failover in dict.fromkeys(stop.failover for stop in stops):
            home = await failover.transport.home(request)
            if home is not None:
                tier = next((one.tier for one in failover.transport.accounts if one.id == home), "")
                first = RouteStop(failover, tier, home)
                return [first, *(stop for stop in stops if (stop.failover, stop.tier) != (failover, tier))]
        return stops

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
            raise _unavailable(request.selection)
        return offering

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition = Rendition.USUAL) -> AsyncGenerator[MediaStream]:
        """Open a media file with the account that owns it; as `Engine.media`."""
        failover = self._by_name.get(ref.transport)
        owner = failover.transport if failover is not None else None
        if owner is None or ref.account not in {account.id for account in owner.accounts}:
            raise UpstreamFailed(
                "The account that generated this media was removed from this gateway.", code="media_gone"
            )
        async with owner.media(ref, rendition) as stream:
            yield stream


def _unavailable(selection: Selection) -> Unsupported:
    message = f"The model '{selection.id}' is not available here: no upstream of this gateway offers it."
    return Unsupported(message, param="model")


def _elsewhere(error: GatewayError) -> bool:
    """Return whether to try another transport: it may help, and no upstream is working on the request."""
    if isinstance(error, BadRequest | Refused):
        return isinstance(error, Unsupported)
    return isinstance(error, RateLimited | SignedOut) or error.certainty is not Certainty.MAYBE_ACCEPTED
