import asyncio
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from protocol.model import Disconnected, Text
from service.server.hypercorn import serve_loopback
from tests.transports.conftest import ACCOUNT, FAST, Site, asking, connected, request_for
from transports import simulator, web
from transports.clock import SystemClock
from transports.web import wire
from transports.web.turns.saved import Chats


async def ask(transport):
    async with asking(transport, request_for("<echo>ok</echo>"), transport.accounts[0]) as answer:
        return "".join([event.text async for event in answer if isinstance(event, Text)])


def of_profile(number, **options):
    """Return an account of a browser profile in which several are signed in."""
    return web.WebAccount(id="one", cookies=simulator.export_of(ACCOUNT), per_minute=0, authuser=number, **options)


@pytest.mark.parametrize(("number", "plan"), [(None, "free"), (0, "free"), (1, "pro")])
async def test_an_account_can_be_one_of_several_in_its_browser_profile(open_site, number, plan):
    first = msgspec.structs.replace(ACCOUNT, plan="free")
    second = msgspec.structs.replace(ACCOUNT, plan="pro", user=1)
    async with open_site(first, second) as site, site.connect(of_profile(number)) as transport:
        await ask(transport)
        assert transport.accounts[0].facts().plan == plan
        state = await site.state()
    assert state["departures"] == []
    assert [bool(account["signed_in"]) for account in state["accounts"]] == ([False, True] if number else [True, False])


@pytest.mark.parametrize("number", [None, 0, 7])
async def test_every_call_names_the_account_of_the_profile(number):
    calls = []

    async def seen(scope, receive, send):
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            query = parse_qs(scope["query_string"].decode())
            calls.append((scope["path"], headers.get("x-goog-authuser"), query.get("source-path", [""])[0]))
        await inner(scope, receive, send)

    account = ACCOUNT if number is None else msgspec.structs.replace(ACCOUNT, user=number)
    config = simulator.SimulatorConfig(accounts=(account,), pace=FAST, profile="site")
    inner = simulator.create_site(config, SystemClock())
    async with serve_loopback(seen) as base, Site(base).connect(of_profile(number), rotate_seconds=0) as transport:
        await ask(transport)
    prefix = "" if number is None else f"/u/{number}"
    expected = None if number is None else str(number)
    paths = {path for path, _, _ in calls}
    assert paths == {prefix + path for path in (wire.APP_PATH, wire.BATCH_PATH, wire.GENERATE_PATH)}
    assert {user for path, user, _ in calls if not path.endswith(wire.APP_PATH)} == {expected}
    sources = {source for path, _, source in calls if path.endswith(wire.BATCH_PATH)}
    assert sources == {prefix + wire.APP_PATH, prefix + wire.USAGE_PATH}


@pytest.mark.parametrize(
    ("options", "capacity", "field13"),
    [({}, 2, False), ({"capacity": 3}, 3, False), ({"capacity": 1, "field13": True}, 1, True)],
)
async def test_settings_override_the_sites_model_header(site, options, capacity, field13):
    async with site.connect(of_profile(None, **options)) as transport:
        status = (await connected(transport).session.ready()).status
    assert (status.capacity, status.field13) == (capacity, field13)


@pytest.mark.parametrize("fault", [{"status": 400}, {"status": 403}, {"status": 429}, {"status": 503}, {"html": True}])
async def test_a_usage_call_that_fails_changes_nothing(site, fault):
    await site.order(where="jSf9Qc", times=10, **fault)
    async with site.connect() as transport:
        await ask(transport)
        assert transport.accounts[0].facts().plan == "advanced"
        assert await site.seen("generate") == 1


class BreakingRelay:
    """Relays connections to a site; those that bring one of the next `breaks` batch calls are closed instead."""

    def __init__(self, site):
        self._port = urlsplit(site.base).port
        self.breaks = 0

    @asynccontextmanager
    async def serving(self):
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0) as server:
            yield Site(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    async def _relay(self, reader, writer):
        site_reader, site_writer = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.create_task(self._copy(site_reader, writer))
        await self._copy(reader, site_writer)
        writer.close()
        await answers

    async def _copy(self, reader, writer):
        while data := await reader.read(65536):
            if self.breaks and b"batchexecute" in data:
                self.breaks -= 1
                break
            writer.write(data)
        writer.close()


@pytest.mark.parametrize(("breaks", "read"), [(0, True), (1, True), (2, False)])
async def test_a_batch_call_on_a_connection_that_the_site_closes_is_made_once_more(site, breaks, read):
    relay = BreakingRelay(site)
    async with relay.serving() as relayed, relayed.connect() as transport:
        await ask(transport)
        chats, relay.breaks = Chats(connected(transport).session), breaks
        if read:
            assert await chats.latest() == []
        else:
            with pytest.raises(Disconnected):
                await chats.latest()
        assert (await site.seen("rpc_MaZiqc"), relay.breaks) == (int(read), 0)
