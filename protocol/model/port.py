"""What a protocol calls: the engine, and the exchange it opens."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from protocol.model.event import Event
from protocol.model.media import MediaRef, MediaStream, Rendition
from protocol.model.names import Catalogue, Selection
from protocol.model.request import GenerationRequest


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, for the log: names only, nothing secret."""

    transport: str
    account: str
    model: str
    """The upstream's own name of the model that answered, where it tells."""


class Exchange(Protocol):
    """The events of one request, in order, once."""

    @property
    def served(self) -> Served:
        """Who answers."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events until `Finish`; raises GatewayError where the answer breaks off."""
        ...


class Engine(Protocol):
    """Opens exchanges. Entering `open` has awaited the first event: a refusal is raised there, before any status."""

    @property
    def catalogue(self) -> Catalogue:
        """The models this gateway knows by name."""
        ...

    def offers(self, selection: Selection) -> bool:
        """Say whether some transport has this model and capability now."""
        ...

    def open(self, request: GenerationRequest) -> AbstractAsyncContextManager[Exchange]:
        """Open an exchange; leaving the context ends upstream response and lease, in that order.

        Raises:
            GatewayError: the request was refused, or no account could take it.

        """
        ...

    def media(self, ref: MediaRef, rendition: Rendition = Rendition.USUAL) -> AbstractAsyncContextManager[MediaStream]:
        """Open a piece of media with the account whose it is; leaving the context ends the upstream response.

        Entering has awaited the beginning of the bytes: what cannot be had is refused there.

        Raises:
            UpstreamFailed: it cannot be had, or not yet (`media_not_ready`), or no more (`media_gone`).
            GatewayError: the account, or its transport, is not here.

        """
        ...
