import anyio
import msgspec
import pytest
from structlog.testing import capture_logs

from protocol.model import (
    Blocked,
    Certainty,
    Disconnected,
    Exchange,
    Finish,
    ModelDowngraded,
    NotIncluded,
    Overloaded,
    RateLimited,
    Refused,
    Saturated,
    Served,
    SignedOut,
    Text,
    Throttled,
    Unsupported,
    UpstreamFailed,
    UpstreamModel,
    UpstreamTimeout,
    Usage,
)
from tests.clock import ManualClock
from tests.pools import GatewayProcess
from tests.transports.conftest import CATALOGUE, opened, request_for
from transports.account import Account, Facts, Quota
from transports.failover import Failover
from transports.retry_policy import FailoverPolicy
from transports.router import Deadlines, Router

FINISH = Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1))
NOT_SENT = UpstreamFailed("x", certainty=Certainty.NOT_SENT, code="upstream_reset")
MAYBE = UpstreamFailed("x", code="upstream_reset")
PRO = UpstreamModel(id="p", name="3.1 Pro", family="pro")
LITE = UpstreamModel(id="l", name="3.5 Flash-Lite", family="flash-lite")


class Scripted:
    """A transport whose accounts do what the test says: raise an error, or yield events and errors."""

    site = "http://127.0.0.1"

    def __init__(self, name="t", capabilities=True, egress=(), **scripts):
        self.name = name
        ways = dict(egress)
        self.accounts = [Account(id=account, transport=name, egress=ways.get(account, "")) for account in scripts]
        self.scripts = {account: list(script) for account, script in scripts.items()}
        self.asked = []
        self.closed = []
        self.capabilities = capabilities
        self.at_home = None
        self.answering = None
        self.gate = anyio.Event()
        self.release = AssertionError

    def offers(self, selection):
        return self.capabilities

    discovered = ()

    def applies(self, selection):
        return frozenset()

    def quota_of(self, selection):
        return selection.model.family

    async def prefers(self, request, tier):
        return None

    async def home(self, request):
        return self.at_home

    def served_by(self, selection, account):
        return PRO if account.id != "unknown" else None

    def served(self, account):
        return Served(transport=self.name, account=account.id, requested=PRO, answered=self.answering)

    async def open(self, stack, request, account):
        self.asked.append(account.id)
        script = self.scripts[account.id].pop(0)
        if isinstance(script, Exception):
            raise script
        if script == "hang":
            await self.gate.wait()
            raise self.release
        stack.callback(self.closed.append, account.id)
        return Exchange(lambda: self.served(account), played(script))


async def played(script):
    for event in script:
        if isinstance(event, Exception):
            raise event
        if event == "hang":
            await anyio.sleep_forever()
        yield event


def failover_of(transport, clock=None, process=None, draining=lambda: False, **policy):
    process = process or GatewayProcess(clock)
    pool = process.pool(lambda: transport.accounts, transport=transport.name, queue_timeout_seconds=0.01)
    return Failover(transport, pool, FailoverPolicy(**policy), draining)


async def ask(failover, request=None, seconds=30.0):
    events = []
    async with opened(failover, request or request_for("x"), seconds) as exchange:
        events += [event async for event in exchange]
    return events, exchange.served


WHOLE = [Text(text="hi"), FINISH]


async def test_a_refusal_moves_on_to_the_next_account():
    transport = Scripted(a=[RateLimited("x")], b=[SignedOut("x")], c=[WHOLE])
    failover = failover_of(transport)
    events, served = await ask(failover)
    assert events == WHOLE
    assert served.account == "c"
    assert transport.asked == ["a", "b", "c"]
    assert [state.attention and state.attention.reason for state in failover.pool.states] == [None, "signed_out", None]
    assert all(state.in_flight == 0 for state in failover.pool.states)


async def test_failover_tries_at_most_the_configured_number_of_accounts():
    transport = Scripted(**{name: [RateLimited("x")] for name in "abcde"})
    with pytest.raises(RateLimited):
        await ask(failover_of(transport))
    assert len(transport.asked) == 3


async def test_a_request_that_may_have_been_accepted_is_retried_once():
    transport = Scripted(**{name: [MAYBE] for name in "abc"})
    with pytest.raises(UpstreamFailed):
        await ask(failover_of(transport))
    assert len(transport.asked) == 2


async def test_an_error_after_the_first_event_is_not_retried():
    transport = Scripted(a=[[Text(text="begun"), MAYBE]], b=[WHOLE])
    seen = []
    with pytest.raises(UpstreamFailed):
        async with opened(failover_of(transport), request_for("x"), 30) as exchange:
            async for event in exchange:
                seen.append(event)
    assert seen == [Text(text="begun")]
    assert transport.asked == ["a"]
    assert transport.closed == ["a"]


async def test_a_rate_limit_in_mid_stream_cools_the_account_down():
    clock = ManualClock()
    transport = Scripted(a=[[Text(text="begun"), RateLimited("x", retry_after=60)], WHOLE])
    failover = failover_of(transport, clock)
    with pytest.raises(RateLimited):
        await ask(failover)
    with pytest.raises(RateLimited) as caught:
        await ask(failover)
    assert caught.value.retry_after == 60
    assert transport.asked == ["a"]
    clock.advance(60)
    assert (await ask(failover))[0] == WHOLE


async def test_if_all_accounts_cool_down_the_error_names_the_soonest_time():
    transport = Scripted(a=[RateLimited("x", retry_after=90)], b=[RateLimited("x", retry_after=30)])
    with pytest.raises(RateLimited) as caught:
        await ask(failover_of(transport))
    assert caught.value.retry_after == 30


async def test_the_last_error_is_raised_when_no_account_is_left():
    transport = Scripted(a=[NOT_SENT])
    with pytest.raises(UpstreamFailed) as caught:
        await ask(failover_of(transport))
    assert caught.value is NOT_SENT


async def test_simultaneous_rate_limits_cause_one_cooldown_of_one_family():
    clock = ManualClock()
    transport = Scripted(a=[*["hang"] * 5, [Text(text="flash"), FINISH]])
    transport.release = RateLimited("x")
    failover = failover_of(transport, clock)
    async with anyio.create_task_group() as tasks:

        async def one():
            with pytest.raises(RateLimited):
                await ask(failover)

        for _ in range(5):
            tasks.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        transport.gate.set()
    with pytest.raises(RateLimited) as caught:
        await ask(failover)
    assert caught.value.retry_after == 3600
    assert (await ask(failover, request_for("x", "gemini-2.5-flash")))[1].account == "a"


async def test_a_blocked_address_cools_down_its_accounts_and_another_egress_is_tried():
    clock = ManualClock()
    transport = Scripted(egress={"c": "http://p:1"}, a=[Blocked("x"), WHOLE], b=[WHOLE], c=[WHOLE])
    failover = failover_of(transport, clock)
    _, served = await ask(failover)
    assert served.account == "c"
    assert transport.asked == ["a", "c"]
    clock.advance(600)
    assert (await ask(failover))[1].account == "b"


async def test_a_blocked_error_has_a_retry_time():
    clock = ManualClock()
    failover = failover_of(Scripted(a=[Blocked("x")], b=[]), clock)
    with pytest.raises(Blocked) as caught:
        await ask(failover, request_for("x", attempts_before=2))
    assert caught.value.retry_after == 600
    clock.advance(200)
    with pytest.raises(Blocked) as caught:
        await ask(failover)
    assert caught.value.retry_after == 400


async def test_a_throttled_request_is_not_reported_as_a_usage_limit():
    transport = Scripted(a=[Throttled("x", retry_after=30)])
    with pytest.raises(Throttled) as caught:
        await ask(failover_of(transport))
    assert (caught.value.code, caught.value.retry_after) == ("rate_limit_exceeded", 30)


async def test_attention_and_recovery_are_logged_once():
    clock = ManualClock()
    signed_out = SignedOut("x", reason="consent")
    failover = failover_of(Scripted(a=[signed_out, signed_out, WHOLE, WHOLE]), clock)
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(SignedOut):
                await ask(failover)
            clock.advance(60)
        await ask(failover)
        await ask(failover)
    changes = [entry for entry in logs if entry["event"].startswith("account_")]
    assert changes == [
        {"event": "account_attention_required", "log_level": "error", "account": "a", "reason": "consent"},
        {"event": "account_recovered", "log_level": "info", "account": "a"},
    ]


@pytest.mark.parametrize("model", ["gemini-3-pro-video", "gemini-3-pro-imagen", "gemini-3-pro-deepsearch"])
async def test_an_expensive_request_is_never_sent_twice(model):
    transport = Scripted(a=[MAYBE], b=[WHOLE])
    with pytest.raises(UpstreamFailed) as caught:
        await ask(failover_of(transport), request_for("x", model))
    assert caught.value.code == "upstream_outcome_unknown"
    assert transport.asked == ["a"]


async def test_a_client_on_its_third_attempt_gets_no_gateway_retry():
    transport = Scripted(a=[RateLimited("x")], b=[WHOLE])
    with pytest.raises(RateLimited):
        await ask(failover_of(transport), request_for("x", attempts_before=2))
    assert transport.asked == ["a"]


async def test_the_retry_budget_limits_concurrent_retries():
    transport = Scripted(a=[NOT_SENT], b=[WHOLE])
    with pytest.raises(UpstreamFailed):
        await ask(failover_of(transport, min_retry_concurrency=0, retry_budget=0.0))
    assert transport.asked == ["a"]


async def test_the_deadline_ends_the_wait_for_the_first_event():
    transport = Scripted(a=["hang"])
    with pytest.raises(UpstreamTimeout):
        await ask(failover_of(transport), seconds=0.01)


async def test_the_deadline_ends_an_open_answer():
    transport = Scripted(a=[[Text(text="begun"), "hang"]])
    with pytest.raises(UpstreamTimeout):
        await ask(failover_of(transport), seconds=0.05)
    assert transport.closed == ["a"]


async def test_dead_proxies_cost_neither_attempts_nor_the_budget_and_are_asked_once():
    dead = [Disconnected("x", problem="It is down.", certainty=Certainty.NOT_SENT)]
    ways = {name: f"http://{way}:1" for name, way in zip("abcde", "vvwxy", strict=True)}
    transport = Scripted(**dict.fromkeys(ways, dead), f=[WHOLE, WHOLE], egress=ways)
    failover = failover_of(transport, attempts=1, retry_budget=0.0, min_retry_concurrency=0)
    events, served = await ask(failover)
    assert (events, served.account) == (WHOLE, "f")
    assert len(transport.asked) <= 5, "of two accounts behind one proxy only one is asked"
    transport.asked.clear()
    await ask(failover)
    assert transport.asked == ["f"]


async def test_a_dead_proxy_of_the_only_account_is_tried_by_each_request_and_serves_again_at_once():
    dead = Disconnected("x", problem="It is down.", certainty=Certainty.NOT_SENT)
    transport = Scripted(a=[dead, dead, WHOLE], egress={"a": "http://v:1"})
    failover = failover_of(transport)
    for _ in range(2):
        with pytest.raises(Disconnected):
            await ask(failover)
    assert (await ask(failover))[0] == WHOLE
    assert failover.pool.states[0].blocked is None


async def test_a_refusal_by_the_model_is_not_sent_to_another_transport():
    first = Scripted("first", a=[Refused("x")])
    second = Scripted("second", b=[WHOLE])
    router = Router(CATALOGUE, [failover_of(first), failover_of(second)], Deadlines(chat_seconds=30))
    with pytest.raises(Refused):
        async with router.open(request_for("x")):
            pass
    assert second.asked == []


async def test_no_transport_with_the_capability_is_unsupported():
    router = Router(CATALOGUE, [failover_of(Scripted(capabilities=False, a=[]))], Deadlines(chat_seconds=30))
    assert not router.offers(CATALOGUE.resolve("gemini-3-pro"))
    with pytest.raises(Unsupported):
        async with router.open(request_for("x")):
            pass


async def test_the_account_of_the_conversation_is_tried_first():
    transport = Scripted(a=[WHOLE], b=[WHOLE, RateLimited("x")])
    transport.at_home = "b"
    failover = failover_of(transport)
    assert (await ask(failover))[1].account == "b"
    assert (await ask(failover))[1].account == "a"
    assert transport.asked == ["b", "b", "a"]


async def test_requests_are_not_retried_during_shutdown():
    transport = Scripted(a=[RateLimited("x")], b=[WHOLE])
    with pytest.raises(RateLimited):
        await ask(failover_of(transport, draining=lambda: True))
    assert transport.asked == ["a"]


async def test_a_failing_upstream_is_throttled_until_a_probe_succeeds():
    clock = ManualClock()
    process = GatewayProcess(clock)
    transport = Scripted(a=[*[NOT_SENT] * 6, *[WHOLE] * 9])
    failover = failover_of(transport, process=process)
    for _ in range(6):
        with pytest.raises(UpstreamFailed):
            await ask(failover)
    with pytest.raises(Saturated) as caught:
        await ask(failover)
    assert caught.value.retry_after >= 1
    assert (len(transport.asked), process.observer.throttled_requests) == (
        6,
        2,
    )  # a retry of the sixth, and the seventh
    clock.advance(6)
    assert (await ask(failover))[0] == WHOLE


async def test_a_rate_limit_without_a_time_lasts_until_the_reported_reset():
    clock = ManualClock()
    transport = Scripted(a=[RateLimited("x")])
    quotas = (Quota(name="pro", family="pro", total=9, remaining=1, resets_at=clock.wall() + 777),)
    transport.accounts = [msgspec.structs.replace(transport.accounts[0], facts=lambda: Facts(quotas=quotas))]
    with pytest.raises(RateLimited) as caught:
        await ask(failover_of(transport, clock))
    assert caught.value.retry_after == pytest.approx(777)


async def test_decisions_and_retries_are_reported_to_metrics():
    process = GatewayProcess()
    transport = Scripted(a=[RateLimited("x")], b=[SignedOut("x")], c=[WHOLE])
    await ask(failover_of(transport, process=process))
    assert (process.observer.decisions, process.observer.retries) == (["cooldown", "needs_attention"], 2)


def downgraded():
    return ModelDowngraded("x", requested="pro", answered="flash-lite")


async def test_an_answer_by_another_family_is_counted_when_it_ends():
    process, transport = GatewayProcess(), Scripted(a=[WHOLE, [Text(text="hi"), NOT_SENT], WHOLE])
    transport.answering = LITE
    failover = failover_of(transport, process=process)
    with capture_logs() as logged:
        await ask(failover)
        with pytest.raises(UpstreamFailed):
            await ask(failover)
        async with opened(failover, request_for("x"), 30.0):
            pass  # the client has left
    assert process.observer.mismatches == [("t", "pro", "flash-lite")] * 3
    assert process.observer.models == ["3.5 Flash-Lite"] * 3
    assert [(line["asked"], line["answered"]) for line in logged if line["event"] == "model_downgraded"] == [
        ("pro", "flash-lite")
    ] * 3


@pytest.mark.parametrize("answering", [None, PRO, UpstreamModel(id="n", name="Nano Banana 2")])
async def test_the_same_or_an_unknown_family_is_not_counted_as_a_mismatch(answering):
    process, transport = GatewayProcess(), Scripted(a=[WHOLE])
    transport.answering = answering
    await ask(failover_of(transport, process=process))
    assert process.observer.mismatches == []
    assert process.observer.models == [answering.label if answering else ""]


async def test_a_refused_downgrade_is_counted_and_retried_with_another_account():
    process, transport = GatewayProcess(), Scripted(a=[downgraded()], b=[WHOLE])
    events, served = await ask(failover_of(transport, process=process))
    assert (events, served.account) == (WHOLE, "b")
    assert process.observer.mismatches == [("t", "pro", "flash-lite")]


async def test_a_downgrade_by_all_accounts_is_raised_without_a_cooldown():
    transport = Scripted(a=[downgraded() for _ in range(9)], b=[downgraded() for _ in range(9)])
    failover = failover_of(transport)
    for _ in range(9):
        with pytest.raises(ModelDowngraded) as caught:
            await ask(failover)
    assert (caught.value.code, caught.value.certainty) == ("upstream_model_mismatch", Certainty.REFUSED)
    assert all(not state.cooldowns and not state.errors for state in failover.pool.states)


async def test_an_overloaded_model_is_asked_with_another_account_and_blames_no_account():
    transport = Scripted(a=[Overloaded("x") for _ in range(9)], b=[WHOLE] + [Overloaded("x") for _ in range(9)])
    failover = failover_of(transport)
    await ask(failover)
    for _ in range(8):
        with pytest.raises(Overloaded):
            await ask(failover)
    assert set(transport.asked) == {"a", "b"}
    assert all(not state.cooldowns and not state.errors for state in failover.pool.states)


async def test_an_account_without_the_model_is_not_asked_for_it_again():
    transport = Scripted(a=[NotIncluded("x", retry_after=60.0)], b=[WHOLE, WHOLE])
    failover = failover_of(transport)
    await ask(failover)
    await ask(failover)
    assert sorted(transport.asked) == ["a", "b", "b"]
    assert [account.id for account in failover.usable(CATALOGUE.resolve("gemini-3-pro"))] == ["b"]


async def test_served_by_lists_each_model_of_the_usable_accounts_once():
    transport = Scripted(a=[SignedOut("x")], b=[], unknown=[])
    router = Router(CATALOGUE, [failover_of(transport)], Deadlines(chat_seconds=1.0))
    selection = CATALOGUE.resolve("gemini-3-pro")
    assert router.served_by(selection) == (PRO,)
    only = Scripted(unknown=[])
    assert Router(CATALOGUE, [failover_of(only)], Deadlines(chat_seconds=1.0)).served_by(selection) == ()
    alone = Scripted(a=[SignedOut("x")])
    failover = failover_of(alone)
    with pytest.raises(SignedOut):
        await ask(failover)
    assert Router(CATALOGUE, [failover], Deadlines(chat_seconds=1.0)).served_by(selection) == ()
