"""The engine that dialects call, and the exchange that it opens."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from protocol.model.event import Event
from protocol.model.media import MediaRef, MediaStream, Rendition
from protocol.model.names import Catalogue, Selection
from protocol.model.request import GenerationRequest

_SHOWN = 64
_INVISIBLE = re.compile(r"[^ -~]+")


class UpstreamModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as an upstream names it; unknown fields are empty."""

    id: str = ""
    name: str = ""
    """The display name, such as `3.7 Flash`."""
    family: str = ""

    @property
    def label(self) -> str:
        """The name or else the id, in visible ASCII: safe in a header and a metric label."""
        return _visible(self.name) or _visible(self.id)


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The transport, account and model that serve a request; no field is secret."""

    transport: str
    account: str
    asked: UpstreamModel = UpstreamModel()
    """The requested upstream model."""
    answered: UpstreamModel | None = None
    """The model that answered, as the upstream reports it; None until it does."""

    @property
    def model(self) -> str:
        """The label of the model that answered; empty while it is unknown."""
        return self.answered.label if self.answered is not None else ""

    @property
    def mismatch(self) -> tuple[str, str] | None:
        """The requested family and the one that answered, if both are known and differ."""
        asked, answered = self.asked, self.answered
        if answered is None or not asked.family or not answered.family:
            return None
        same = asked.family == answered.family or (asked.id and asked.id == answered.id)
        return None if same else (asked.family, answered.family)


def _visible(text: str) -> str:
    return " ".join(_INVISIBLE.sub("", text).split())[:_SHOWN].strip()


class Exchange:
    """The answer to one request: its events, and the account and model that serve it.

    A transformation of an answer is an async generator over `events`; `over` returns the exchange with its events.
    """

    __slots__ = ("_served", "events")

    def __init__(self, served: Callable[[], Served], events: AsyncIterator[Event]) -> None:
        """Set the events, and a function that returns what is known about the serving account and model."""
        self._served = served
        self.events = events
        """Read them once, until `Finish`. Reading raises GatewayError if the answer breaks off."""

    @property
    def served(self) -> Served:
        """The transport, account and model that serve the request."""
        return self._served()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Return the events."""
        return self.events

    def over(self, events: AsyncIterator[Event]) -> "Exchange":
        """Return this exchange with other events."""
        return Exchange(self._served, events)


class Engine(Protocol):
    """Opens exchanges. Entering `open` waits for the first event, so it raises errors before an HTTP status is sent."""

    @property
    def catalogue(self) -> Catalogue:
        """The models that this gateway knows."""
        ...

    def offers(self, selection: Selection) -> bool:
        """Return whether a transport has this model and capability now."""
        ...

    def served_by(self, selection: Selection) -> Sequence[UpstreamModel]:
        """Return the upstream models that would serve this now, as far as they are known; no I/O."""
        ...

    def open(self, request: GenerationRequest) -> AbstractAsyncContextManager[Exchange]:
        """Open an exchange; leaving the context closes the upstream response, then releases the lease.

        Raises:
            GatewayError: the request was refused, or no account could serve it.

        """
        ...

    def media(self, ref: MediaRef, rendition: Rendition = Rendition.USUAL) -> AbstractAsyncContextManager[MediaStream]:
        """Open a media file with the account that owns it; leaving the context closes the upstream response.

        Entering waits for the first bytes, so a file that is unavailable raises there.

        Raises:
            UpstreamFailed: the file is unavailable, not ready yet (`media_not_ready`) or deleted (`media_gone`).
            GatewayError: the account or its transport no longer exists.

        """
        ...
