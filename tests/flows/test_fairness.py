"""A license that keeps the accounts busy does not starve other licenses: each gets its share of the slots."""

from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import anyio.lowlevel
import httpx2 as httpx
import pytest

from tests.conftest import Gateway, Process

pytestmark = pytest.mark.anyio
LICENSES = ("a", "b", "c")
SLOTS, STREAMS, CHATS = 10, 40, 66
MOST_OF_ONE = 8
"""Slots that one license takes if there are others."""
SLOW = '<sim length="4000" tokens-per-second="2"/>'
SETTINGS = """
[server]
port = 0

[drain]
grace_seconds = 1

[transports.web]
guest = GUEST
guest_per_minute = 0
hosts = { site = "SITE", accounts = "SITE", upload = "SITE" }
"""
LICENSE = """
[[licenses]]
id = "{name}"
key = "sk-test-of-license-{name}-0123"
"""
ACCOUNT = """
[[transports.web.accounts]]
id = "{name}"
cookies = "{cookies}"
per_minute = 0  # or a test of a minute would wait for it
"""


class Crowd:
    """The clients of all licenses. Streams are held open until the test ends one; it counts who gets a slot when."""

    def __init__(self, client, tasks, gateway):
        self._client, self._tasks, self._gateway = client, tasks, gateway
        self.turns, self.refused = [], []
        """Licenses, in the order in which a request of theirs got a slot, or was refused."""
        self.chatting = 0
        self._streams, self._moved, self._ended = [], anyio.Event(), anyio.Event()

    def keep_streams(self, name, count, model="gemini-3-pro"):
        for _ in range(count):
            self._tasks.start_soon(self._stream_again, name, model)

    def send_stream(self, name, model="gemini-3-pro"):
        self._tasks.start_soon(self._stream, name, model)

    async def end_streams_while_chatting(self):
        """End the oldest stream, and the next one once a request has got a slot."""
        while self.chatting:
            turns = len(self.turns)
            if self._streams:
                self.end_stream()
            while self.chatting and len(self.turns) == turns:
                await self._moved.wait()

    def end_stream(self):
        self._streams.pop(0).set()
        self._ended.set()
        self._ended = anyio.Event()

    async def until_streams(self, count):
        while len(self._streams) < count:
            await self._moved.wait()

    async def until_refused(self, count):
        while len(self.refused) < count:
            await self._moved.wait()

    async def chat(self, name, chats, clients, model="gemini-3-pro"):
        """Send short chats one after the other from each client; return their statuses."""
        statuses, left = [], list(range(chats))
        self.chatting += 1
        async with anyio.create_task_group() as tasks:
            for _ in range(clients):
                tasks.start_soon(self._chat_until_done, name, left, statuses, model)
        self.chatting -= 1
        self._note()
        return statuses

    def _count(self, name, status):
        (self.turns if status == 200 else self.refused).append(name)
        self._note()

    def _note(self):
        self._moved.set()
        self._moved = anyio.Event()

    async def _chat_until_done(self, name, left, statuses, model):
        while left:
            words = f"<echo>{left.pop()}</echo>"
            response = await self._client.post(**self._request(name, words, model, stream=False))
            statuses.append(response.status_code)
            self._count(name, response.status_code)

    async def _stream_again(self, name, model):
        while True:
            ended = self._ended
            if not await self._stream(name, model):
                await ended.wait()

    async def _stream(self, name, model):
        async with self._client.stream("POST", **self._request(name, SLOW, model, stream=True)) as response:
            async for line in response.aiter_lines():
                if '"content":"' in line and '"content":""' not in line:
                    end = anyio.Event()
                    self._streams.append(end)
                    self._count(name, response.status_code)
                    await end.wait()
                    return True
        self._count(name, response.status_code)
        return False

    def _request(self, name, words, model, *, stream):
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": words}]}
        headers = {"Authorization": f"Bearer sk-test-of-license-{name}-0123"}
        return {"url": f"{self._gateway.base_url}/chat/completions", "json": body, "headers": headers}


@asynccontextmanager
async def crowd_at(folder, more="", guest="false"):
    """Yield a crowd at a gateway of its own with two accounts."""
    async with AsyncExitStack() as stack:
        options = ("--account", "a:b:pro", "--account", "c:d:pro", "--tokens-per-second", "0")
        site = Process("simulate", "--port", "0", "--first-token-seconds", "0", *options, cwd=folder)
        stack.callback(site.stop)
        url = site.wait_for("Base URL").rpartition(" ")[2].strip()
        cookies = [line.partition(": ")[2] for line in site.text().splitlines() if line.startswith("Account (")]
        settings = SETTINGS.replace("SITE", url).replace("GUEST", guest)
        settings += "".join(LICENSE.format(name=name) for name in LICENSES)
        settings += "".join(ACCOUNT.format(name=f"account-{n}", cookies=c) for n, c in enumerate(cookies))
        gateway = Gateway(folder, settings + more)
        stack.callback(gateway.stop)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=60, limits=limits))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        yield Crowd(client, tasks, gateway)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("clients", [1, 6, 10])
async def test_short_chats_get_slots_though_streams_hold_all_slots(tmp_path, clients):
    async with crowd_at(tmp_path) as crowd:
        crowd.keep_streams("a", STREAMS)
        await crowd.until_streams(MOST_OF_ONE)
        for _ in range(SLOTS - MOST_OF_ONE):
            crowd.send_stream("c")
        await crowd.until_streams(SLOTS)
        before = len(crowd.turns)
        statuses = []

        async def chat():
            statuses.extend(await crowd.chat("b", CHATS, clients))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chat)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(crowd.end_streams_while_chatting)
        turns = crowd.turns[before:]
        assert statuses.count(200) >= 0.95 * CHATS
        assert 0 < turns.count("a") <= 5 * CHATS  # twenty of its requests wait


async def test_licenses_with_different_loads_are_all_served(tmp_path):
    async with crowd_at(tmp_path) as crowd:
        crowd.keep_streams("a", STREAMS)
        await crowd.until_streams(MOST_OF_ONE)
        statuses = {"b": [], "c": []}

        async def chat(name, chats, clients):
            statuses[name] += await crowd.chat(name, chats, clients)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chat, "b", 40, 8)
            tasks.start_soon(chat, "c", 5, 1)
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(crowd.end_streams_while_chatting)
        assert statuses == {"b": [200] * 40, "c": [200] * 5}


async def test_a_license_without_a_slot_waits_beyond_the_queue_timeout(tmp_path):
    async with crowd_at(tmp_path, "[pool]\nqueue_timeout_seconds = 0.2\n") as crowd:
        crowd.keep_streams("a", STREAMS)
        await crowd.until_streams(MOST_OF_ONE)
        for _ in range(SLOTS - MOST_OF_ONE):
            crowd.send_stream("c")
        await crowd.until_streams(SLOTS)
        statuses = []

        async def chat():
            statuses.extend(await crowd.chat("b", 5, 5))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chat)
            await crowd.until_refused(STREAMS - MOST_OF_ONE)  # all that the other license sent beyond its slots
            for _ in range(3):
                refused = len(crowd.refused)
                crowd.send_stream("a")
                await crowd.until_refused(refused + 1)
            assert not statuses
            assert "b" not in crowd.refused
            for _ in range(SLOTS // 2):
                crowd.end_stream()
        assert statuses == [200] * 5
