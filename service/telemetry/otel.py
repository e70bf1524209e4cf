"""Exports spans to a collector with the OpenTelemetry SDK. Imported only if tracing is enabled."""

import logging
import threading
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, Token
from importlib.metadata import version
from types import TracebackType
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import structlog
from opentelemetry import trace
from opentelemetry.context import Context as Parent
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from protocol.http.context import RequestContext
from protocol.model import GatewayError
from service.config.schema import TracingSettings
from transports.tracing import Attributes, Span, SpanKind

_FLUSH_SECONDS = 3.0
"""How long exporting the remaining spans may take at exit; then they are lost."""
_EXPORT_SECONDS = 10.0
"""Timeout of exporting one batch, in the exporter's own thread."""
_KINDS = {SpanKind.INTERNAL: trace.SpanKind.INTERNAL, SpanKind.CLIENT: trace.SpanKind.CLIENT}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"})

_log = structlog.get_logger()
_parent: ContextVar[Parent | None] = ContextVar("gemini_gateway_trace", default=None)
"""The request's trace context, inherited by the tasks that work on it."""


class _OtelSpan(Span):
    """A span of the SDK."""

    recording = True

    def __init__(self, span: trace.Span) -> None:
        self._span, self._over = span, False

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def event(self, name: str) -> None:
        self._span.add_event(name)

    def failed(self, code: str) -> None:
        if not self._over:
            self._over = True
            self._span.set_attribute("error.type", code)
            self._span.set_status(StatusCode.ERROR)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, GatewayError):
            self.failed(error.code)
        elif isinstance(error, Exception):
            self.failed("internal_error")
        elif kind is not None and not self._over:
            self.event("cancelled")  # the request's own span says why
        self._span.end()


class _OtelRequestSpan:
    """Implements `service.telemetry.tracing.RequestSpan`."""

    def __init__(self, span: trace.Span, method: str, token: Token[Parent | None]) -> None:
        self._span, self._method, self._token = span, method, token

    def end(self, route: str | None, status: int, context: RequestContext) -> None:
        _parent.reset(self._token)
        span, record = self._span, context.record
        known = {
            "http.route": route,
            "http.response.status_code": status,
            "gateway.license": context.caller.id if context.caller else None,
            "gateway.model": record.model,
            "gateway.transport": record.transport,
            "gateway.account": record.account,
            "error.type": record.error or (str(status) if status >= 500 else None),
        }
        span.set_attributes({name: value for name, value in known.items() if value is not None})
        if route is not None:
            span.update_name(f"{self._method} {route}")
        if status >= 500 or (record.error and status < 400):  # a 4xx is the caller's error
            span.set_status(StatusCode.ERROR)
        span.end()


class OtelTracer:
    """Implements `service.telemetry.tracing.RequestTracer`."""

    def __init__(self, tracer: trace.Tracer) -> None:
        """Record spans with `tracer`."""
        self._tracer, self._callers = tracer, TraceContextTextMapPropagator()

    def begin(self, scope: Any, context: RequestContext) -> _OtelRequestSpan:
        """Start the span of a request, as a child of its caller's trace if there is one."""
        method = scope["method"] if scope["method"] in _METHODS else None
        # `tracestate` is dropped so that callers' data does not reach the collector
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        span = self._tracer.start_span(
            method or "HTTP",
            self._callers.extract({"traceparent": parent.decode("latin-1")}, Parent()),
            trace.SpanKind.SERVER,
            {
                "http.request.method": method or "_OTHER",
                "url.scheme": scope["scheme"],
                "network.protocol.version": scope["http_version"],
                "gateway.request": context.id,
            },
        )
        own = span.get_span_context()
        context.record.trace = format_trace_id(own.trace_id)
        context.record.sampled = own.trace_flags.sampled
        return _OtelRequestSpan(span, method or "HTTP", _parent.set(set_span_in_context(span, Parent())))

    def span(self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL) -> Span:
        """Start a span; see `transports.tracing.Tracer`."""
        return _OtelSpan(self._tracer.start_span(name, _parent.get() or Parent(), _KINDS[kind], attributes))


class _LoggingExporter(SpanExporter):
    """Wraps an exporter: logs once when the collector becomes unreachable and once when it is back."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001 -- losing spans must not break anything else
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self.report_failure()
        elif self._failing:
            self._failing = False
            _log.info("trace_export_recovered")
        return result

    def report_failure(self) -> None:
        """Log that spans are lost, unless that was logged already."""
        if not self._failing:
            self._failing = True
            _log.warning("trace_export_failed", advice="Spans are lost. Check tracing.endpoint and the collector.")

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


@asynccontextmanager
async def open_traces(tracing: TracingSettings, headers: Mapping[str, str]) -> AsyncGenerator[OtelTracer]:
    """Export spans to the collector; on exit, export the remaining ones or give up."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `_LoggingExporter` logs each outage once
    exporter = _LoggingExporter(OTLPSpanExporter(tracing.endpoint, headers=headers, timeout=_EXPORT_SECONDS))
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(tracing.sample_ratio)),
        resource=Resource.create(
            {
                "service.name": tracing.service_name,
                "service.version": version("gemini-gateway"),
                "service.instance.id": uuid.uuid4().hex,
            },
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield OtelTracer(provider.get_tracer("gemini-gateway", version("gemini-gateway")))
    finally:
        await _end(provider, exporter)


async def _end(provider: TracerProvider, exporter: _LoggingExporter) -> None:
    """Export the remaining spans in a daemon thread; wait a few seconds for it."""
    done, loop = anyio.Event(), anyio.lowlevel.current_token()

    def end() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the loop has ended
            anyio.from_thread.run_sync(done.set, token=loop)

    threading.Thread(target=end, name="last-spans", daemon=True).start()
    with anyio.move_on_after(_FLUSH_SECONDS, shield=True) as scope:
        await done.wait()
    if scope.cancelled_caught:
        exporter.report_failure()
