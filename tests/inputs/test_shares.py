"""One license takes no seats, queue places or memory from another, at a real gateway with two accounts."""

import contextlib
import json

import anyio
import httpx2 as httpx
import pytest

from tests.conftest import Gateway, Process
from tests.flows.test_fairness import ACCOUNT, LICENSE, SETTINGS, SLOW

pytestmark = pytest.mark.anyio
CHATS = 5
MOST_OF_ONE = 8
"""Of the ten slots, if there are several licenses."""
LONG = 20 * 1024 * 1024


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A gateway with default limits, two accounts of five slots, and the licenses a and b."""
    folder = tmp_path_factory.mktemp("shared")
    options = ("--account", "a:b:pro", "--account", "c:d:pro", "--tokens-per-second", "0")
    site = Process("simulate", "--port", "0", "--first-token-seconds", "0", *options, cwd=folder)
    url = site.wait_for("Base URL").rpartition(" ")[2].strip()
    cookies = [line.partition(": ")[2] for line in site.text().splitlines() if line.startswith("Account (")]
    settings = SETTINGS.replace("SITE", url).replace("GUEST", "false")
    settings += "".join(LICENSE.format(name=name) for name in "ab")
    settings += "".join(ACCOUNT.format(name=f"account-{n}", cookies=c) for n, c in enumerate(cookies))
    process = Gateway(folder, settings)
    yield process
    process.stop()
    site.stop()


def body(words, *, stream=False):
    return {"model": "gemini-3-pro", "stream": stream, "messages": [{"role": "user", "content": words}]}


class Taker:
    """The clients of license a, which take what they can get until the test ends."""

    def __init__(self, gateway, client, tasks):
        self._gateway, self._client, self._tasks = gateway, client, tasks
        self.held = self.refused = 0
        self._moved = anyio.Event()

    async def until(self, test):
        while not test():
            await self._moved.wait()

    def _note(self):
        self._moved.set()
        self._moved = anyio.Event()

    async def hold_streams(self):
        for _ in range(40):
            self._tasks.start_soon(self._stream)
        await self.until(lambda: self.held >= MOST_OF_ONE and self.refused)

    async def hammer_chats(self):
        for _ in range(40):
            self._tasks.start_soon(self._again)
        await self.until(lambda: self.held >= 40)

    async def hold_bodies(self):
        for _ in range(100):
            self._tasks.start_soon(self._half)
        await self.until(lambda: self.held >= 100)

    async def fill_the_queue(self):
        for _ in range(100):
            self._tasks.start_soon(self._stream)
        await self.until(lambda: self.held >= MOST_OF_ONE and self.refused >= 50)

    async def _stream(self):
        request = body(SLOW, stream=True)
        async with self._client.stream("POST", self._url, json=request, headers=key("a")) as response:
            async for line in response.aiter_lines():
                if '"content":"' in line and '"content":""' not in line:
                    self.held += 1
                    self._note()
                    await anyio.sleep_forever()
        self.refused += 1
        self._note()

    async def _again(self):
        while True:
            await self._client.post(self._url, json=body("hi"), headers=key("a"))
            self.held += 1
            self._note()

    async def _half(self):
        """Send the first part of a long body, and no more."""
        host, _, port = self._gateway.origin.partition("://")[2].partition(":")
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: {key('a')['Authorization']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {LONG}\r\n\r\n"
        async with await anyio.connect_tcp(host, int(port)) as stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                await stream.send(head.encode() + b" " * (1024 * 1024))
                self.held += 1
                self._note()
                await stream.receive()

    @property
    def _url(self):
        return f"{self._gateway.base_url}/chat/completions"


def key(name):
    return {"Authorization": f"Bearer sk-test-of-license-{name}-0123"}


TAKES = ["hold_streams", "hammer_chats", "hold_bodies", "fill_the_queue"]
ASKED = {
    "chats": json.dumps(body("<echo>hello</echo>")),
    "long bodies": json.dumps(body("<echo>hello</echo>")) + " " * 500_000,
    "streams": json.dumps(body("<echo>hello</echo>", stream=True)),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("take", TAKES)
async def test_another_license_is_answered(shared, take, asked):
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client, anyio.create_task_group() as tasks:
        await getattr(Taker(shared, client, tasks), take)()
        statuses = []
        for _ in range(CHATS):
            headers = key("b") | {"Content-Type": "application/json"}
            response = await client.post(f"{shared.base_url}/chat/completions", content=ASKED[asked], headers=headers)
            statuses.append(response.status_code if "overloaded" not in response.text else 503)
        assert statuses == [200] * len(statuses)
        tasks.cancel_scope.cancel()
