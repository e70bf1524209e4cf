"""Prometheus metrics of upstream requests, accounts and the store.

Label values come from closed sets, or are account ids.
"""

import os
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from protocol.model import Served, UpstreamModel
from transports.observer import ELSEWHERE, AccountChange, AccountStats

MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the directory in which the workers of one gateway put their metrics together; set only if
there are several. prometheus_client reads it at import, and then cannot remove a series."""

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STORE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_MOST_NAMES = 32
_UNKNOWN, _OTHER = "unknown", "other"


class PrometheusObserver:
    """Observer that records Prometheus metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics in `registry`."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"gateway_{name}", text, ["transport", *labels], registry=registry)

        self._requests = counter("upstream_requests", "Requests sent upstream.")
        self._errors = counter("upstream_errors", "Upstream requests that failed, by kind of error.", "kind")
        self._decisions = counter("retry_decisions", "Retry decisions after upstream errors.", "decision")
        self._retries = counter("retries", "Requests retried with another account.")
        self._reroutes = counter(
            "route_failovers",
            "Requests that a hop of a route did not answer and the next one got, by kind of error.",
            "tier",
            "kind",
        )
        self._throttled = counter("upstream_throttled", "Requests refused by the client-side throttle.")
        self._answers = counter(
            "upstream_model_answers",
            "Answers by family and name of the model, as the upstream reports it.",
            "family",
            "model",
        )
        self._names: set[str] = set()
        self._mismatches = counter(
            "upstream_model_mismatches",
            "Answers by a model of another family than requested, by both families.",
            "requested",
            "answered",
        )
        self._caches = counter("context_cache_events", "Events of caches of prompts, by outcome.", "outcome")
        self._rotations = counter("session_rotations", "Cookie rotations, by outcome.", "outcome")
        self._cooldowns = counter("account_cooldowns", "Cooldowns of accounts, by reason.", "reason")
        self._attention = counter("account_attention", "Accounts that began to need attention, by reason.", "reason")
        self._requests_of, self._answers_of = cache(self._requests.labels), cache(self._answers.labels)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"gateway_{name}", text, ["transport"], registry=registry, multiprocess_mode="livesum")

        self._in_flight = gauge("upstream_requests_in_flight", "Requests that use an account.")
        self._waiting = gauge("account_queue_length", "Requests waiting for an account.")
        self._wait = Histogram(
            "gateway_account_wait_seconds",
            "Time that requests waited for an account, if they had to wait and got one.",
            ["transport"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight_of = cache(self._in_flight.labels)
        self.account_stats = _AccountGauges(registry).show

    def upstream_request(self, transport: str) -> None:
        """Count a request that is about to be sent."""
        self._requests_of(transport).inc()

    def upstream_error(self, transport: str, kind: str) -> None:
        """Count an error; `kind` is the class name of a GatewayError."""
        self._errors.labels(transport, kind).inc()

    def retry_decided(self, transport: str, decision: str) -> None:
        """Count a retry decision."""
        self._decisions.labels(transport, decision).inc()

    def retried(self, transport: str) -> None:
        """Count a retry."""
        self._retries.labels(transport).inc()

    def rerouted(self, transport: str, tier: str, kind: str) -> None:
        """Count a request that the next hop of its route gets."""
        self._reroutes.labels(transport, tier, kind).inc()

    def throttled(self, transport: str) -> None:
        """Count a request that the throttle refused."""
        self._throttled.labels(transport).inc()

    def answered(self, served: Served) -> None:
        """Count an answer by its model."""
        answered = served.answered or UpstreamModel()
        name = answered.label or _UNKNOWN
        if answered.label and name not in self._names:
            if len(self._names) < _MOST_NAMES:  # names come from the upstream, so their number is limited
                self._names.add(name)
            else:
                name = _OTHER
        self._answers_of(served.transport, answered.family or _UNKNOWN, name).inc()

    def model_mismatched(self, transport: str, requested: str, answered: str) -> None:
        """Count an answer by a model of another family than requested."""
        self._mismatches.labels(transport, requested, answered).inc()

    def context_cache(self, transport: str, outcome: str) -> None:
        """Count what became of a cache."""
        self._caches.labels(transport, outcome).inc()

    def leased(self, transport: str, change: int) -> None:
        """Count a request that took (1) or released (-1) an account."""
        self._in_flight_of(transport).inc(change)

    def waiting(self, transport: str, change: int) -> None:
        """Count a request that entered (1) or left (-1) the queue."""
        self._waiting.labels(transport).inc(change)

    def waited(self, transport: str, seconds: float) -> None:
        """Record how long a request waited for an account."""
        self._wait.labels(transport).observe(seconds)

    def rotated(self, transport: str, account: str, outcome: str) -> None:  # noqa: ARG002 -- counted by outcome only
        """Count a rotation."""
        self._rotations.labels(transport, outcome).inc()

    def changed(self, change: AccountChange) -> None:
        """Count a change made by this process; other processes count their own."""
        if change.by == ELSEWHERE:
            return
        if change.event == "cooldown_started":
            self._cooldowns.labels(change.transport, change.reason).inc()
        elif change.event == "needs_attention":
            self._attention.labels(change.transport, change.reason).inc()


class _AccountGauges:
    """Shows the statistics of the accounts of all transports."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._account_states = Gauge(
            "gateway_accounts",
            "Accounts by kind, capability and state: ready, cooling_down (for all models), needs_attention, paused.",
            ["transport", "kind", "capability", "state"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._model_states = Gauge(
            "gateway_account_models",
            "Accounts by kind, tier, capability, model and state for it; the reason is the state of a cooldown.",
            ["transport", "kind", "tier", "capability", "model", "state"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._rotated = Gauge(
            "gateway_session_rotated_timestamp_seconds",
            "Time of the last cookie rotation of an account; 0 if the account was removed.",
            ["account"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._last_stats: dict[str, AccountStats] = {}

    def show(self, stats: AccountStats) -> None:
        """Set the gauges of a transport's accounts; combinations that no longer occur become 0."""
        none = AccountStats(transport=stats.transport, by_status={}, rotated={})
        before = self._last_stats.get(stats.transport, none)
        self._last_stats[stats.transport] = stats
        for key in before.by_status.keys() | stats.by_status.keys():
            self._account_states.labels(stats.transport, *key).set(stats.by_status.get(key, 0))
        for key in before.by_model.keys() | stats.by_model.keys():
            self._model_states.labels(stats.transport, *key).set(stats.by_model.get(key, 0))
        for account in before.rotated.keys() - stats.rotated.keys():
            if MULTIPROCESS_DIRECTORY in os.environ:
                self._rotated.labels(account).set(0)
            else:
                self._rotated.remove(account)
        for account, at in stats.rotated.items():
            self._rotated.labels(account).set(at)


class PrometheusStoreObserver:
    """Records store calls, the circuit breaker and the eviction policy as Prometheus metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics in `registry`."""
        self._seconds = cache(
            Histogram(
                "gateway_store_call_duration_seconds",
                "Duration of store calls, by operation and outcome.",
                ["operation", "outcome"],
                buckets=_STORE_SECONDS,
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

        self._unusable = Gauge(
            "gateway_store_file_unusable",
            "1 while the store's SQLite file is missing, foreign, damaged or cannot be written.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._restored = Counter(
            "gateway_store_file_restorations",
            "Replaced or deleted SQLite files to which the records of the previous one were written.",
            registry=registry,
        )
        self.file_problem = ""
        """Why the store's file cannot be used, with its path; empty: it can."""

    def store_call(self, operation: str, seconds: float, outcome: str) -> None:
        """Record one call."""
        self._seconds(operation, outcome).observe(seconds)

    def store_breaker(self, *, is_open: bool) -> None:
        """Record that the breaker has opened or closed."""
        self._breaker.set(is_open)

    def store_file(self, problem: str) -> None:
        """Record that the store's file cannot be used, or that it can again."""
        self.file_problem = problem
        self._unusable.set(bool(problem))

    def store_restored(self) -> None:
        """Record that another file got the records of the previous one."""
        self._restored.inc()

    def store_evicts(self, *, evicts: bool) -> None:
        """Record whether the server may evict records."""
        self._evicts.set(evicts)
