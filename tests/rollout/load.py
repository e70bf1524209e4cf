"""Clients that send requests at a fixed rate and never retry."""

import json
from collections import Counter

import aiohttp
import anyio

PER_SECOND = 50
STREAMS = 6
"""Number of answers that come slowly, in pieces, at any time."""
SLOW = '<sim tokens-per-second="6"/>'


class Load:
    """Chats through a balancer, whole and streamed; each answer is looked at."""

    def __init__(self, url, key, *, per_second=PER_SECOND):
        self._url, self._key, self._per_second = f"{url}/chat/completions", key, per_second
        self.outcomes, self.failures = Counter(), []
        self._stop = anyio.Event()

    @property
    def answered(self):
        return sum(self.outcomes.values())

    def stop(self):
        self._stop.set()

    async def run(self):
        """Send requests until `stop`, then wait for the open ones."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http, anyio.create_task_group() as tasks:
            for number in range(STREAMS):
                tasks.start_soon(self._stream_for_ever, http, number)
            start, count = anyio.current_time(), 0
            while not self._stop.is_set():
                tasks.start_soon(self._ask, http, f"word {count}", "", count % 4 == 0)
                count += 1
                await anyio.sleep_until(start + count / self._per_second)

    async def _stream_for_ever(self, http, number):
        count = 0
        while not self._stop.is_set():
            count += 1
            await self._ask(http, f"stream {number} says slowly that this is number {count}", SLOW, True)

    async def _ask(self, http, words, how, stream):
        content = f"{how}<echo>{words}</echo>"
        body = {"model": "gemini-3-pro", "stream": stream, "messages": [{"role": "user", "content": content}]}
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            async with http.post(
                self._url, json=body, headers=headers, timeout=aiohttp.ClientTimeout(total=60)
            ) as response:
                text = await response.text()
            outcome = _outcome(response.status, text, words, stream)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            outcome = f"{type(error).__name__}: {error}"
        self.outcomes["answered" if outcome is None else "failed"] += 1
        if outcome is not None:
            self.failures.append(outcome)


def _outcome(status, text, words, stream):
    """Return what is wrong with an answer; None: nothing."""
    if status != 200:
        return f"{status}: {text[:200]}"
    if not stream:
        said = json.loads(text)["choices"][0]["message"]["content"]
    else:
        pieces = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        if not pieces or pieces.pop() != "[DONE]":
            return f"a stream ended without its end: {text[-200:]}"
        choices = [json.loads(piece)["choices"] for piece in pieces]
        said = "".join(found[0]["delta"].get("content") or "" for found in choices if found)
    return None if said == words else f"{words!r} was answered {said!r}"
