"""A simulated site on a real port, and web transports connected to it."""

from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from protocol.http.budget import ByteBudget
from protocol.http.spool import Files, Spool
from protocol.model import Caller, Catalogue, GenerationRequest, Role, TextPart, Turn
from service.server.hypercorn import serve_loopback
from tests.observer import NullObserver
from transports import simulator, web
from transports.accounts import Conversations
from transports.accounts.registry import AccountRegistry
from transports.base import Deps
from transports.clock import SystemClock
from transports.router import Deadlines, Router
from transports.store import ChangeFeed, MemoryStore, Store

CATALOGUE = Catalogue.build()
FAST = simulator.Pace(first_token_seconds=0.0, tokens_per_second=0.0)
ACCOUNT = simulator.SimulatedAccount(psid="psid-1", psidts="psidts-1")


def connected(transport, account="one"):
    """Return the connected account of a web transport, which holds its session."""
    return transport.connected.of(account)


def request_for(text, model="gemini-3-pro", **more):
    turns = (Turn(role=Role.USER, parts=(TextPart(text=text),)),)
    return GenerationRequest(id="req", caller=Caller(id="me"), selection=CATALOGUE.resolve(model), turns=turns, **more)


@asynccontextmanager
async def asking(transport, request, account):
    """Yield an account's answer to a request, open as long as the context lasts."""
    async with AsyncExitStack() as stack:
        yield await transport.open(stack, request, account)


def opened(failover, request, seconds):
    """Open a request with one transport, for up to `seconds`."""
    return Router(CATALOGUE, [failover], Deadlines(chat_seconds=seconds)).open(request)


def deps_for(clock=None, store=None, conversations=None):
    clock = clock or SystemClock()
    store = store or MemoryStore(clock)
    return Deps(
        name="web",
        process_id="process-1",
        clock=clock,
        store=Store.of(store),
        registry=AccountRegistry(store, clock),
        change_feed=ChangeFeed(store, clock),
        conversations=conversations or Conversations(store, clock),
        observer=NullObserver(),
        serve=serve_loopback,
        files=Files(ByteBudget(), Spool()),
    )


class Site:
    """A simulated site's address and what it has seen."""

    def __init__(self, base):
        self.base = base

    async def state(self):
        async with aiohttp.ClientSession() as session, session.get(f"{self.base}/simulator/state") as response:
            return await response.json()

    async def seen(self, what):
        return (await self.state())["seen"].get(what, 0)

    async def order(self, **fault):
        url = f"{self.base}/simulator/faults"
        async with aiohttp.ClientSession() as session, session.post(url, json=fault) as response:
            assert response.status == 200

    @asynccontextmanager
    async def connect(self, *accounts, deps=None, **settings):
        """Connect a web transport with these accounts, the site's first one by default."""
        accounts = accounts or (web.WebAccount(id="one", cookies=simulator.export_of(ACCOUNT), per_minute=0),)
        hosts = web.Hosts(site=self.base, accounts=self.base, upload=self.base)
        own = {"accounts": accounts, "hosts": hosts, "guest_per_minute": 0, "reuse_seconds": 0}
        own |= {"refresh_seconds": 0, "quota_seconds": 0}
        config = web.WebConfig(**{**own, **settings})
        async with web.connect(config, deps or deps_for()) as transport:
            yield transport


@pytest.fixture
def store(clock):
    return MemoryStore(clock)


@pytest.fixture
def open_site():
    """Open simulated sites with a test's own settings."""

    @asynccontextmanager
    async def open_one(*accounts, clock=None, **settings):
        config = simulator.SimulatorConfig(**{"accounts": accounts or (ACCOUNT,), "pace": FAST, **settings})
        async with serve_loopback(simulator.create_site(config, clock or SystemClock())) as base:
            yield Site(base)

    return open_one


@pytest.fixture
async def site(open_site):
    async with open_site() as opened:
        yield opened
