import anyio
import msgspec
import pytest

from protocol.model import (
    BadRequest,
    Blocked,
    Certainty,
    Disconnected,
    Exchange,
    Finish,
    GatewayError,
    Handle,
    MediaKind,
    MediaPart,
    MediaRef,
    RateLimited,
    Refused,
    Role,
    Served,
    SignedOut,
    Text,
    Turn,
    Unsupported,
    UpstreamFailed,
    UpstreamModel,
    UpstreamTimeout,
    Usage,
)
from tests.pools import leasing, pool_of
from tests.transports.conftest import CATALOGUE, request_for
from transports.account import Account
from transports.accounts import LeaseRequest, Requirement
from transports.failover import Failover
from transports.retry_policy import FailoverPolicy
from transports.router import Deadlines, Router
from transports.routes import RouteSettings, RouteTable

WHOLE = [Text(text="hi"), Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1))]


class Upstream:
    """A transport that answers, refuses or hangs, and notes who was asked; accounts are `ID` or `ID:TIER`."""

    site = "http://127.0.0.1"

    def __init__(self, name, *accounts, step=None, steps=(), home=None, offers=lambda _: True):
        self.name, self.step, self.steps = name, step, dict(steps)
        ids = [account.partition(":") for account in accounts]
        self.accounts = [Account(id=one, transport=name, tier=tier, concurrency=1) for one, _, tier in ids]
        self.asked, self.at_home, self.offers = [], home, offers
        self.applied = frozenset()

    discovered = ()

    def applies(self, selection):
        return self.applied

    def quota_of(self, selection):
        return selection.model.family

    async def prefers(self, request, tier):
        return None

    async def home(self, request):
        return self.at_home

    def served_by(self, selection, account):
        return UpstreamModel(id=account.id)

    async def open(self, stack, request, account):
        self.asked.append(account.id)
        step = self.steps.get(account.id, self.step)
        if isinstance(step, Exception):
            raise step
        if step == "hang":
            await anyio.sleep_forever()
        return Exchange(lambda: Served(transport=self.name, account=account.id), whole(step))


async def whole(step):
    for event in WHOLE:
        yield event
        if step == "break":
            raise UpstreamFailed("x")


def router_of(*upstreams, routes=(), tiers=None, policy=None, queue_seconds=0.01, draining=lambda: False, **deadlines):
    policy = policy or FailoverPolicy(attempts=5)
    pools = [pool_of(one.accounts, transport=one.name, queue_timeout_seconds=queue_seconds) for one in upstreams]
    failovers = [Failover(upstream, pool, policy, draining) for upstream, pool in zip(upstreams, pools, strict=True)]
    tiers = tiers or {one.name: frozenset(account.tier for account in one.accounts) - {""} for one in upstreams}
    table = RouteTable([msgspec.convert(route, RouteSettings) for route in routes], tiers)
    return Router(CATALOGUE, failovers, Deadlines(**deadlines), table, rng=lambda: 0.0)


def both(*, free=None, site=None, paid=None, **more):
    """Return a router over free keys, a site and paid keys with a step each, and a function that says who was asked."""
    api = Upstream("api", "f:free", "p:paid", steps={"f": free, "p": paid})
    web = Upstream("web", "s", step=site)
    return router_of(web, api, **more), lambda: [*api.asked[:1], *web.asked, *api.asked[1:]]


async def ask(router, model="gemini-3-pro-video", **more):
    async with router.open(request_for("x", model, **more)) as exchange:
        return [event async for event in exchange], exchange.served


def handle(transport, account):
    return Handle(transport=transport, account=account, token="{}")


@pytest.mark.parametrize("account", ["a", "b", "c"])
async def test_unfinished_work_is_resumed_by_its_account(account):
    first, second = Upstream("first", "x", "y"), Upstream("second", "a", "b", "c")
    events, served = await ask(router_of(first, second), handle=handle("second", account))
    assert (events, served.transport, served.account) == (WHOLE, "second", account)
    assert (first.asked, second.asked) == ([], [account])


@pytest.mark.parametrize("error", [RateLimited("x"), SignedOut("x"), UpstreamFailed("x")])
async def test_unfinished_work_is_never_resumed_by_another_account(error):
    upstream = Upstream("t", "a", "b", step=error)
    with pytest.raises(type(error)):
        await ask(router_of(upstream), handle=handle("t", "b"))
    assert upstream.asked == ["b"]


@pytest.mark.parametrize("error", [SignedOut("x"), RateLimited("x", retry_after=7)])
async def test_an_error_of_resumed_work_concerns_its_account_only(error):
    upstream = Upstream("t", "a", "b", step=error)
    router = router_of(upstream)
    for account in ("b", "b", "a"):
        with pytest.raises(type(error)):
            await ask(router, handle=handle("t", account))
    assert upstream.asked == ["b", "a"]


@pytest.mark.parametrize("gone", [handle("t", "z"), handle("other", "a")])
async def test_work_of_a_removed_account_cannot_be_resumed(gone):
    upstream = Upstream("t", "a")
    with pytest.raises(UpstreamFailed) as caught:
        await ask(router_of(upstream), handle=gone)
    assert caught.value.code == "account_gone"
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("model", "late"),
    [("gemini-3-pro-video", False), ("gemini-3-pro", True), ("gemini-3-pro-canvas", True)],
)
async def test_each_capability_has_its_own_deadline(model, late):
    router = router_of(Upstream("t", "a", step="hang"), chat_seconds=0.05, video_seconds=3600.0)
    with anyio.move_on_after(60 if late else 0.5) as scope:
        try:
            await ask(router, model)
        except UpstreamTimeout:
            assert late
    assert scope.cancelled_caught is not late


async def test_a_handle_in_a_request_survives_storage():
    request = request_for("x", handle=handle("t", "a"))
    assert msgspec.json.decode(msgspec.json.encode(request), type=type(request)) == request


def after(seconds):
    return RateLimited("x", retry_after=seconds)


NOT_HERE = Unsupported("x", param="tools")
OVERLOADED = UpstreamFailed("x", code="upstream_overloaded", certainty=Certainty.REFUSED)
UNREACHED = Disconnected("x", certainty=Certainty.NOT_SENT)
MAYBE = UpstreamFailed("x", code="upstream_reset")
IMAGE = "gemini-3-pro-imagen"


async def served(router, model="gemini-3-pro", **more):
    return (await ask(router, model, **more))[1].account


async def refusal(router, model="gemini-3-pro", **more):
    with pytest.raises(GatewayError) as caught:
        await ask(router, model, **more)
    return caught.value


@pytest.mark.parametrize("error", [after(9), SignedOut("x"), NOT_HERE, OVERLOADED, UNREACHED])
@pytest.mark.parametrize("model", ["gemini-3-pro", IMAGE])
async def test_free_keys_then_the_site_then_paid_keys_are_asked(error, model):
    router, asked = both()
    assert (await served(router, model), asked()) == ("f", ["f"])
    router, asked = both(free=error)
    assert (await served(router, model), asked()) == ("s", ["f", "s"])
    router, asked = both(free=error, site=error)
    assert (await served(router, model), asked()) == ("p", ["f", "s", "p"])


async def test_each_hop_that_passes_a_request_on_is_counted_with_its_error():
    router, _ = both(free=after(9), site=SignedOut("x"))
    observers = {one.transport.name: one.pool.accounts.deps.observer for one in router.failovers}
    await served(router)
    assert observers["api"].reroutes == [("api", "free", "RateLimited")]
    assert observers["web"].reroutes == [("web", "", "SignedOut")]
    await refusal(both(free=Refused("x"))[0])
    assert len(observers["api"].reroutes) == 1


async def test_an_address_that_one_transport_blocks_still_serves_another():
    router, asked = both(free=Blocked("x"))
    assert (await served(router), asked()) == ("s", ["f", "s"])
    router, asked = both(free=Blocked("x"), site=SignedOut("x"))
    assert type(await refusal(router)) is Blocked
    assert asked() == ["f", "s"], "paid keys have the same address"


@pytest.mark.parametrize("error", [Refused("x"), BadRequest("x")])
async def test_an_error_of_the_request_is_not_asked_again(error):
    router, asked = both(free=error)
    assert await refusal(router) is error
    assert asked() == ["f"]


async def test_a_text_of_unknown_outcome_is_asked_once_more_and_a_picture_never():
    router, asked = both(free=MAYBE)
    assert (await served(router), asked()) == ("s", ["f", "s"])
    router, asked = both(free=MAYBE, site=MAYBE)
    assert (await refusal(router), asked()) == (MAYBE, ["f", "s"])
    router, asked = both(free=MAYBE)
    assert (await refusal(router, IMAGE)).code == "upstream_outcome_unknown"
    assert asked() == ["f"]


async def test_nothing_is_asked_after_the_first_event():
    router, asked = both(free="break")
    with pytest.raises(UpstreamFailed):
        await ask(router, "gemini-3-pro")
    assert asked() == ["f"]


async def test_attempts_count_over_all_transports_but_each_is_asked_once():
    api = Upstream("api", *(f"f{number}:free" for number in range(4)), "p:paid", step=after(9))
    web = Upstream("web", "s", "t", step=after(9))
    router = router_of(api, web, policy=FailoverPolicy(attempts=3))
    await refusal(router)
    assert (len(api.asked), len(web.asked), api.asked[-1]) == (4, 1, "p")


async def test_no_account_is_asked_twice_over_hops():
    api = Upstream("api", "f:free", "p:paid", step=after(0.001))
    await refusal(router_of(api, routes=[{"to": ["api:free", "api"]}]))
    assert api.asked == ["f", "p"]


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((after(9000), SignedOut("x"), after(30)), 2),
        ((after(9000), OVERLOADED, SignedOut("x")), 1),
        ((after(60), NOT_HERE, SignedOut("x")), 0),
        ((SignedOut("x"), NOT_HERE, SignedOut("x")), 1),
    ],
)
async def test_the_most_useful_error_is_raised(errors, expected):
    free, site, paid = errors
    router, asked = both(free=free, site=site, paid=paid)
    error = await refusal(router)
    assert (type(error), len(asked())) == (type(errors[expected]), 3)
    assert round(getattr(error, "retry_after", 0)) == getattr(errors[expected], "retry_after", 0)


async def test_accounts_in_a_cooldown_are_passed_by():
    router, asked = both(free=after(3600))
    assert [await served(router), await served(router)] == ["s", "s"]
    assert asked() == ["f", "s", "s"]


async def test_a_busy_transport_is_passed_by_and_waited_for_if_all_are_busy():
    router, asked = both(queue_seconds=30)
    release = anyio.Event()

    async def hold():
        async with router.open(request_for("x")):
            await release.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        async with router.open(request_for("x")), router.open(request_for("x")):
            assert asked() == ["f", "s", "p"]
            tasks.start_soon(served, router)
            await anyio.wait_all_tasks_blocked()
            release.set()
    assert len(asked()) == 4


async def test_a_hop_without_accounts_is_passed_by():
    web, api = Upstream("web", "s", step=after(9)), Upstream("api", "p:paid")
    routes = [{"models": ["*-imagen"], "to": ["api:paid"]}, {"to": ["web", "api:paid"]}]
    assert await served(router_of(web, api, routes=routes)) == "p"
    tiers = {"web": frozenset(), "api": frozenset({"free", "paid"})}
    router = router_of(web, Upstream("api", "f:free"), routes=routes, tiers=tiers)
    error = await refusal(router, IMAGE)
    assert (type(error), error.reason) == (SignedOut, "missing")


async def test_the_home_of_a_conversation_comes_first_and_the_others_after_it():
    for step, expected in ((None, "s"), (after(9), "f")):
        web, api = Upstream("web", "s", step=step, home="s"), Upstream("api", "f:free", "p:paid")
        assert await served(router_of(web, api)) == expected
        assert web.asked == ["s"]
    web, api = Upstream("web", "s"), Upstream("api", "f:free", "p:paid", home="p")
    assert await served(router_of(web, api)) == "p"


async def test_pictures_of_earlier_turns_go_back_to_the_transport_that_has_them():
    ref = MediaRef(transport="web", account="s", kind=MediaKind.IMAGE, url="x")
    turns = (Turn(role=Role.ASSISTANT, parts=(MediaPart(ref=ref),)), *request_for("x").turns)
    router, asked = both()
    async with router.open(msgspec.structs.replace(request_for("x"), turns=turns)) as exchange:
        assert exchange.served.account == "s"
    assert asked() == ["s"]


async def test_routes_say_what_is_offered_and_available():
    web, api = Upstream("web", "s"), Upstream("api", "f:free", "p:paid")
    routes = [{"models": [IMAGE], "to": ["api:paid"]}, {"models": ["*-canvas"], "tools": True, "to": ["api"]}]
    router = router_of(web, api, routes=routes)

    def models(name):
        return [model.id for model in router.served_by(CATALOGUE.resolve(name))]

    assert models(IMAGE) == ["p"]
    assert models("gemini-3-pro-canvas") == ["f", "p", "s"]
    assert models("gemini-3-pro") == ["f", "s", "p"]
    assert router.available(CATALOGUE.resolve(IMAGE))
    api.offers = lambda selection: False
    assert not router.offers(CATALOGUE.resolve(IMAGE))
    assert not router.available(CATALOGUE.resolve(IMAGE))
    assert router.available(CATALOGUE.resolve("gemini-3-pro"))
    assert isinstance(await refusal(router, IMAGE), Unsupported)


async def test_the_failing_upstream_is_asked_again_within_the_budget_only():
    tight = FailoverPolicy(retry_budget=0.0, min_retry_concurrency=0)
    router, asked = both(free=OVERLOADED, site=SignedOut("x"), policy=tight)
    assert await refusal(router) is OVERLOADED
    assert asked() == ["f", "s"]
    router, asked = both(free=OVERLOADED, policy=tight)
    assert (await served(router, attempts_before=2), asked()) == ("s", ["f", "s"])


async def test_a_draining_process_asks_no_other_transport_after_a_failure():
    router, asked = both(free=OVERLOADED, draining=lambda: True)
    assert (await refusal(router), asked()) == (OVERLOADED, ["f"])
    router, asked = both(free=after(9), draining=lambda: True)
    assert (await served(router), asked()) == ("s", ["f", "s"])


async def test_a_timeout_while_waiting_says_what_happened_before():
    router, asked = both(free=after(2), site=NOT_HERE, queue_seconds=60, chat_seconds=0.05)
    api = next(one for one in router.failovers if one.transport.name == "api")
    requirement = Requirement.of(CATALOGUE.resolve("gemini-3-pro"), tier="paid")
    async with leasing(api.pool, LeaseRequest(requirement=requirement)):
        assert round((await refusal(router)).retry_after) == 2
    assert asked() == ["f", "s"]


def test_options_apply_if_some_transport_applies_them():
    first, second = Upstream("first", "a"), Upstream("second", "b")
    first.applied, second.applied = frozenset({"seed", "top_p"}), frozenset({"seed"})
    selection = CATALOGUE.resolve("gemini-3-pro")
    assert router_of(first).applies(selection) == {"seed", "top_p"}
    assert router_of(first, second).applies(selection) == {"seed", "top_p"}
