"""The engine: from a request's model and capability to the transports that have it, in the settings' order."""

import asyncio
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

    def __init__(self, catalogue: Catalogue, failovers: Sequence[Failover], deadlines: Deadlines) -> None:
        """Ask `failovers` in their order."""
        self.catalogue = catalogue
        self._failovers, self._deadlines = failovers, deadlines

    @property
    def failovers(self) -> Sequence[Failover]:
        """The transports with their pools, in the order in which they are asked."""
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
        failover, *others = self._offering(request)
        async with call.stack:
            with call.timeout:
                while True:
                    try:
                        exchange = await failover.open(call)
                        break
                    except GatewayError as error:
                        if not others or not _elsewhere(error):
                            raise
                        failover = others.pop(0)
                yield exchange
            if call.timeout.cancelled_caught:
                raise failover.timed_out(call)

    def _offering(self, request: GenerationRequest) -> list[Failover]:
        """Return the transports that offer this, at least one."""
        offering = [failover for failover in self._failovers if failover.transport.offers(request.selection)]
        if request.handle is not None:
            offering = [failover for failover in offering if failover.transport.name == request.handle.transport]
            if not any(failover.has(request.handle.account) for failover in offering):
                raise UpstreamFailed(
                    "The account that works on this request was removed from this gateway.", code="account_gone"
                )
        if not offering:
            raise Unsupported(
                f"The model '{request.selection.id}' is not available here: no upstream of this gateway offers it.",
                param="model",
            )
        return offering

    @asynccontextmanager
    async def media(self, ref: MediaRef, rendition: Rendition = Rendition.USUAL) -> AsyncGenerator[MediaStream]:
        """Open a media file with the account that owns it; as `Engine.media`."""
        owner = next((r.transport for r in self._failovers if r.transport.name == ref.transport), None)
        if owner is None or ref.account not in {account.id for account in owner.accounts}:
            raise UpstreamFailed(
                "The account that generated this media was removed from this gateway.", code="media_gone"
            )
        async with owner.media(ref, rendition) as stream:
            yield stream


def _elsewhere(error: GatewayError) -> bool:
    """Return whether to try another transport: it may help, and no upstream is working on the request."""
    if isinstance(error, BadRequest | Refused):
        return isinstance(error, Unsupported)
    return isinstance(error, RateLimited | SignedOut) or error.certainty is not Certainty.MAYBE_ACCEPTED
