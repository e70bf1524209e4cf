"""A real Prometheus watches two gateways; all queries of rules, dashboards and runbooks have results."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2 as httpx
import pytest

from tests.conftest import KEY, ROOT, Gateway, Process
from tests.deploy import watching
from tests.deploy.watching import DASHBOARDS, RULES, RUNBOOKS, Prometheus, families, selectors
from tests.servers import free_port

PANELS = [(path.stem, expression) for path in DASHBOARDS for expression in watching.panel_expressions(path)]
RECORDED = watching.rules("record")
ALERTS = watching.rules("alert")
ASKED = [(path.stem, expression) for path in RUNBOOKS for expression in watching.runbook_expressions(path)]

DUE = {"GatewayAccountNeedsAttention", "GatewayFreeKeysExhausted"}
"""Alerts that what was asked of the gateways gives a reason for."""

WATCHED = """
[server]
port = 0

[operations]
port = {port}

[drain]
grace_seconds = 1

[store]
path = "{store}"

[[licenses]]
id = "tester"
key = "{key}"

[transports.web]
guest = false
rotate_seconds = 2.0
refresh_seconds = 0  # no check of the gateway ends what a request has found
activity_seconds = 0
temporary = false

[transports.web.hosts]
site = "{site}"
accounts = "{site}"
upload = "{site}"

[[transports.web.accounts]]
id = "one"
cookies = "psid-one\\npsidts-one"
concurrency = 1

[[transports.web.accounts]]
id = "two"
cookies = "psid-two\\npsidts-two"
concurrency = 1

[transports.api]
base_url = "{site}"

[[transports.api.accounts]]
id = "free"
key = "AIza-free"

[[transports.api.accounts]]
id = "paid"
key = "AIza-paid"
tier = "paid"

[[routes]]
models = ["gemini-3.8-flash"]
to = ["api:free", "web"]

[[routes]]
to = ["web"]
"""
CONSENT = '<sim http="302" location="https://consent.google.com/m" once="b"/>'
"""The site wants a consent of the account: it needs attention."""
SITE = ("--account", "psid-one:psidts-one:advanced", "--account", "psid-two:psidts-two:advanced")
KEYS = ("--api-key", "AIza-free:free:0:1", "--api-key", "AIza-paid:paid")


def status_of(gateway, prompt="Hello!", **more):
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": prompt}], **more}
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers=headers, timeout=90).status_code


def calls(gateways):
    """Ask for what goes well, for what waits, and for what does not go well."""
    first, second = gateways
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(status_of, one, '<sim delay="0.3"/>', stream=True) for one in (first, second) * 2]
        assert [one.result() for one in asked] == [200] * 4
    assert status_of(first) == status_of(second) == 200
    assert status_of(first, model="no-such-model") == 404
    assert status_of(first, '<sim garbage-after="1"/>') == 502
    assert status_of(first, '<sim answered-by="flash-lite"/>') == 200  # though another model was asked for
    assert status_of(first, '<sim error="1037" once="a"/>') == 200  # of the other account
    assert [status_of(first, model="gemini-3.8-flash") for _ in range(3)] == [200] * 3  # by the key, then by the site
    assert status_of(first, CONSENT, model="gemini-3.6-flash") == 200  # the same


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Two gateways that share a store, and a site that both ask; return where their metrics are."""
    with ExitStack() as stack:

        def keep(process):
            stack.callback(process.stop)
            return process

        folders = [tmp_path_factory.mktemp("watched") for _ in range(3)]
        pace = ("--first-token-seconds", "0", "--tokens-per-second", "0", "--min-rotation-interval-seconds", "0")
        site = keep(Process("simulate", "--port", "0", *pace, *SITE, *KEYS, cwd=folders[0]))
        url = site.wait_for("Base URL").rpartition(" ")[2].strip()
        ports = [free_port(), free_port()]
        texts = [WATCHED.format(port=port, store=folders[0] / "shared.sqlite3", key=KEY, site=url) for port in ports]
        calls([keep(Gateway(folder, text)) for folder, text in zip(folders[1:], texts, strict=True)])
        yield [f"127.0.0.1:{port}" for port in ports]


@pytest.fixture(scope="module")
def shown(targets):
    """What one of them shows."""
    return httpx.get(f"http://{targets[0]}/metrics").text


@pytest.fixture(scope="module")
def prometheus(targets, tmp_path_factory):
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), targets)
    try:
        server.until(lambda: len(server.result("sum by (instance) (rate(gateway_requests_total[5m]))")) == 2)
        server.until(lambda: all(server.result(name) for name in RECORDED))
        yield server
    finally:
        server.stop()


def test_prometheus_loads_and_evaluates_every_rule(prometheus):
    seen = [rule for group in prometheus.answer("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in seen} == {*RECORDED, *ALERTS}
    prometheus.until(lambda: all(one["health"] == "ok" for group in groups_of(prometheus) for one in group["rules"]))
    assert not [rule for group in groups_of(prometheus) for rule in group["rules"] if rule.get("lastError")]


def groups_of(prometheus):
    return prometheus.answer("rules")["groups"]


@pytest.mark.parametrize(("name", "expression"), [*PANELS, *ASKED])
def test_panels_query_series_of_the_gateway_and_have_results(name, expression, prometheus, shown):
    known(expression, shown)
    found = prometheus.result(expression)
    if all(prometheus.result(series + labels) for series, labels in selectors(expression)):
        assert found or " > " in expression, expression


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_use_series_of_the_gateway(name, prometheus, shown):
    expression = ALERTS[name]["expr"]
    known(expression, shown)
    assert bool(prometheus.result(expression)) == (name in DUE), expression


@pytest.mark.parametrize("name", RECORDED)
def test_recording_rules_use_series_of_the_gateway_and_have_results(name, prometheus, shown):
    known(RECORDED[name]["expr"], shown)
    assert prometheus.result(RECORDED[name]["expr"])


def known(expression, shown):
    named = [name for name, _ in selectors(expression)]
    assert named
    assert set(named) - {"up", *RECORDED} <= families(shown), expression


def test_most_queries_have_a_result(prometheus):
    answered = [expression for _, expression in PANELS if prometheus.result(expression)]
    assert len(answered) >= len(PANELS) * 0.9, sorted({expression for _, expression in PANELS} - set(answered))


def test_variables_of_dashboards_have_values(prometheus):
    for path in DASHBOARDS:
        asked = [one["query"]["query"] for one in watching.variables(path).values() if one["type"] == "query"]
        assert asked
        for query in asked:
            series, _, label = query.removeprefix("label_values(").removesuffix(")").rpartition(", ")
            assert [row for row in prometheus.result(series.replace("$job", ".+")) if row["metric"].get(label)], query


def test_replicas_report_the_same_accounts_and_each_is_counted_once(prometheus):
    everywhere = prometheus.result('sum by (instance) (gateway_accounts{capability="chat"})')
    (once,) = prometheus.result('sum(gateway:accounts:max{capability="chat"})')
    assert {row["value"][1] for row in everywhere} == {once["value"][1]}
    assert len(everywhere) == 2


def test_the_age_of_a_session_alerts_unless_the_account_needs_attention(prometheus):
    asked = "time() - max by (account) (gateway_session_rotated_timestamp_seconds)"
    prometheus.until(lambda: len(prometheus.result(asked)) == 1)
    (row,) = prometheus.result(asked)
    assert row["metric"]["account"] in {"one", "two"}
    assert 0 <= float(row["value"][1]) < 600


def promtool(*words, **options):
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False, **options)


def test_the_rules_pass_their_linter_and_their_own_tests():
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(RECORDED) + len(ALERTS)} rules found" in checked.stdout
    tested = promtool("test", "rules", *RULES.parent.glob("tests/*.yml"))
    assert tested.returncode == 0, tested.stdout
    text = "".join(path.read_text() for path in RULES.parent.glob("tests/*.yml"))
    assert not [name for name in ALERTS if f"alertname: {name}\n" not in text]


def test_the_prometheus_configuration_of_compose_is_valid():
    checked = promtool("check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yml")
    assert checked.returncode == 0, checked.stderr


def test_metric_names_follow_the_conventions(shown):
    checked = promtool("check", "metrics", input=shown)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
