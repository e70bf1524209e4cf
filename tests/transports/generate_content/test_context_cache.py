"""Caches of what requests begin with, over the simulated API."""

import json
import subprocess
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import anyio.lowlevel
import msgspec
import pytest

from protocol.model import FilePart, Finish, Role, TextPart, Tool, ToolCall, ToolChoice, Turn
from service.server.hypercorn import serve_loopback
from tests.conftest import ROOT
from tests.observer import NullObserver
from tests.transports.conftest import FAST, asking, deps_for, request_for
from transports import api, simulator, vertex
from transports.generate_content.config import ContextCaching
from transports.store import MemoryStore
from transports.store.port import CONTEXT_CACHES

pytestmark = pytest.mark.anyio
PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
KEYS = ("paid-key-0", "paid-key-1", "free-key-0")
DOCUMENT = "A long document with many words. " * 300
TOKENS = 2475
PRO = "gemini-3.1-pro"


class Events(NullObserver):
    """Counts what becomes of caches, and lets a test wait for it."""

    def __init__(self):
        self.seen, self._changed = [], anyio.Event()

    def context_cache(self, transport, outcome):
        self.seen.append(outcome)
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, outcome, count=1):
        with anyio.fail_after(4):
            while self.seen.count(outcome) < count:
                await self._changed.wait()


class Upstream:
    """The simulated API, the bodies that it was sent, and transports over it."""

    def __init__(self, base, clock, bodies, stack):
        self.base, self.clock, self.bodies = base, clock, bodies
        self.store, self._stack = MemoryStore(clock), stack

    async def connect(self, *keys, tier="paid", **settings):
        """Return a transport with these keys, and what becomes of its caches."""
        events = Events()
        accounts = tuple(api.ApiKeyAccount(id=key, key=key, tier=tier) for key in keys)
        caching = ContextCaching(**{"after": 2, "min_tokens": 1024} | settings)
        config = api.ApiConfig(accounts=accounts, base_url=self.base, context_cache=caching)
        deps = msgspec.structs.replace(deps_for(self.clock, self.store), name="api", observer=events)
        transport = await self._stack.enter_async_context(api.connect(config, deps))
        for account in transport.connected.all:
            await account.read_models()
        return transport, events

    def paths(self):
        return [(method, path) for method, path, _ in self.bodies if "cachedContents" in path]


@pytest.fixture
async def upstream(clock):
    keys = tuple(simulator.SimulatedKey(key=key, tier=key.partition("-")[0]) for key in KEYS)
    site, bodies = simulator.create_site(simulator.SimulatorConfig(api_keys=keys, pace=FAST), clock), []

    async def recorded(scope, receive, send):
        pieces = []

        async def heard():
            message = await receive()
            pieces.append(message.get("body", b""))
            return message

        await site(scope, heard, send)
        if scope["type"] == "http":
            bodies.append((scope["method"], scope["path"], b"".join(pieces)))

    async with serve_loopback(recorded) as base, AsyncExitStack() as stack:
        yield Upstream(base, clock, bodies, stack)


def asked(question="?", model="gemini-3.6-flash", system=DOCUMENT, parts=(), **more):
    request = request_for(f"<echo>{question}</echo>", model, **more)
    user = msgspec.structs.replace(request.turns[-1], parts=(*parts, *request.turns[-1].parts))
    first = (Turn(role=Role.SYSTEM, parts=(TextPart(text=system),)),) if system else ()
    return msgspec.structs.replace(request, turns=(*first, user))


async def cached(transport, request, account=KEYS[0]):
    """Return how many tokens of the request were cached."""
    found = next(one for one in transport.accounts if one.id == account)
    async with asking(transport, request, found) as exchange:
        events = [event async for event in exchange.events]
    await anyio.lowlevel.checkpoint()  # the store is written in the background
    assert isinstance(events[-1], Finish)
    return events[-1].usage.cached_tokens


async def make_cached(transport, events, request=None, account=KEYS[0]):
    for _ in range(2):
        await cached(transport, request or asked(), account)
    await events.until("created")


async def test_what_comes_again_is_cached_once_and_then_left_out(upstream):
    transport, events = await upstream.connect(KEYS[0])
    await make_cached(transport, events)
    assert [await cached(transport, asked(question)) for question in "ab"] == [TOKENS, TOKENS]
    assert upstream.paths() == [("POST", "/v1beta/cachedContents")]
    assert "words" not in upstream.bodies[-1][2].decode()
    assert events.seen == ["created", "used", "used"]
    bodies = [("cached", body) for _, path, body in upstream.bodies if "cachedContents" in path]
    bodies += [("request", body) for _, path, body in upstream.bodies if path.endswith("generateContent")]
    assert judged(bodies) == [None] * 5


def judged(bodies):
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "foreign" / "google_types.py"],
        input=json.dumps([(kind, json.loads(body)) for kind, body in bodies]),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_another_process_uses_the_cache_and_the_store_has_no_words(upstream):
    transport, events = await upstream.connect(KEYS[0])
    await make_cached(transport, events)
    other, _ = await upstream.connect(KEYS[0])
    assert await cached(other, asked()) == TOKENS
    records = await upstream.store.scan(CONTEXT_CACHES)
    assert {len(record.key.partition("/")[0]) for record in records} == {40}
    assert sorted(record.value.partition(b"/")[0] for record in records) == [b"3", b"cachedContents"]


async def test_use_extends_a_cache_and_disuse_ends_it(upstream, clock):
    transport, events = await upstream.connect(KEYS[0])
    await make_cached(transport, events)
    clock.advance(200)
    assert await cached(transport, asked()) == TOKENS
    await events.until("extended")
    clock.advance(200)
    assert await cached(transport, asked()) == TOKENS
    await events.until("extended", 2)
    clock.advance(290)
    await cached(transport, asked())
    assert events.seen.count("used") == 2
    assert [method for method, _ in upstream.paths()] == ["POST", "PATCH", "PATCH"]


async def test_a_lost_cache_costs_one_more_try_and_is_not_made_again_at_once(upstream, clock):
    transport, events = await upstream.connect(KEYS[0])
    await make_cached(transport, events)
    account = transport.connected.of(KEYS[0])
    name = json.loads(await account.api.get("cachedContents"))["cachedContents"][0]["name"]
    await account.api.send("DELETE", f"{upstream.base}/v1beta/{name}")
    await cached(transport, asked())
    await cached(transport, asked())
    assert events.seen == ["created", "used", "lost"]
    assert not account.lacking
    clock.advance(500)
    await cached(transport, asked())
    clock.advance(200)
    await cached(transport, asked())
    await events.until("created", 2)


async def test_what_the_api_does_not_cache_is_not_tried_again(upstream):
    transport, events = await upstream.connect(KEYS[0])
    for _ in range(2):
        await cached(transport, asked(model=PRO))
    await events.until("refused")
    for _ in range(2):
        await cached(transport, asked(model=PRO))
    assert events.seen == ["refused"]


async def test_rare_and_short_beginnings_and_free_keys_are_left_alone(upstream, clock):
    transport, events = await upstream.connect(KEYS[0])
    free, of_free = await upstream.connect(KEYS[2], tier="free")
    for _ in range(3):
        await cached(transport, asked(system="Be brief."))
        await cached(transport, asked())
        await cached(free, asked(), KEYS[2])
        clock.advance(700)
    assert (events.seen, of_free.seen, upstream.paths()) == ([], [], [])


async def test_an_account_of_the_project_that_has_the_cache_is_preferred(upstream):
    transport, events = await upstream.connect(*KEYS[:2])
    assert await transport.prefers(asked(), "paid") is None
    await make_cached(transport, events, account=KEYS[1])
    assert [await transport.prefers(asked(), tier) for tier in ("paid", "")] == [KEYS[1]] * 2
    assert await transport.prefers(asked(system="Other words. " * 900), "paid") is None
    assert await cached(transport, asked(), KEYS[1]) == TOKENS


async def test_a_document_before_the_question_is_cached_without_the_question(upstream):
    transport, events = await upstream.connect(KEYS[0])
    document = FilePart(data=DOCUMENT.encode(), mime="text/plain", name="a")
    texts = tuple(TextPart(text=f"{number}. {DOCUMENT}") for number in range(2))
    await make_cached(transport, events, asked(system="", parts=(document, *texts)))
    found = await cached(transport, asked("another", system="", parts=(document, *texts)))
    assert found == 258 + 2 * 2476
    assert await cached(transport, asked("one", system="", parts=(document, TextPart(text="short")))) != found


async def test_tools_and_calls_of_the_conversation_are_part_of_it(upstream):
    transport, events = await upstream.connect(KEYS[0])
    tools = ToolChoice(tools=(Tool(name="look", description="Looks.", parameters={"type": "object"}),))
    call = ToolCall(id="call_1", name="look", arguments="{}")
    turns = (
        *asked("first").turns,
        Turn(role=Role.ASSISTANT, parts=(), tool_calls=(call,)),
        Turn(role=Role.TOOL, parts=(TextPart(text=DOCUMENT),), name="look", tool_call_id="call_1"),
    )

    def following(question):
        asks = Turn(role=Role.USER, parts=(TextPart(text=f'<call name="look">{{}}</call> {question}'),))
        return msgspec.structs.replace(asked(tools=tools), turns=(*turns, asks))

    await make_cached(transport, events, following("again"))
    assert await cached(transport, following("now")) > 2 * TOKENS
    assert events.seen[-1] == "used"


@asynccontextmanager
async def cloud(tmp_path, clock, events):
    file = tmp_path / "account.json"
    issued = simulator.write_service_account(file, "http://127.0.0.1:1/token")
    site = simulator.create_site(simulator.SimulatorConfig(service_accounts=(issued,), pace=FAST), clock)
    async with serve_loopback(site) as base:
        simulator.write_service_account(file, f"{base}/token")
        accounts = (vertex.VertexAccount(id="one", credentials=file.read_text()),)
        config = vertex.VertexConfig(
            accounts=accounts, base_url=base, context_cache=ContextCaching(after=2, min_tokens=1024)
        )
        deps = msgspec.structs.replace(deps_for(), name="vertex", observer=events)
        async with vertex.connect(config, deps) as transport:
            await transport.connected.of("one").read_models()
            yield transport


async def test_vertex_ai_caches_too(tmp_path):
    from transports.clock import SystemClock

    events = Events()
    async with cloud(tmp_path, SystemClock(), events) as transport:
        await make_cached(transport, events, account="one")
        assert await cached(transport, asked(), "one") == TOKENS
