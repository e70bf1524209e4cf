"""A chat through the whole engine, once for each way in which one of its operations can fail: nothing may leak."""

import asyncio
import io
import logging
import sys
import traceback
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, redirect_stderr

import anyio
import msgspec
import pytest
import structlog

from protocol.http.budget import ByteBudget
from protocol.http.spool import Files, Spool
from protocol.model import Caller, Catalogue, Finish, GatewayError, GenerationRequest, Role, TextPart, Turn
from service import wiring
from service.config.loader import origin_of
from service.config.schema import LogSettings, Settings, StoreSettings
from service.server.hypercorn import serve_loopback
from service.telemetry import logs
from tests.nth import WAYS, CountedStore, Plan, counted_client, secrets_in, spellings
from tests.observer import NullObserver
from transports import simulator
from transports.accounts import Conversations, Pool
from transports.clock import SystemClock
from transports.store import MemoryStore, Store
from transports.store.port import COLLECTIONS

ACCOUNT = simulator.SimulatedAccount(psid="canary/psid+17%<&>", psidts="canary/psidts+23%<&>")
SECRETS = [ACCOUNT.psid, ACCOUNT.psidts]
SHORT = {"connect": 0.3, "socket_connect": 0.3, "first_frame": 0.1, "between_frames": 0.1, "call": 0.1}
"""Timeouts of the transport for runs in which an operation hangs; all other runs keep the defaults."""

ATTEMPTS = 4
"""On a slow machine other operations may time out too, or reads may be joined: such a run is done again."""

LEAK_SECONDS = 20.0
"""After this time, what is still held counts as leaked."""


@pytest.fixture(autouse=True)
def unused_slots_are_released_soon(monkeypatch):
    """Shorten the time for which a process keeps an unused slot: each run waits for its end."""
    monkeypatch.setattr("transports.accounts.limits._IDLE_SECONDS", 0.01)


class Engine:
    """A gateway's engine over a simulated site, for one run; `timeouts` are the transport's."""

    def __init__(self, base, timeouts):
        self.base, self.timeouts, self.memory = base, timeouts, MemoryStore(SystemClock())
        self.store = CountedStore(self.memory)
        self.router = None

    @asynccontextmanager
    async def opened(self):
        hosts = {"site": self.base, "accounts": self.base, "upload": self.base}
        account = {"id": "one", "cookies": simulator.export_of(ACCOUNT), "concurrency": 1, "per_minute": 0}
        web = {"accounts": [account], "hosts": hosts, "guest": False, "rotate_seconds": 0.0}
        web |= {"refresh_seconds": 0.0, "quota_seconds": 0.0, "timeouts": self.timeouts}
        settings = Settings(store=StoreSettings(min_processes=2), transports={"web": web})
        clock = SystemClock()
        parts = wiring.EngineDeps(
            clock=clock,
            store=Store.of(self.store),
            conversations=Conversations(self.store, clock),
            observer=NullObserver(),
            serve=serve_loopback,
            files=Files(ByteBudget(), Spool()),
        )
        async with wiring.open_engine(settings, parts, origin_of(None)) as self.router:
            yield self

    async def chat(self):
        """Ask; return how it ended for the client, a word for each end."""
        turns = (Turn(role=Role.USER, parts=(TextPart(text="<echo>all is well</echo>"),)),)
        selection = Catalogue.build().resolve("gemini-3-pro")
        request = GenerationRequest(id="req", caller=Caller(id="me"), selection=selection, turns=turns)
        outcomes, trace = [], ""
        try:
            async with self.router.open(request) as exchange:
                async for event in exchange:
                    if isinstance(event, Finish):
                        outcomes.append("answered")
        except GatewayError as error:
            outcomes.append("refused")
            trace = "".join(traceback.format_exception(error))
        assert not secrets_in(trace, SECRETS)
        return outcomes

    def left_behind(self):
        """Return what is still held for a request."""
        states = [state for failover in self.router.failovers for state in failover.pool.states]
        busy = [state.account.id for state in states if state.in_flight]
        found = {"slots": self.store.slots, "busy": busy, "locks": self.store.locks}
        return {name: what for name, what in found.items() if what}


async def run(base, plan, slowness=1):
    """Run the chat once under a plan; return what is wrong with how it ended, and its outcome."""
    timeouts = {name: seconds * slowness for name, seconds in SHORT.items()} if plan.way == "hang" else {}
    engine, before = Engine(base, timeouts), gateway_tasks()
    wrong, outcomes = [], []
    async with engine.opened():
        with anyio.CancelScope() as client:
            plan.leave = client.cancel
            try:
                with anyio.fail_after(60):
                    outcomes = await plan.run(engine.chat())
            except Exception as error:  # noqa: BLE001 -- none may come out of an engine
                wrong.append(f"the client would see {error!r}")
        if client.cancelled_caught:
            outcomes = ["left"]
        if len(outcomes) != 1 and not wrong:
            wrong.append(f"outcomes: {outcomes}")
        wrong += [f"left behind: {held}" for held in [await until_empty(engine.left_behind)] if held]
        if not wrong:
            again = await engine.chat()
            wrong += [f"the next request: {again}"] if again != ["answered"] else []
            for collection in COLLECTIONS:
                await engine.memory.scan(collection)
    wrong += [f"left behind: {held}" for held in [engine.left_behind()] if held]
    left = await until_empty(lambda: gateway_tasks() - before)
    wrong += [f"left behind: {task!r}" for task in left]
    return wrong, outcomes


def gateway_tasks():
    """Return the tasks that are not the simulated site's server's."""
    files = {task: task.get_coro().cr_code.co_filename for task in asyncio.all_tasks()}
    return {task for task, file in files.items() if "hypercorn" not in file and "simulator" not in file}


async def until_empty(look):
    """Return what `look` still finds after `LEAK_SECONDS`, at once if it finds nothing."""
    with anyio.move_on_after(LEAK_SECONDS):
        while look():
            await anyio.sleep(0.001)
    return look()


@contextmanager
def captured_logs():
    """Set up the process's logs as they are in production, at their most talkative; yield what is written."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    written = io.StringIO()
    with redirect_stderr(written):
        logs.configure(LogSettings(level="debug", format="json"))
        try:
            yield written
        finally:
            structlog.reset_defaults()
            root.handlers[:] = handlers
            root.setLevel(level)


@asynccontextmanager
async def judged_site():
    pace = simulator.Pace(first_token_seconds=0.0, tokens_per_second=0.0)
    config = simulator.SimulatorConfig(accounts=(ACCOUNT,), pace=pace)
    async with serve_loopback(simulator.create_site(config, SystemClock())) as base:
        yield base


async def run_until_reached(base, plan):
    """Run a plan, and again if it was not reached; a hang that went wrong, again with longer timeouts."""
    for attempt in range(ATTEMPTS):
        plan.reset()
        wrong, ended = await run(base, plan, slowness=5**attempt)
        if plan.reached and not (wrong and plan.way == "hang"):
            break
    return wrong if plan.reached else [*wrong, "not reached"], ended


async def sweep(plans):
    """Run all plans; return what was wrong with which, and how they ended."""
    wrong, ends = [], Counter()
    async with judged_site() as base:
        for plan in plans:
            found, ended = await run_until_reached(base, plan)
            ends[plan.way, *ended] += 1
            wrong += [f"{plan}: {one}" for one in found]
    return wrong, ends


async def measured():
    """Return the plan with the fewest operations of a few runs without faults: what every run has."""
    plans = [Plan() for _ in range(3)]
    async with judged_site() as base:
        for plan in plans:
            assert await run(base, plan) == ([], ["answered"])
    return min(plans, key=lambda plan: (plan.operations, plan.suspensions))


async def test_a_failure_of_any_operation_leaks_nothing():
    with counted_client(), captured_logs() as written:
        whole = await measured()
        assert whole.operations > 12
        plans = [Plan(way, operation=n) for way in WAYS for n in range(1, whole.operations + 1)]
        wrong, ends = await sweep(plans)
    assert wrong == []
    assert ends["cancel", "left"] == whole.operations
    assert not secrets_in(written.getvalue(), SECRETS)
    assert "never retrieved" not in written.getvalue()


async def test_a_client_that_disconnects_at_any_await_leaks_nothing():
    with counted_client(), captured_logs() as written:
        whole = await measured()
        plans = [Plan("cancel", suspension=n) for n in range(1, whole.suspensions + 1)]
        wrong, ends = await sweep(plans)
    assert wrong == []
    assert whole.suspensions > whole.operations
    assert ends["cancel", "left"] > whole.suspensions // 2
    assert not secrets_in(written.getvalue(), SECRETS)


async def test_a_lease_that_is_not_released_is_noticed(monkeypatch):
    lend, lent = Pool.lease, []

    async def careless(*arguments):
        lent.append(await lend(*arguments))
        return msgspec.structs.replace(lent[-1], release=lambda: None)

    whole = await measured()
    monkeypatch.setattr(Pool, "lease", careless)
    monkeypatch.setattr(sys.modules[__name__], "LEAK_SECONDS", 0.5)
    wrong, _ = await sweep([Plan("cancel", suspension=whole.suspensions // 2)])
    assert any("left behind" in one for one in wrong)
    for lease in lent:
        lease.release()


@pytest.mark.parametrize("spelling", sorted(spellings(ACCOUNT.psid)))
def test_a_secret_is_found_in_each_encoding(spelling):
    assert secrets_in(f'{{"event": "leak", "what": "{spelling}"}}', SECRETS) == [ACCOUNT.psid]


def test_a_secret_in_a_log_is_noticed():
    with captured_logs() as written:
        structlog.get_logger().error("leak", what=ACCOUNT.psid)
    assert secrets_in(written.getvalue(), SECRETS) == [ACCOUNT.psid]
