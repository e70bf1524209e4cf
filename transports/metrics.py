"""What happens at upstreams and to accounts, for Prometheus. Every label is of a closed set, or an account's id."""

import os
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from protocol.model import Served, UpstreamModel
from transports.observer import ELSEWHERE, AccountStats, Change

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_MOST_NAMES = 32
_UNKNOWN, _OTHER = "unknown", "other"
_SEVERAL = "PROMETHEUS_MULTIPROC_DIR"
"""Set where several processes put their metrics together: no series can be removed there."""


class PrometheusObserver:
    """Counts into a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._upstream(registry)
        self._leases(registry)
        self._accounts(registry)

    def _upstream(self, registry: CollectorRegistry) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"gateway_{name}", words, ["transport", *labels], registry=registry)

        self._requests = counter("upstream_requests", "Requests sent to upstreams.")
        self._errors = counter("upstream_errors", "Requests to upstreams that ended with an error, by kind.", "kind")
        self._decisions = counter("verdicts", "What was made of errors of upstreams.", "verdict")
        self._retries = counter("retries", "Requests that were tried with another account.")
        self._throttled = counter("throttled", "Requests held back from what takes too little of what it is sent.")
        self._answers = counter(
            "upstream_model_answers",
            "Answers, by the family and name of the model that the upstream says has given them.",
            "family",
            "model",
        )
        self._names: set[str] = set()
        self._mismatches = counter(
            "upstream_model_mismatch",
            "Answers by a model of another family than the upstream was asked for, by both families.",
            "asked",
            "answered",
        )
        self._rotations = counter("rotations", "Renewals of sessions, by outcome.", "outcome")
        self._cooldowns = counter("rests", "Rests that accounts began, by reason.", "reason")
        self._needing_attention = counter("parks", "Accounts that began to wait for a person, by reason.", "reason")
        self._requests_of, self._answers_of = cache(self._requests.labels), cache(self._answers.labels)

    def _leases(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str) -> Gauge:
            return Gauge(f"gateway_{name}", words, ["transport"], registry=registry, multiprocess_mode="livesum")

        self._in_flight = gauge("upstream_in_flight", "Accounts' leases held now.")
        self._held = gauge("leases_held", "Accounts' leases held now.")
        self._waiting = gauge("leases_waiting", "Requests that wait for an account.")
        self._wait = Histogram(
            "gateway_lease_wait_seconds",
            "How long requests waited that had to wait for an account, and got one.",
            ["transport"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight_of, self._held_of = cache(self._in_flight.labels), cache(self._held.labels)

    def _accounts(self, registry: CollectorRegistry) -> None:
        self._account_states = Gauge(
            "gateway_accounts",
            "Accounts by kind, capability and state: ready, resting, parked, paused.",
            ["transport", "kind", "capability", "state"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._rotated = Gauge(
            "gateway_session_rotated_timestamp_seconds",
            "When an account's session was last renewed; 0 where the account is no more.",
            ["account"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._seen: dict[str, AccountStats] = {}

    def upstream_request(self, transport: str) -> None:
        """Count a request that is about to be sent."""
        self._requests_of(transport).inc()

    def upstream_error(self, transport: str, kind: str) -> None:
        """Count an error; `kind` is the class name of a GatewayError."""
        self._errors.labels(transport, kind).inc()

    def retry_decided(self, transport: str, decision: str) -> None:
        """Count a verdict."""
        self._decisions.labels(transport, decision).inc()

    def retried(self, transport: str) -> None:
        """Count a retry."""
        self._retries.labels(transport).inc()

    def throttled(self, transport: str) -> None:
        """Count a request that was held back."""
        self._throttled.labels(transport).inc()

    def answered(self, served: Served) -> None:
        """Count an answer by the model that gave it."""
        answered = served.answered or UpstreamModel()
        self._answers_of(served.transport, answered.family or _UNKNOWN, self._name(answered.label)).inc()

    def model_mismatched(self, transport: str, asked: str, answered: str) -> None:
        """Count an answer by a model of another family than was asked for."""
        self._mismatches.labels(transport, asked, answered).inc()

    def _name(self, name: str) -> str:
        """Return a model's name as a label; names come from outside, so only the first few are told apart."""
        if not name:
            return _UNKNOWN
        if name not in self._names and len(self._names) >= _MOST_NAMES:
            return _OTHER
        self._names.add(name)
        return name

    def leased(self, transport: str, change: int) -> None:
        """Count a lease in (1) or out (-1)."""
        self._in_flight_of(transport).inc(change)
        self._held_of(transport).inc(change)

    def waiting(self, transport: str, change: int) -> None:
        """Count a waiting request in or out."""
        self._waiting.labels(transport).inc(change)

    def waited(self, transport: str, seconds: float) -> None:
        """Note how long a request has waited for an account."""
        self._wait.labels(transport).observe(seconds)

    def rotated(self, transport: str, account: str, outcome: str) -> None:  # noqa: ARG002 -- the outcome is what counts
        """Count a rotation."""
        self._rotations.labels(transport, outcome).inc()

    def changed(self, change: Change) -> None:
        """Count what became of an account here; what was heard is counted where it happened."""
        if change.by == ELSEWHERE:
            return
        if change.what == "rests":
            self._cooldowns.labels(change.transport, change.reason).inc()
        elif change.what == "parked":
            self._needing_attention.labels(change.transport, change.reason).inc()

    def account_stats(self, stats: AccountStats) -> None:
        """Show how the accounts of a transport stand; what there is no more of is shown as none."""
        none = AccountStats(transport=stats.transport, by_status={}, rotated={})
        before = self._seen.get(stats.transport, none)
        self._seen[stats.transport] = stats
        for key in before.by_status.keys() - stats.by_status.keys():
            self._account_states.labels(stats.transport, *key).set(0)
        for key, count in stats.by_status.items():
            self._account_states.labels(stats.transport, *key).set(count)
        for account in before.rotated.keys() - stats.rotated.keys():
            if _SEVERAL in os.environ:
                self._rotated.labels(account).set(0)
            else:
                self._rotated.remove(account)
        for account, at in stats.rotated.items():
            self._rotated.labels(account).set(at)
