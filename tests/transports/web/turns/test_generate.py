"""What becomes of a connection when its answer is whole, over a site that ends its answers late."""

import anyio
import anyio.lowlevel
import pytest

from protocol.model import Finish, Text
from service.server.hypercorn import serve_loopback
from tests.transports.conftest import ACCOUNT, FAST, Site, asking, request_for
from transports import simulator
from transports.clock import SystemClock
from transports.simulator import encode
from transports.web import wire


class LateSite:
    """The simulated site; the last bytes of its answers come when the test says so."""

    def __init__(self):
        self._app = simulator.create_site(simulator.SimulatorConfig(accounts=(ACCOUNT,), pace=FAST), SystemClock())
        self.connections = set()
        self.let_end, self.gone = anyio.Event(), anyio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            self.connections.add(tuple(scope["client"]))
        generates = scope.get("path") == wire.GENERATE_PATH

        async def late(message):
            last = message["type"] == "http.response.body" and not message.get("more_body")
            if generates and last:
                try:
                    await self.let_end.wait()
                except anyio.get_cancelled_exc_class():  # the simulated site sees its reader leave
                    self.gone.set()
                    raise
            await send(message)

        await self._app(scope, receive, late)


@pytest.fixture
async def late():
    """Yield the late site and a transport that is connected to it."""
    site = LateSite()
    async with serve_loopback(site) as base, Site(base).connect() as transport:
        yield site, transport


async def ask(transport):
    """Ask, and leave as soon as the answer is whole."""
    async with asking(transport, request_for("<echo>x</echo>"), transport.accounts[0]) as answer:
        async for event in answer:
            if isinstance(event, Finish):
                return


async def nothing_left_to_do(transport):
    while transport._accounts.of("one").session.site.background._open:
        await anyio.lowlevel.checkpoint()


async def test_nobody_waits_for_an_answers_last_bytes_and_its_connection_is_used_again(late, monkeypatch):
    monkeypatch.setattr("transports.web.session.client._LAST_BYTES_SECONDS", 60.0)
    site, transport = late
    with anyio.fail_after(60):
        for _ in range(5):
            site.let_end = anyio.Event()
            await ask(transport)
            site.let_end.set()
            await nothing_left_to_do(transport)
    assert len(site.connections) == 1
    assert not site.gone.is_set()


async def test_an_answer_that_does_not_end_loses_its_connection(late, monkeypatch):
    monkeypatch.setattr("transports.web.session.client._LAST_BYTES_SECONDS", 0.0)
    site, transport = late
    with anyio.fail_after(60):
        await ask(transport)
        await nothing_left_to_do(transport)
        await site.gone.wait()


class Talkative:
    """The simulated site; behind what its answers say it says nothing, for as long as somebody listens."""

    def __init__(self):
        self._app = simulator.create_site(simulator.SimulatorConfig(accounts=(ACCOUNT,), pace=FAST), SystemClock())

    async def __call__(self, scope, receive, send):
        if scope.get("path") != wire.GENERATE_PATH:
            await self._app(scope, receive, send)
            return
        messages = []

        async def collect(message):
            messages.append(message)

        await self._app(scope, receive, collect)
        start, *pieces = messages
        whole = b"".join(piece["body"] for piece in pieces)
        said = whole[: whole.rindex(b"\n", 0, whole.rindex(b"\n", 0, whole.rindex(b'[["e",')))] + b"\n"
        async with anyio.create_task_group() as tasks:

            async def until_gone():
                while (await receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_gone)
            await send(start)
            await send({"type": "http.response.body", "body": said, "more_body": True})
            while True:
                await send({"type": "http.response.body", "body": encode.bookkeeping(1), "more_body": True})
                await anyio.lowlevel.checkpoint()


async def test_an_answer_that_is_whole_ends_though_the_site_goes_on_saying_nothing(monkeypatch):
    monkeypatch.setattr("transports.web.turns.generate._AFTER_COMPLETE", 0.1)
    async with serve_loopback(Talkative()) as base, Site(base).connect() as transport:
        with anyio.fail_after(60):
            async with asking(transport, request_for("<echo>x</echo>"), transport.accounts[0]) as answer:
                events = [event async for event in answer]
    assert "".join(event.text for event in events if isinstance(event, Text)) == "x"
    assert isinstance(events[-1], Finish)
