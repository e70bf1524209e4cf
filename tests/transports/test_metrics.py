from prometheus_client import CollectorRegistry, generate_latest

from protocol.model import Served, UpstreamModel
from transports.metrics import PrometheusObserver, PrometheusStoreObserver
from transports.observer import ELSEWHERE, AccountChange, AccountStats, Fanout


def shown(registry):
    lines = generate_latest(registry).decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def change(what, by="", reason="quota"):
    return AccountChange(at=0.0, account="a", transport="t", event=what, reason=reason, by=by)


def test_cooldowns_and_attention_are_counted_by_the_process_that_set_them():
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    for one in (
        change("cooldown_started"),
        change("cooldown_started", by=ELSEWHERE),
        change("cooldown_ended"),
        change("needs_attention", reason="consent"),
    ):
        observer.changed(one)
    found = shown(registry)
    assert found['gateway_account_cooldowns_total{reason="quota",transport="t"}'] == 1
    assert found['gateway_account_attention_total{reason="consent",transport="t"}'] == 1
    assert not [name for name in found if '"a"' in name]


def test_account_gauges_show_the_current_status_and_drop_removed_accounts():
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    ready, attention = ("session", "chat", "ready"), ("session", "chat", "needs_attention")
    models = {("session", "", "chat", "pro", "quota"): 1}
    observer.account_stats(
        AccountStats(transport="t", by_status={ready: 2}, by_model=models, rotated={"a": 5.0, "b": 6.0})
    )
    of_model = (
        'gateway_account_models{capability="chat",kind="session",model="pro",state="quota",tier="",transport="t"}'
    )
    assert shown(registry)[of_model] == 1
    observer.account_stats(AccountStats(transport="t", by_status={attention: 1}, rotated={"b": 7.0}))
    found = shown(registry)
    assert found[of_model] == 0
    labels = 'capability="chat",kind="session",state="{}",transport="t"'
    assert found[f"gateway_accounts{{{labels.format('ready')}}}"] == 0
    assert found[f"gateway_accounts{{{labels.format('needs_attention')}}}"] == 1
    ages = {name: value for name, value in found.items() if name.startswith("gateway_session_rotated")}
    assert ages == {'gateway_session_rotated_timestamp_seconds{account="b"}': 7.0}


def test_leases_waits_decisions_retries_and_rotations_are_counted():
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    observer.leased("t", 1)
    observer.waiting("t", 1)
    observer.waited("t", 0.3)
    observer.retry_decided("t", "cooldown")
    observer.retried("t")
    observer.throttled("t")
    observer.rotated("t", "a", "renewed")
    observer.rerouted("t", "free", "RateLimited")
    found = shown(registry)
    assert [
        found['gateway_upstream_requests_in_flight{transport="t"}'],
        found['gateway_account_queue_length{transport="t"}'],
        found['gateway_account_wait_seconds_count{transport="t"}'],
        found['gateway_retry_decisions_total{decision="cooldown",transport="t"}'],
        found['gateway_retries_total{transport="t"}'],
        found['gateway_upstream_throttled_total{transport="t"}'],
        found['gateway_session_rotations_total{outcome="renewed",transport="t"}'],
        found['gateway_route_failovers_total{kind="RateLimited",tier="free",transport="t"}'],
    ] == [1] * 8


def test_every_counted_change_is_published_to_the_feed():
    registry, changes = CollectorRegistry(), []
    observer = Fanout(PrometheusObserver(registry), changes.append)
    observer.changed(change("cooldown_started"))
    observer.retried("t")
    found = shown(registry)
    assert [one.event for one in changes] == ["cooldown_started"]
    assert (
        found['gateway_account_cooldowns_total{reason="quota",transport="t"}'],
        found['gateway_retries_total{transport="t"}'],
    ) == (1, 1)


def test_answers_are_counted_by_family_and_name_and_names_are_bounded():
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    for number in range(200):
        model = UpstreamModel(id="x", name=f"{number} Flash \n\u00e9", family="flash")
        observer.answered(Served(transport="t", account="a", answered=model))
    observer.answered(Served(transport="t", account="a"))
    observer.model_mismatched("t", "pro", "flash")
    found = {name: value for name, value in shown(registry).items() if "_total" in name and "upstream_model" in name}
    answers = 'gateway_upstream_model_answers_total{{family="{}",model="{}",transport="t"}}'
    assert found[answers.format("flash", "0 Flash")] == 1
    assert found[answers.format("unknown", "unknown")] == 1
    assert found[answers.format("flash", "other")] == 200 - (len(found) - 3)
    assert len(found) < 40
    assert found['gateway_upstream_model_mismatches_total{answered="flash",requested="pro",transport="t"}'] == 1


def test_store_calls_the_breaker_and_the_eviction_policy_are_shown():
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
        ("gateway_store_file_unusable", lambda yes: observer.store_file("It is a folder." if yes else "")),
    ):
        assert registry.get_sample_value(sample) == 0.0
        tell(True)
        assert registry.get_sample_value(sample) == 1.0
        tell(False)
        assert registry.get_sample_value(sample) == 0.0
