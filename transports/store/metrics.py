"""Prometheus metrics of the store."""

from functools import cache

from prometheus_client import CollectorRegistry, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class PrometheusStoreObserver:
    """Records store calls, the circuit breaker and the eviction policy as Prometheus metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics in `registry`."""
        self._seconds = cache(
            Histogram(
                "gateway_store_call_duration_seconds",
                "Duration of store calls, by operation and outcome.",
                ["operation", "outcome"],
                buckets=_SECONDS,
                registry=registry,
            ).labels,
        )
        self._breaker = Gauge(
            "gateway_store_breaker_open",
            "1 while the circuit breaker is open and the process works without the store.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._evicts = Gauge(
            "gateway_store_eviction_enabled",
            "1 if the store's server may evict records because its maxmemory-policy is not noeviction.",
            registry=registry,
            multiprocess_mode="livemax",
        )

    def store_call(self, operation: str, seconds: float, outcome: str) -> None:
        """Record one call."""
        self._seconds(operation, outcome).observe(seconds)

    def store_breaker(self, *, is_open: bool) -> None:
        """Record that the breaker has opened or closed."""
        self._breaker.set(is_open)

    def store_evicts(self, *, evicts: bool) -> None:
        """Record whether the server may evict records."""
        self._evicts.set(evicts)
