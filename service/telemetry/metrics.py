"""Defines the Prometheus metrics of requests."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from protocol.http.context import RequestContext

CLIENT_GONE_STATUS = 499
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Metrics of requests. Label values come from closed sets, so the labelled children are cached."""

    def __init__(self, registry: CollectorRegistry, most: int) -> None:
        """Register the metrics; `most` is the limit of concurrent requests."""
        self.requests = Counter(
            "gateway_requests",
            "Requests answered.",
            ["route", "model", "status"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "gateway_requests_in_flight",
            "Requests being answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.first_token = Histogram(
            "gateway_time_to_first_token_seconds",
            "Seconds from a request's arrival to the first text or thought of its response.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.duration = Histogram(
            "gateway_request_duration_seconds",
            "Seconds from a request's arrival to the end of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        Gauge(
            "gateway_requests_in_flight_limit",
            "Limit of concurrent requests.",
            registry=registry,
            multiprocess_mode="livesum",
        ).set(most)
        self._requests_of = cache(self.requests.labels)
        self._first_token_of = cache(self.first_token.labels)
        self._duration_of = cache(self.duration.labels)
        self.tokens = Counter(
            "gateway_tokens",
            "Tokens used, by the transport that answered; exact if the upstream counted them, otherwise an estimate.",
            ["model", "direction", "transport", "usage"],
            registry=registry,
        )
        self.licenses = Counter(
            "gateway_license_requests",
            "Requests answered by license and outcome: ok, refused, failed, disconnected.",
            ["license", "outcome"],
            registry=registry,
        )
        self.license_tokens = Counter(
            "gateway_license_tokens",
            "Tokens used by license, reported or estimated.",
            ["license", "direction"],
            registry=registry,
        )
        self._tokens_of = cache(self.tokens.labels)
        self._licenses_of = cache(self.licenses.labels)
        self._license_tokens_of = cache(self.license_tokens.labels)

    def observe(self, route: str, status: int, context: RequestContext, seconds: float) -> None:
        """Record one answered request."""
        record = context.record
        model = record.model or "none"
        self._requests_of(route, model, str(status)).inc()
        exemplar = {"trace_id": record.trace} if record.trace and record.sampled else None
        self._duration_of(route).observe(seconds, exemplar)
        if record.first_token is not None:
            self._first_token_of(model).observe(record.first_token, exemplar)
        if record.input_tokens or record.output_tokens:
            source = record.transport or "none", "exact" if record.exact_tokens else "estimate"
            self._tokens_of(model, "input", *source).inc(record.input_tokens)
            self._tokens_of(model, "output", *source).inc(record.output_tokens)
        if context.caller is not None:
            self._licenses_of(context.caller.id, outcome_of(status)).inc()
            if record.input_tokens or record.output_tokens:
                self._license_tokens_of(context.caller.id, "input").inc(record.input_tokens)
                self._license_tokens_of(context.caller.id, "output").inc(record.output_tokens)


def outcome_of(status: int) -> str:
    """Return the outcome label of a status."""
    if status == CLIENT_GONE_STATUS:
        return "disconnected"
    return "ok" if status < 400 else "refused" if status < 500 else "failed"
