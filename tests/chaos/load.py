"""Clients that send requests to the gateways all the time and count the outcomes."""

import random
from collections import Counter

import aiohttp
import anyio

from tests.conftest import KEY


class Load:
    """Chats over all gateways that run."""

    def __init__(self, cluster, *, at_once=6):
        self._cluster, self._at_once = cluster, at_once
        self.outcomes = Counter()
        self.wrong = []
        """Answers that no client should see."""

    async def run(self):
        async with aiohttp.ClientSession() as http, anyio.create_task_group() as tasks:
            for number in range(self._at_once):
                tasks.start_soon(self._ask_for_ever, http, number)

    async def _ask_for_ever(self, http, number):
        count = 0
        while True:
            count += 1
            up = [gateway for gateway in self._cluster.gateways if gateway.is_up]
            if not up:
                await anyio.sleep(0.05)
                continue
            await self.chat(http, random.choice(up), f"client {number} word {count}")
            await anyio.sleep(0.02)

    async def chat(self, http, gateway, words):
        body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": f"<echo>{words}</echo>"}]}
        url, headers = f"{gateway.origin}/v1/chat/completions", {"Authorization": f"Bearer {KEY}"}
        timeout = aiohttp.ClientTimeout(total=30)
        try:
            async with http.post(url, json=body, headers=headers, timeout=timeout) as response:
                answer = await response.json()
        except (aiohttp.ClientError, OSError):  # it was killed, or stopped for long
            self.outcomes["cut"] += 1
            return
        if response.status == 200:
            said = answer["choices"][0]["message"]["content"]
            self.outcomes["answered"] += 1
            if said != words:
                self.wrong.append(f"{words!r} was answered {said!r}")
            return
        self.outcomes[answer["error"]["code"]] += 1
