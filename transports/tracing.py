"""What is told of a request's way to an upstream, to whoever follows single requests through all programs.

Where nobody does, pools and transports are the plain ones, and it costs nothing. What is told follows OpenTelemetry's
semantic conventions for HTTP and generative AI, and is never a word of a prompt or of an answer, and nothing secret.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from protocol.model import (
    Capability,
    Event,
    Finish,
    GatewayError,
    GenerationRequest,
    MediaRef,
    MediaStream,
    Rendition,
    Selection,
    Served,
    Text,
    Thought,
    UpstreamModel,
)
from transports.account import Account, Finding
from transports.base import Transport, Upstream
from transports.pool import Accounts, Ask, Lease, Pool, Seats, Terms

Attributes = Mapping[str, str | int | float | Sequence[str]]

_PROVIDER = "gcp.gen_ai"
_WRITES = frozenset({Capability.CHAT, Capability.CANVAS, Capability.DEEPSEARCH})


class Sort(StrEnum):
    """What a span is of."""

    INTERNAL = "internal"
    CLIENT = "client"
    """A request to another program."""


class Span(Protocol):
    """Something that takes time."""

    def set(self, attributes: Attributes) -> None:
        """Tell more of it; a later word on the same replaces the earlier one."""
        ...

    def event(self, name: str) -> None:
        """Tell that something has happened just now."""
        ...

    def failed(self, code: str) -> None:
        """Tell what became of it: a word of the public vocabulary. The first stands."""
        ...


class Tracer(Protocol):
    """Tells of spans."""

    def span(self, name: str, sort: Sort, attributes: Attributes) -> AbstractContextManager[Span]:
        """Tell of what happens within the context, as a part of the request that is being answered.

        An error that leaves the context is its failure, a cancellation an event. It may be left in another task than
        it was entered in.
        """
        ...


class TracedPool(Pool):
    """A pool that tells how its leases are come by."""

    def __init__(self, accounts: Accounts, seats: Seats, terms: Terms, tracer: Tracer) -> None:
        """Be a pool as any other."""
        super().__init__(accounts, seats, terms)
        self._tracer = tracer

    @asynccontextmanager
    async def lease(self, ask: Ask) -> AsyncGenerator[Lease]:
        """As `Pool.lease`; the span ends where the request has its account."""
        clock = self.accounts.ground.clock
        began = clock.monotonic()
        async with AsyncExitStack() as stack:
            with self._tracer.span("lease", Sort.INTERNAL, {"gateway.transport": self.accounts.transport}) as span:
                try:
                    lease = await stack.enter_async_context(super().lease(ask))
                    span.set({"gateway.account": lease.account.id})
                finally:
                    span.set({"gateway.lease.waited_seconds": round(clock.monotonic() - began, 6)})
            yield lease


class TracedTransport:
    """A transport that tells of every request it sends for a caller."""

    def __init__(self, transport: Transport, tracer: Tracer) -> None:
        """Be `transport` in all else."""
        self._transport, self._tracer = transport, tracer
        self.name = transport.name
        self._server = _server(transport.site)

    @property
    def accounts(self) -> Sequence[Account]:
        """As `transports.base.Transport.accounts`."""
        return self._transport.accounts

    @property
    def site(self) -> str:
        """As `transports.base.Transport.site`."""
        return self._transport.site

    def offers(self, selection: Selection) -> bool:
        """As `transports.base.Transport.offers`."""
        return self._transport.offers(selection)

    def served_by(self, selection: Selection, account: Account) -> UpstreamModel | None:
        """As `transports.base.Transport.served_by`."""
        return self._transport.served_by(selection, account)

    async def home(self, request: GenerationRequest) -> str | None:
        """As `transports.base.Transport.home`."""
        return await self._transport.home(request)

    @asynccontextmanager
    async def open(self, request: GenerationRequest, account: Account) -> AsyncGenerator[Upstream]:
        """As `transports.base.Transport.open`; the span lasts as long as the answer."""
        operation, model = _operation(request.selection), request.selection.id
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.request.model": model,
            "gateway.transport": self.name,
            "gateway.account": account.id,
            **self._server,
        }
        with self._tracer.span(f"{operation} {model}", Sort.CLIENT, attributes) as span:
            async with self._transport.open(request, account) as upstream:
                try:
                    yield _Watched(upstream, span)
                finally:
                    if upstream.served.model:
                        span.set({"gen_ai.response.model": upstream.served.model})

    def media(self, ref: MediaRef, rendition: Rendition) -> AbstractAsyncContextManager[MediaStream]:
        """As `transports.base.Transport.media`."""
        return self._transport.media(ref, rendition)

    def examine(self, account: str) -> AsyncIterator[Finding]:
        """As `transports.base.Transport.examine`."""
        return self._transport.examine(account)

    async def export(self, account: str) -> str:
        """As `transports.base.Transport.export`."""
        return await self._transport.export(account)


class _Watched:
    """An answer, of whose course it is told."""

    def __init__(self, upstream: Upstream, span: Span) -> None:
        """Tell `span`."""
        self._upstream, self._span = upstream, span
        self._events: AsyncIterator[Event] | None = None
        self._begun = False

    @property
    def served(self) -> Served:
        """As `transports.base.Upstream.served`."""
        return self._upstream.served

    def __aiter__(self) -> AsyncIterator[Event]:
        """Begin; once, as with any upstream."""
        self._events = aiter(self._upstream)
        return self

    async def __anext__(self) -> Event:
        """Return what comes next of the answer."""
        assert self._events is not None  # noqa: S101 -- `__aiter__` comes first
        try:
            event = await anext(self._events)
        except GatewayError as error:  # whoever reads may tell its client of it and leave in peace
            self._span.failed(error.code)
            raise
        if not self._begun and isinstance(event, Text | Thought):
            self._begun = True
            self._span.event("first_token")
        elif isinstance(event, Finish):
            self._span.set(_finished(event))
        return event


def _finished(event: Finish) -> Attributes:
    return {
        "gen_ai.response.finish_reasons": (event.reason,),
        "gen_ai.usage.input_tokens": event.usage.input_tokens,
        "gen_ai.usage.output_tokens": event.usage.output_tokens,
    }


def _operation(selection: Selection) -> str:
    return "chat" if selection.capability in _WRITES else "generate_content"


def _server(site: str) -> dict[str, str | int]:
    parts = urlsplit(site)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"server.address": parts.hostname or "", "server.port": port}
