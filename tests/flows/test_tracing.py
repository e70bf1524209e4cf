"""The spans that a gateway on a socket exports to a collector; they hold no prompt and no secret."""

import json
import os
import secrets
import signal
import socket
from contextlib import ExitStack

import httpx2 as httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.collector import collecting
from tests.conftest import KEY, SETTINGS, Gateway

CLIENT, SERVER, INTERNAL = Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL
UNSET, ERROR = Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR
AUTH = {"Authorization": f"Bearer {KEY}"}
ROUTE = "/v1/chat/completions"
STUCK = '<sim stall-after="2" frames="6"/><echo>some words and then nothing more</echo>'
MORE = """
[tracing]
enabled = true
endpoint = "{url}"
headers_file = "collector.headers"
service_name = "gateway-under-test"

[[transports.simulator.accounts]]
psid = "canary-psid-1"

[[transports.simulator.accounts]]
psid = "canary-psid-2"
"""


@pytest.fixture(scope="module")
def collector():
    with collecting() as opened:
        yield opened


def start(folder, url, env=None, workers=1, grace=10):
    (folder / "collector.headers").write_text("Authorization: Bearer canary-collector\n\nx-tenant: ours\n")
    settings = SETTINGS.format(key=KEY) + MORE.format(url=url)
    settings = settings.replace("port = 0", f"port = 0\nworkers = {workers}").replace("= 10", f"= {grace}")
    return Gateway(folder, settings, env={**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "30", **(env or {})})


@pytest.fixture(scope="module")
def traced(tmp_path_factory, collector):
    gateway = start(tmp_path_factory.mktemp("traced"), collector.url)
    yield gateway
    gateway.stop()


@pytest.fixture
def ask(traced, collector):
    """Ask the gateway, as a part of a trace of the test's own; return the answer and the trace's spans by name."""
    number = iter(range(1, 100))

    def asked(content, *, key=KEY, stream=False, model="gemini-3-pro", leave=False):
        trace, caller = secrets.token_hex(16), f"{next(number):016x}"
        headers = {"Authorization": f"Bearer {key}", "traceparent": f"00-{trace}-{caller}-01", "tracestate": "a=canary"}
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"canary-prompt {content}"}]}
        url = f"{traced.base_url}/chat/completions"
        with httpx.stream("POST", url, headers=headers, json=body, timeout=90) as answer:
            if leave:
                next(line for line in answer.iter_lines() if "some" in line)
            else:
                answer.read()
        spans = collector.wait_for(lambda all_of: any(s.trace == trace and s.kind == SERVER for s in all_of))
        found = [span for span in spans if span.trace == trace]
        root = next(span for span in found if span.kind == SERVER)
        assert root.parent.hex() == caller
        assert all(span.parent == root.id for span in found if span is not root)
        assert all(root.began <= span.began <= span.ended <= root.ended for span in found)
        assert all(span.resource["service.name"] == "gateway-under-test" for span in found)
        line = json.loads(traced.wait_for(trace))
        assert (line["event"], line["trace"], line["request"]) == (
            "request_finished",
            trace,
            root.attributes["gateway.request"],
        )
        return answer, root, [span for span in found if span is not root]

    return asked


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_a_request_a_lease_and_a_chat(ask, stream):
    answer, root, (lease, chat) = ask("<echo>canary-answer in four words</echo>", stream=stream)
    assert answer.status_code == 200
    assert (root.name, root.status) == (f"POST {ROUTE}", UNSET)
    assert (
        root.attributes.items()
        >= {
            "http.request.method": "POST",
            "http.route": ROUTE,
            "http.response.status_code": 200,
            "url.scheme": "http",
            "gateway.license": "tester",
            "gateway.model": "gemini-3-pro",
        }.items()
    )
    assert "error.type" not in root.attributes
    assert (lease.name, lease.kind, lease.status) == ("lease", INTERNAL, UNSET)
    account = chat.attributes["gateway.account"]
    assert account in {"simulator-1", "simulator-2"}
    assert (lease.attributes["gateway.transport"], lease.attributes["gateway.account"]) == ("simulator", account)
    assert 0 <= lease.attributes["gateway.lease.waited_seconds"] < 5
    assert (chat.name, chat.kind, chat.status) == ("chat gemini-3-pro", CLIENT, UNSET)
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0
    assert chat.attributes["gen_ai.response.model"]
    assert chat.attributes["server.port"] > 0
    assert (
        chat.attributes.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "gcp.gen_ai",
            "gen_ai.request.model": "gemini-3-pro",
            "gen_ai.response.finish_reasons": ["stop"],
            "server.address": "127.0.0.1",
        }.items()
    )
    assert chat.events == ["first_token"]


def test_each_account_that_is_asked_has_a_span_and_an_error_of_its_own(ask):
    answer, root, spans = ask('<sim http="500" once="retried"/><echo>in the end</echo>')
    assert (answer.status_code, root.status) == (200, UNSET)
    assert [span.name for span in spans] == ["lease", "chat gemini-3-pro"] * 2
    failed, good = (span for span in spans if span.kind == CLIENT)
    assert (failed.status, good.status) == (ERROR, UNSET)
    assert failed.attributes["error.type"] == "upstream_rejected"
    assert "error.type" not in good.attributes
    assert failed.attributes["gateway.account"] != good.attributes["gateway.account"]


def test_an_answer_that_breaks_off_is_an_error_of_the_request_and_of_the_chat(ask):
    _, root, spans = ask('<sim eof-after="2" frames="6"/><echo>some words and then the end</echo>', stream=True)
    chat = next(span for span in spans if span.kind == CLIENT)
    assert (chat.status, root.status) == (ERROR, ERROR)
    assert chat.attributes["error.type"] == root.attributes["error.type"] == "upstream_truncated"
    assert chat.events == ["first_token"]
    assert root.attributes["http.response.status_code"] == 200


def test_a_client_that_disconnects_ends_every_span_without_an_error(ask):
    _, root, (lease, chat) = ask(STUCK, stream=True, leave=True)
    assert root.attributes["http.response.status_code"] == 499
    assert root.attributes["error.type"] == "client_closed_request"
    assert (root.status, lease.status, chat.status) == (UNSET, UNSET, UNSET)
    assert chat.events == ["first_token", "cancelled"]


def test_a_wrong_key_makes_a_request_span_only(ask):
    answer, root, others = ask("x", key="sk-canary-unknown-key")
    assert answer.status_code == 401
    assert (root.attributes["http.response.status_code"], root.status, others) == (401, UNSET, [])
    assert root.attributes["error.type"] == "invalid_api_key"
    assert "gateway.license" not in root.attributes


def test_an_unknown_path_is_not_exported(traced, collector):
    headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01", "user-agent": "canary-agent"}
    assert httpx.get(f"{traced.origin}/canary-path?canary-query", headers=headers).status_code == 404
    spans = collector.wait_for(lambda spans: any(span.trace == "ab" * 16 for span in spans))
    (root,) = [span for span in spans if span.trace == "ab" * 16]
    assert (root.name, root.attributes["http.response.status_code"]) == ("GET", 404)
    assert "http.route" not in root.attributes


def listed(gateway):
    """Return the access lines of listings."""
    return [json.loads(line) for line in gateway.text().splitlines() if '"/v1/models"' in line]


def test_an_unsampled_trace_is_not_exported_but_its_id_is_logged(traced, collector):
    headers = {**AUTH, "traceparent": f"00-{'12' * 16}-{'34' * 8}-00"}
    assert httpx.get(f"{traced.base_url}/models", headers=headers).status_code == 200
    headers["traceparent"] = "no trace at all"
    assert httpx.get(f"{traced.base_url}/models", headers=headers).status_code == 200
    collector.wait_for(lambda _: len(listed(traced)) == 2)
    lines = listed(traced)
    own = lines[1]["trace"]
    assert lines[0]["trace"] == "12" * 16 != own
    spans = collector.wait_for(lambda spans: any(span.trace == own for span in spans))
    assert not any(span.trace == "12" * 16 for span in spans)


def test_metrics_have_exemplars_with_trace_ids(ask, traced):
    _, root, _ = ask("<echo>counted</echo>", stream=True)
    shown = httpx.get(f"{traced.origin}/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert shown.headers["content-type"].startswith("application/openmetrics-text")
    exemplars = {
        family.name: {s.exemplar.labels["trace_id"] for s in family.samples if s.exemplar}
        for family in text_string_to_metric_families(shown.text)
    }
    assert root.trace in exemplars["gateway_request_duration_seconds"]
    assert root.trace in exemplars["gateway_time_to_first_token_seconds"]
    plain = httpx.get(f"{traced.origin}/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert "trace_id" not in plain.text


def test_the_collector_gets_no_secret_and_no_prompt(traced, collector, ask):
    ask("<echo>canary-answer</echo>")
    ask('<sim error="1037" once="told"/><echo>canary-answer</echo>', stream=True)
    assert collector.headers[0]["authorization"] == "Bearer canary-collector"
    assert collector.headers[0]["x-tenant"] == "ours"
    assert len(collector.spans) > 6
    for word in ("canary", KEY, "psid", "Bearer", "127.0.0.1:"):
        assert word.encode() not in collector.received, word
    assert not any("/metrics" in span.name for span in collector.spans)
    assert "canary" not in traced.text()


@pytest.fixture
def start_traced(tmp_path):
    """Start a gateway with a collector of its own choice; it is ended."""
    started = []

    def starting(url, delay, **options):
        started.append(start(tmp_path, url, {"OTEL_BSP_SCHEDULE_DELAY": delay}, **options))
        return started[-1]

    yield starting
    for gateway in started:
        gateway.stop()


def test_remaining_spans_are_exported_at_shutdown(start_traced):
    with collecting() as collector:
        gateway = start_traced(collector.url, "600000")
        assert httpx.get(f"{gateway.base_url}/models", headers=AUTH).status_code == 200
        assert collector.spans == []
        gateway.signal(signal.SIGTERM)
        assert gateway.status() == 0
        assert [span.name for span in collector.spans] == ["GET /v1/models"]


def test_every_worker_exports_the_streams_that_its_shutdown_cuts_off(start_traced):
    body = {"model": "gemini-3-pro", "stream": True, "messages": [{"role": "user", "content": STUCK}]}
    with collecting() as collector:
        gateway = start_traced(collector.url, "600000", workers=2, grace=0.3)
        with ExitStack() as stack:
            url, reading = f"{gateway.base_url}/chat/completions", []
            for _ in range(6):
                answer = stack.enter_context(httpx.stream("POST", url, headers=AUTH, json=body, timeout=90))
                reading.append(answer.iter_lines())
                while "some" not in next(reading[-1]):
                    pass
            gateway.signal(signal.SIGTERM)
            assert gateway.status() == 0
        roots = collector.named(f"POST {ROUTE}")
        assert [root.attributes["error.type"] for root in roots] == ["shutting_down"] * 6
        assert all(root.status == ERROR for root in roots)
        chats = collector.named("chat gemini-3-pro")
        assert [chat.events for chat in chats] == [["first_token", "cancelled"]] * 6
        assert sorted(chat.parent for chat in chats) == sorted(root.id for root in roots)


@pytest.mark.parametrize("listening", [False, True])
def test_an_unreachable_collector_is_one_warning_and_does_not_delay_the_shutdown(start_traced, listening):
    body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>x</echo>"}]}
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listening:
            silent.listen()  # and never answers: it is the end that runs out of patience
        gateway = start_traced(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", "1")
        for _ in range(20):
            answer = httpx.post(f"{gateway.base_url}/chat/completions", headers=AUTH, json=body, timeout=90)
            assert answer.status_code == 200
        gateway.signal(signal.SIGTERM)
        assert gateway.status(60) == 0
    lines = gateway.text().splitlines()
    assert len([line for line in lines if "trace_export_failed" in line]) == 1, lines
    assert not [line for line in lines if "opentelemetry" in line or "Traceback" in line]
