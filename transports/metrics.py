"""What happens at upstreams, for Prometheus."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge

from transports.observer import Change


class PrometheusObserver:
    """Counts into a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._requests = Counter(
            "gateway_upstream_requests",
            "Requests sent to upstreams.",
            ["transport"],
            registry=registry,
        )
        self._errors = Counter(
            "gateway_upstream_errors",
            "Requests to upstreams that ended with an error, by kind.",
            ["transport", "kind"],
            registry=registry,
        )
        self._in_flight = Gauge(
            "gateway_upstream_in_flight",
            "Accounts' leases held now.",
            ["transport"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._requests_of = cache(self._requests.labels)
        self._in_flight_of = cache(self._in_flight.labels)

    def upstream_request(self, transport: str) -> None:
        """Count a request that is about to be sent."""
        self._requests_of(transport).inc()

    def upstream_error(self, transport: str, kind: str) -> None:
        """Count an error; `kind` is the class name of a GatewayError."""
        self._errors.labels(transport, kind).inc()

    def judged(self, transport: str, verdict: str) -> None:
        """Count a verdict."""

    def retried(self, transport: str) -> None:
        """Count a retry."""

    def waiting(self, transport: str, change: int) -> None:
        """Count a waiting request in or out."""

    def waited(self, transport: str, seconds: float) -> None:
        """Note how long a request has waited for an account."""

    def rotated(self, transport: str, account: str, outcome: str) -> None:
        """Count a rotation."""

    def changed(self, change: Change) -> None:
        """Note what became of an account."""

    def leased(self, transport: str, change: int) -> None:
        """Count a lease in (1) or out (-1)."""
        self._in_flight_of(transport).inc(change)
