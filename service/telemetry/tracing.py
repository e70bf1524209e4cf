"""Defines tracing settings and interfaces. Only `service.telemetry.otel` imports OpenTelemetry."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from protocol.http.context import RequestContext
from service.config.schema import Origin, SettingsError, TracingSettings
from service.config.secrets import read_secret
from transports.tracing import Tracer


class RequestSpan(Protocol):
    """The span of one request."""

    def end(self, route: str | None, status: int, context: RequestContext) -> None:
        """End the span with the route, the status and the record of the request."""
        ...


class RequestTracer(Tracer, Protocol):
    """Records spans of requests and of the work done for them."""

    def begin(self, scope: Any, context: RequestContext) -> RequestSpan:
        """Start the span of an ASGI request, the parent of later spans of its task; note its trace in the record."""
        ...


def headers_of(tracing: TracingSettings, origin: Origin) -> dict[str, str]:
    """Return the headers to send to the collector.

    Raises:
        SettingsError: the file cannot be read, or a line is malformed.

    """
    path = tracing.headers_file
    if path is None:
        return {}
    setting = f"{origin.of('tracing.headers_file')}: tracing.headers_file"
    text = read_secret(path, setting)
    if not text.isascii():
        raise SettingsError(f"{setting}: {path} is not ASCII")
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if line.strip() and not (colon and name.replace("-", "").isalnum() and value):
            raise SettingsError(f"{setting}: {path}: line {number} is not of the form Name: value")
        if colon:
            found[name.lower()] = value
    return found


def check_tracing(tracing: TracingSettings, origin: Origin) -> None:
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
async def open_tracing(tracing: TracingSettings, origin: Origin) -> AsyncGenerator[RequestTracer | None]:
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
