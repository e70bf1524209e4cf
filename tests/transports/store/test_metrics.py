from prometheus_client import CollectorRegistry

from transports.store.metrics import PrometheusStoreObserver


def test_calls_the_breaker_and_the_policy_are_shown():
    registry = CollectorRegistry()
    observer = PrometheusStoreObserver(registry)
    observer.store_call("get", 0.002, "ok")
    observer.store_call("get", 0.25, "timeout")
    labels = {"operation": "get", "outcome": "ok"}
    assert registry.get_sample_value("gateway_store_call_duration_seconds_count", labels) == 1.0
    assert registry.get_sample_value("gateway_store_call_duration_seconds_sum", labels | {"outcome": "timeout"}) == 0.25
    for sample, tell in (
        ("gateway_store_breaker_open", lambda yes: observer.store_breaker(is_open=yes)),
        ("gateway_store_eviction_enabled", lambda yes: observer.store_evicts(evicts=yes)),
    ):
        assert registry.get_sample_value(sample) == 0.0
        tell(True)
        assert registry.get_sample_value(sample) == 1.0
        tell(False)
        assert registry.get_sample_value(sample) == 0.0
