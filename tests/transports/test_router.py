import anyio
import msgspec
import pytest

from protocol.model import (
    Exchange,
    Finish,
    Handle,
    RateLimited,
    Served,
    SignedOut,
    Text,
    UpstreamFailed,
    UpstreamTimeout,
    Usage,
)
from tests.pools import pool_of
from tests.transports.conftest import CATALOGUE, request_for
from transports.account import Account
from transports.failover import Failover, FailoverPolicy
from transports.router import Deadlines, Router

WHOLE = [Text(text="hi"), Finish(reason="stop", usage=Usage(input_tokens=1, output_tokens=1))]


class Upstream:
    """A transport that answers, refuses or hangs, and notes who was asked."""

    site = "http://127.0.0.1"

    def __init__(self, name, *accounts, step=None):
        self.name, self.step = name, step
        self.accounts = [Account(id=account, transport=name) for account in accounts]
        self.asked = []

    def offers(self, selection):
        return True

    def quota_of(self, selection):
        return selection.model.family

    async def home(self, request):
        return None

    async def open(self, stack, request, account):
        self.asked.append(account.id)
        if isinstance(self.step, Exception):
            raise self.step
        if self.step == "hang":
            await anyio.sleep_forever()
        return Exchange(lambda: Served(transport=self.name, account=account.id), whole())


async def whole():
    for event in WHOLE:
        yield event


def router_of(*upstreams, **deadlines):
    failovers = [
        Failover(upstream, pool_of(upstream.accounts, queue_timeout_seconds=0.01), FailoverPolicy(attempts=5))
        for upstream in upstreams
    ]
    return Router(CATALOGUE, failovers, Deadlines(**deadlines))


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
