"""What is told of a request's way to an upstream, to whoever follows single requests through all programs.

Where nobody does, pools and transports are the plain ones, and it costs nothing. What is told follows OpenTelemetry's
semantic conventions for HTTP and generative AI, and is never a word of a prompt or of an answer, and nothing secret.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from protocol.model import (
    Capability,
    Event,
    Exchange,
    Finish,
    GatewayError,
    GenerationRequest,
    MediaRef,
    MediaStream,
    Rendition,
    Selection,
    Text,
    Thought,
    UpstreamModel,
)
from transports.account import Account, Finding
from transports.accounts import AccountStates, ConcurrencyLimits, Lease, LeaseRequest, Pool, PoolConfig
from transports.base import Transport

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

    def __init__(self, accounts: AccountStates, limits: ConcurrencyLimits, config: PoolConfig, tracer: Tracer) -> None:
        """Be a pool as any other."""
        super().__init__(accounts, limits, config)
        self._tracer = tracer

    async def lease(self, request: LeaseRequest) -> Lease:
        """As `Pool.lease`; the span ends where the request has its account."""
        clock = self.accounts.deps.clock
        began = clock.monotonic()
        with self._tracer.span("lease", Sort.INTERNAL, {"gateway.transport": self.accounts.transport}) as span:
            try:
                lease = await super().lease(request)
                span.set({"gateway.account": lease.account.id})
                return lease
            finally:
                span.set({"gateway.lease.waited_seconds": round(clock.monotonic() - began, 6)})


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

    async def open(self, stack: AsyncExitStack, request: GenerationRequest, account: Account) -> Exchange:
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
        span = stack.enter_context(self._tracer.span(f"{operation} {model}", Sort.CLIENT, attributes))
        try:
            exchange = await self._transport.open(stack, request, account)
        except GatewayError as error:  # the stack is closed without it when another account is asked
            span.failed(error.code)
            raise
        stack.callback(_set_model, span, exchange)
        return exchange.over(_traced_events(exchange, span))

    def media(self, ref: MediaRef, rendition: Rendition) -> AbstractAsyncContextManager[MediaStream]:
        """As `transports.base.Transport.media`."""
        return self._transport.media(ref, rendition)

    def examine(self, account: str) -> AsyncIterator[Finding]:
        """As `transports.base.Transport.examine`."""
        return self._transport.examine(account)

    async def export(self, account: str) -> str:
        """As `transports.base.Transport.export`."""
        return await self._transport.export(account)


def _set_model(span: Span, exchange: Exchange) -> None:
    if exchange.served.model:
        span.set({"gen_ai.response.model": exchange.served.model})


async def _traced_events(exchange: Exchange, span: Span) -> AsyncGenerator[Event]:
    """Yield the events of an answer; tell its span of the first token, of the end and of an error."""
    begun = False
    try:
        async for event in exchange.events:
            if not begun and isinstance(event, Text | Thought):
                begun = True
                span.event("first_token")
            elif isinstance(event, Finish):
                span.set(_finished(event))
            yield event
    except GatewayError as error:  # the reader may answer its client and leave without an error
        span.failed(error.code)
        raise


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
