"""What a protocol calls: the engine, and the exchange it opens."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from protocol.model.event import Event
from protocol.model.media import MediaRef, MediaStream, Rendition
from protocol.model.names import Catalogue, Family, Selection
from protocol.model.request import GenerationRequest

_SHOWN = 64
_INVISIBLE = re.compile(r"[^ -~]+")


class UpstreamModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as an upstream names it; what is not known is empty."""

    id: str = ""
    name: str = ""
    """The name that the upstream shows to people, such as `3.7 Flash`."""
    family: Family | None = None

    @property
    def label(self) -> str:
        """The name, else the id, in visible ASCII: fit for a header and a metric's label."""
        return _visible(self.name) or _visible(self.id)


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, for the log: names only, nothing secret."""

    transport: str
    account: str
    asked: UpstreamModel = UpstreamModel()
    """The model that the upstream was asked for."""
    answered: UpstreamModel | None = None
    """The model that the upstream says has answered; None: it has not said so (yet)."""

    @property
    def model(self) -> str:
        """The label of the model that has answered; empty while that is not known."""
        return self.answered.label if self.answered is not None else ""

    @property
    def mismatch(self) -> tuple[Family, Family] | None:
        """The families asked for and answered with, where both are known and they differ."""
        asked, answered = self.asked, self.answered
        if answered is None or asked.family is None or answered.family is None:
            return None
        same = asked.family is answered.family or (asked.id and asked.id == answered.id)
        return None if same else (asked.family, answered.family)


def _visible(text: str) -> str:
    return " ".join(_INVISIBLE.sub("", text).split())[:_SHOWN].strip()


class Exchange:
    """The answer to one request: its events and who sends them.

    What changes an answer, or follows it, is an async generator over `events`; `over` puts it in their place.
    """

    __slots__ = ("_served", "events")

    def __init__(self, served: Callable[[], Served], events: AsyncIterator[Event]) -> None:
        """Take the events, and a function that returns who answers, as far as that is known when it is called."""
        self._served = served
        self.events = events
        """They can be read once, until `Finish`. Reading raises GatewayError where the answer breaks off."""

    @property
    def served(self) -> Served:
        """Who answers."""
        return self._served()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Return the events."""
        return self.events

    def over(self, events: AsyncIterator[Event]) -> "Exchange":
        """Return this answer with other events."""
        return Exchange(self._served, events)


class Engine(Protocol):
    """Opens exchanges. Entering `open` has awaited the first event: a refusal is raised there, before any status."""

    @property
    def catalogue(self) -> Catalogue:
        """The models this gateway knows by name."""
        ...

    def offers(self, selection: Selection) -> bool:
        """Say whether some transport has this model and capability now."""
        ...

    def served_by(self, selection: Selection) -> Sequence[UpstreamModel]:
        """Return the upstream models that would be asked for this now, as far as they are known; no I/O."""
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
