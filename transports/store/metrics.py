"""The store's calls, for Prometheus."""

from functools import cache

from prometheus_client import CollectorRegistry, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class PrometheusStoreObserver:
    """Counts into a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._seconds = cache(
            Histogram(
                "gateway_store_seconds",
                "Calls of the store: how long they took, and whether it did them.",
                ["operation", "outcome"],
                buckets=_SECONDS,
                registry=registry,
            ).labels,
        )
        self._breaker = Gauge(
            "gateway_store_breaker_open",
            "1 while the store is out of reach, so that each process goes on by itself.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._evicts = Gauge(
            "gateway_store_evicts",
            "1 where the store's server may forget records to make room: its maxmemory-policy must be noeviction.",
            registry=registry,
            multiprocess_mode="livemax",
        )

    def store_call(self, operation: str, seconds: float, outcome: str) -> None:
        """Count a call."""
        self._seconds(operation, outcome).observe(seconds)

    def store_breaker(self, *, is_open: bool) -> None:
        """Note that the breaker has opened or closed."""
        self._breaker.set(is_open)

    def store_evicts(self, *, evicts: bool) -> None:
        """Note whether the server evicts."""
        self._evicts.set(evicts)
