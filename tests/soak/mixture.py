"""Clients of all kinds, which check that each answer is well-formed."""

import json
import random
from collections import Counter

import aiohttp
import anyio

from tests.conftest import KEY

IDLE_SECONDS = 5.0
"""Less than the gateways keep a connection, or a request may meet one that is just being closed."""
TIMEOUT = aiohttp.ClientTimeout(total=40)


class Mixture:
    """Sends requests of all kinds to all gateways, all the time."""

    def __init__(self, cluster):
        self._cluster = cluster
        self.outcomes, self.malformed = Counter(), []
        """By what was asked for and what came, and what no client should see."""

    async def run(self):
        clients = [(self.chat, 0.1)] * 3 + [(self.stream, 0.1)] * 3
        clients += [(self.leave, 0.5), (self.wrong_key, 0.5), (self.image, 2.0), (self.video, 4.0)]
        connector = aiohttp.TCPConnector(keepalive_timeout=IDLE_SECONDS)
        http = aiohttp.ClientSession(timeout=TIMEOUT, connector=connector)
        async with http, anyio.create_task_group() as tasks:
            for ask, pause in clients:
                tasks.start_soon(self._ask_for_ever, http, ask, pause)

    async def _ask_for_ever(self, http, ask, pause):
        while True:
            up = [gateway for gateway in self._cluster.gateways if gateway.is_up]
            if up:
                await self._one(http, ask, random.choice(up))
            await anyio.sleep(pause)

    async def _one(self, http, ask, gateway):
        pid = gateway.pid
        try:
            outcome = await ask(http, gateway.origin)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            was_there = gateway.is_up and gateway.pid == pid
            outcome = "cut, gateway alive" if was_there else "cut, gateway killed"
            if was_there:
                self.malformed.append(f"{ask.__name__} at {gateway.name}: {type(error).__name__}: {error}")
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            outcome = "malformed"
            self.malformed.append(f"{ask.__name__}: {type(error).__name__}: {error}")
        self.outcomes[ask.__name__, outcome] += 1

    async def chat(self, http, origin):
        async with post(http, origin, "chat/completions", chat_body()) as response:
            return await whole(response, lambda answer: answer["choices"][0]["message"]["content"])

    async def stream(self, http, origin):
        async with post(http, origin, "chat/completions", chat_body(stream=True)) as response:
            if response.status != 200:
                return await whole(response)
            last = ""
            async for line in response.content:
                if line.startswith(b"data: "):
                    last = line.decode().removeprefix("data: ").strip()
        if last == "[DONE]":
            return "answered"
        return f"{json.loads(last)['error']['code']}, within the stream"

    async def leave(self, http, origin):
        async with post(http, origin, "chat/completions", chat_body(stream=True)) as response:
            if response.status != 200:
                return await whole(response)
            await response.content.readany()
            response.close()
        return "left"

    async def wrong_key(self, http, origin):
        async with post(http, origin, "chat/completions", chat_body(), key="sk-unknown-key") as response:
            assert response.status in {401, 503}  # 503: the store is down and the key cannot be checked
            return await whole(response)

    async def image(self, http, origin):
        body = {"model": "gemini-3-pro-imagen", "prompt": "a square", "response_format": "b64_json"}
        async with post(http, origin, "images/generations", body) as response:
            return await whole(response, lambda answer: answer["data"][0]["b64_json"])

    async def video(self, http, origin):
        async with post(http, origin, "videos", {"model": "gemini-3-pro-video", "prompt": "a square"}) as response:
            if response.status != 200:
                return await whole(response)
            job = await response.json()
        for _ in range(60):
            await anyio.sleep(0.5)
            async with http.get(f"{origin}/v1/videos/{job['id']}", headers=signed(KEY)) as response:
                if response.status != 200:
                    return await whole(response)
                job = await response.json()
            if job["status"] == "completed":
                return "answered"
            if job["status"] == "failed":
                return f"{job['error']['code']}, of the job"
        return "not made in time"


def chat_body(**more):
    words = f"word {random.randrange(1_000_000)} " * random.choice((1, 20, 200))
    return {"model": "gemini-3-pro", "messages": [{"role": "user", "content": f"<echo>{words}</echo>"}], **more}


def signed(key):
    return {"Authorization": f"Bearer {key}"}


def post(http, origin, path, body, key=KEY):
    return http.post(f"{origin}/v1/{path}", json=body, headers=signed(key))


async def whole(response, look=None):
    """Return how it was answered: with an error's code, in the form that it must have, or with what was asked for."""
    answer = await response.json()
    if response.status == 200:
        assert look is None or look(answer)
        return "answered"
    error = answer["error"]
    assert error["message"]
    assert error["type"]
    return error["code"]
