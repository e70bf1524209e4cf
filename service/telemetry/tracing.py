"""Defines tracing settings and interfaces. Only `service.telemetry.otel` imports OpenTelemetry."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from protocol.http.context import RequestContext
from service.config.loader import Origin, SettingsError
from transports.tracing import Tracer


class Tracing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Spans of requests, leases and upstreams, for a collector of OpenTelemetry's."""

    enabled: bool = False
    """Takes the extra `otel`."""
    endpoint: Annotated[str, Meta(pattern=r"^https?://[^\s@]+\Z")] = "http://127.0.0.1:4318/v1/traces"
    """Where the collector takes spans by OTLP over HTTP: the whole URL."""
    headers_file: Path | None = None
    """A file of headers that the collector asks for, one a line, as `Authorization: Bearer …`: secret."""
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """Of the requests whose caller has not decided on it (`traceparent`)."""
    service_name: Annotated[str, Meta(min_length=1)] = "gemini-gateway"


class RequestSpan(Protocol):
    """The span of one request."""

    def end(self, route: str | None, status: int, context: RequestContext) -> None:
        """End the span with the route, the status and the record of the request."""
        ...


class Traces(Tracer, Protocol):
    """Records spans of requests and of the work done for them."""

    def begin(self, scope: Any, context: RequestContext) -> RequestSpan:
        """Start the span of an ASGI request, the parent of later spans of its task; note its trace in the record."""
        ...


def headers_of(tracing: Tracing, origin: Origin) -> dict[str, str]:
    """Return the headers to send to the collector.

    Raises:
        SettingsError: the file cannot be read, or a line is malformed.

    """
    path = tracing.headers_file
    if path is None:
        return {}
    where = f"{origin.of('tracing.headers_file')}: tracing.headers_file: {path}"
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError as error:
        raise SettingsError(f"{where}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: is not ASCII") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if line.strip() and not (colon and name.replace("-", "").isalnum() and value):
            raise SettingsError(f"{where}: line {number} is not of the form Name: value")
        if colon:
            found[name.lower()] = value
    return found


def check_tracing(tracing: Tracing, origin: Origin) -> None:
    """Check that tracing can start, if it is enabled.

    Raises:
        SettingsError: the extra `otel` is not installed, or as `headers_of`.

    """
    if tracing.enabled:
        _implementation(origin)
        headers_of(tracing, origin)


def _implementation(origin: Origin) -> Any:
    try:
        from service.telemetry import otel
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise SettingsError(
            f"{origin.of('tracing.enabled')}: tracing.enabled: OpenTelemetry is not installed here; "
            "install the gateway with its extra, as in: pip install 'gemini-gateway[otel]'",
        ) from None
    return otel


@asynccontextmanager
async def open_tracing(tracing: Tracing, origin: Origin) -> AsyncGenerator[Traces | None]:
    """Yield the tracer of requests; None: tracing is off. Remaining spans are exported on exit, for a few seconds.

    Raises:
        SettingsError: as `check_tracing`.

    """
    if not tracing.enabled:
        yield None
        return
    otel = _implementation(origin)
    async with otel.open_traces(tracing, headers_of(tracing, origin)) as traces:
        yield traces
