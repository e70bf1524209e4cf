"""Spans of a request's way to an upstream, in the shape of OpenTelemetry's API.

OpenTelemetry is an optional dependency. Code that is traced uses these classes, which record nothing; the tracer of
`service.telemetry.otel` extends them. Names and attributes follow OpenTelemetry's semantic conventions for HTTP and
generative AI. A span never contains text of a prompt or a response, or a secret:

    with tracer.span("lease", {"gateway.transport": "web"}) as span:
        lease = await pool.lease(request)
        span.set({"gateway.account": lease.account.id})
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

from protocol.model import Capability, Finish, Selection

Attributes = Mapping[str, str | int | float | Sequence[str]]

_OPERATIONS = {
    **dict.fromkeys((Capability.CHAT, Capability.CANVAS, Capability.DEEPSEARCH), "chat"),
    Capability.EMBEDDING: "embeddings",
}


class SpanKind(StrEnum):
    """The kind of work that a span measures."""

    INTERNAL = "internal"
    CLIENT = "client"
    """A request to another program."""


class Span:
    """A span that records nothing. As a context manager, it ends on exit, even in another task than it began in."""

    recording = False

    def set(self, attributes: Attributes) -> None:
        """Set attributes; a later value replaces an earlier one."""

    def event(self, name: str) -> None:
        """Record an event."""

    def failed(self, code: str) -> None:
        """Record the public error code that the work ended with; the first one stays."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the span: an error is its failure, a cancellation an event."""


class Tracer(Protocol):
    """Begins spans."""

    def span(self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL) -> Span:
        """Begin a span, as a child of the span of the request that the current task handles."""
        ...


class _NoTracer:
    """A tracer whose spans record nothing."""

    def __init__(self) -> None:
        self._span = Span()

    def span(self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL) -> Span:  # noqa: ARG002
        return self._span


NO_TRACER: Tracer = _NoTracer()


def upstream_attributes(selection: Selection, site: str) -> dict[str, str | int]:
    """Return the attributes of an upstream call that are known in advance."""
    parts = urlsplit(site)
    return {
        "gen_ai.operation.name": _OPERATIONS.get(selection.capability, "generate_content"),
        "gen_ai.provider.name": "gcp.gen_ai",
        "gen_ai.request.model": selection.id,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }


def finish_attributes(event: Finish) -> Attributes:
    """Return the attributes of an upstream call that are known at its end."""
    return {
        "gen_ai.response.finish_reasons": (event.reason,),
        "gen_ai.usage.input_tokens": event.usage.input_tokens,
        "gen_ai.usage.output_tokens": event.usage.output_tokens,
    }
