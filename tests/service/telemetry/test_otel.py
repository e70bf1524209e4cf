"""How lost spans are logged, and how spans end."""

import anyio
import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from protocol.model import RateLimited, UpstreamFailed
from service.telemetry.otel import OtelTracer, _LoggingExporter
from transports.tracing import SpanKind


class Exporter:
    def __init__(self, *outcomes):
        self._outcomes = iter(outcomes)

    def export(self, spans):
        outcome = next(self._outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_the_failure_and_recovery_of_a_collector_are_logged_once():
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    telling = _LoggingExporter(Exporter(good, bad, OSError("a secret in it"), bad, good, good, bad))
    with structlog.testing.capture_logs() as logged:
        for _ in range(7):
            telling.export(())
    events = [line["event"] for line in logged]
    assert events == ["trace_export_failed", "trace_export_recovered", "trace_export_failed"]
    assert "secret" not in str(logged)


@pytest.fixture
def traces():
    """Yield a tracer and the exporter that keeps its spans."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    yield OtelTracer(provider.get_tracer("test")), kept
    provider.shutdown()


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RateLimited("canary"), "upstream_quota_exhausted"), (LookupError("canary"), "internal_error")],
)
def test_a_failed_span_has_the_error_code_and_no_message(traces, error, kind):
    tracer, kept = traces
    with pytest.raises(type(error)):
        with tracer.span("a", {}, SpanKind.CLIENT):
            raise error
    (span,) = kept.get_finished_spans()
    assert (span.attributes["error.type"], span.status.is_ok) == (kind, False)
    assert "canary" not in span.to_json()
    assert span.events == ()


def test_the_first_error_of_a_span_is_kept(traces):
    tracer, kept = traces
    with pytest.raises(LookupError), tracer.span("a", {}, SpanKind.CLIENT) as span:
        span.failed("upstream_truncated")
        raise LookupError
    assert kept.get_finished_spans()[0].attributes["error.type"] == "upstream_truncated"


async def test_a_span_exited_in_another_task_ends(traces):
    tracer, kept = traces
    entered = tracer.span("a", {}, SpanKind.CLIENT)

    async def enter():
        entered.__enter__()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
    with pytest.raises(UpstreamFailed):
        with entered:
            raise UpstreamFailed("canary")
    assert kept.get_finished_spans()[0].attributes["error.type"] == UpstreamFailed.code


async def test_a_cancelled_span_is_not_an_error(traces):
    tracer, kept = traces
    with anyio.CancelScope() as scope:
        with tracer.span("a", {}, SpanKind.CLIENT):
            scope.cancel()
            await anyio.sleep_forever()
    (span,) = kept.get_finished_spans()
    assert ([event.name for event in span.events], span.status.is_unset) == (["cancelled"], True)
