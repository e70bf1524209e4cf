"""Spans of leases and upstream calls."""

import pytest

from protocol.model import Exchange, Finish, RateLimited, Served, Text, Usage
from tests.pools import GatewayProcess
from tests.transports.conftest import opened, request_for
from transports.account import Account
from transports.accounts import AccountTracker, Pool, PoolConfig, PoolDeps
from transports.failover import Failover
from transports.retry_policy import FailoverPolicy
from transports.tracing import NO_TRACER, Span, SpanKind


class RecordedSpan(Span):
    """Keeps what it is given."""

    recording = True

    def __init__(self, name, attributes, kind):
        self.name, self.attributes, self.kind, self.events = name, dict(attributes), kind, []
        self.ended, self.error = False, None

    def failed(self, code):
        self.error = code

    def set(self, attributes):
        self.attributes |= attributes

    def event(self, name):
        self.events.append(name)

    def __exit__(self, kind, error, traceback):
        self.ended = True


class RecordingTracer:
    """Keeps its spans."""

    def __init__(self):
        self.spans = []

    def span(self, name, attributes, kind=SpanKind.INTERNAL):
        self.spans.append(RecordedSpan(name, attributes, kind))
        return self.spans[-1]


class Upstream:
    """A transport whose accounts answer, or raise an error."""

    name, site = "t", "https://upstream.example"

    def __init__(self, **answers):
        self.answers = answers
        self.accounts = [Account(id=account, transport=self.name) for account in answers]

    def offers(self, selection):
        return True

    discovered = ()

    def applies(self, selection):
        return frozenset()

    def quota_of(self, selection):
        return selection.model.family

    async def prefers(self, request, tier):
        return None

    async def home(self, request):
        return None

    async def open(self, stack, request, account):
        answer = self.answers[account.id]
        if isinstance(answer, Exception):
            raise answer

        async def events():
            for event in answer:
                yield event

        return Exchange(lambda: Served(transport=self.name, account=account.id), events())


async def ask(upstream, tracer):
    process, config = GatewayProcess(), PoolConfig()
    deps = PoolDeps(
        clock=process.clock,
        shared_state=process.shared_state,
        observer=process.observer,
        rng=lambda: 0.0,
        tracer=tracer,
    )
    pool = Pool(AccountTracker(upstream.name, lambda: upstream.accounts, deps, config), process.limits, config)
    async with opened(Failover(upstream, pool, FailoverPolicy()), request_for("x"), 30.0) as exchange:
        return [event async for event in exchange.events]


ANSWER = [Text(text="a"), Text(text="b"), Finish(reason="stop", usage=Usage(input_tokens=3, output_tokens=2))]


async def test_a_request_has_a_span_for_the_lease_and_one_for_the_upstream_call():
    tracer = RecordingTracer()
    assert await ask(Upstream(a=ANSWER), tracer) == ANSWER
    lease, call = tracer.spans
    assert (lease.name, lease.kind, lease.ended) == ("lease", SpanKind.INTERNAL, True)
    assert lease.attributes == {"gateway.transport": "t", "gateway.account": "a", "gateway.lease.waited_seconds": 0.0}
    assert (call.name, call.kind, call.ended) == ("chat gemini-3-pro", SpanKind.CLIENT, True)
    assert call.events == ["first_token"]
    assert call.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "gcp.gen_ai",
        "gen_ai.request.model": "gemini-3-pro",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 2,
        "gateway.transport": "t",
        "gateway.account": "a",
        "server.address": "upstream.example",
        "server.port": 443,
    }


async def test_each_attempt_has_a_span_with_its_error():
    tracer = RecordingTracer()
    await ask(Upstream(a=RateLimited("x"), b=ANSWER), tracer)
    assert [span.name for span in tracer.spans] == ["lease", "chat gemini-3-pro"] * 2
    calls = [span for span in tracer.spans if span.kind == SpanKind.CLIENT]
    assert [(span.attributes["gateway.account"], span.error) for span in calls] == [
        ("a", RateLimited.code),
        ("b", None),
    ]


async def test_without_a_tracer_nothing_is_recorded():
    assert await ask(Upstream(a=ANSWER), NO_TRACER) == ANSWER
    with NO_TRACER.span("a", {}) as span, pytest.raises(LookupError), NO_TRACER.span("b", {}):
        raise LookupError
    assert not span.recording
