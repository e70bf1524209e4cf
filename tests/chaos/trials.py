"""Trials: a gateway is killed or stopped the moment it says that a rotation is at a mark; the site judges.

A trial is one kill, or one stop, of one process at one mark of one account's rotation. It is over when the site has
seen another rotation of that account, and its newest value in use. An account is in one trial at a time, and one of
the gateways is always able to rotate: where all are down for longer than the site's grace, nothing can be promised.
"""

import json
import random
import signal
from collections import Counter
from time import monotonic

import aiohttp
import anyio
import anyio.from_thread
import msgspec

MARKS = ("rotation_sent", "rotation_answered", "rotation_saved")
WAYS = ("kill", "stop", "stop")
STOPS = (0.1, 0.5, 1.0, 3.0, 6.0)
"""In seconds; the last is longer than a lease. Not so at `rotation_sent`: the log may come before the request has left,
and a process that is frozen exactly there, for longer than its lease, can be helped by nothing but the site's own 429.
"""
SETTLED_SECONDS = 60


class Armed:
    """What happens to the first gateway that comes to a mark."""

    def __init__(self, mark, way, spared, loop):
        self.mark, self.way = mark.encode(), way
        self.hit = None
        self._spared, self._happened, self._loop = spared, anyio.Event(), loop
        self.is_armed = True

    def hear(self, gateway, line):
        """Strike in the thread that reads the gateway's lines: nothing is faster."""
        if not self.is_armed or self.mark not in line:
            return
        account = json.loads(line)["account"]
        if self._spared(gateway, account):
            return
        self.is_armed = False
        gateway.signal(signal.SIGKILL if self.way == "kill" else signal.SIGSTOP)
        self.hit = gateway, account
        self._loop.call_soon_threadsafe(self._happened.set)

    async def happened(self, seconds):
        with anyio.move_on_after(seconds):
            await self._happened.wait()
        self.is_armed = False
        return self.hit


class Verdict(msgspec.Struct):
    """What came of all trials."""

    trials: Counter
    unsettled: list
    accounts: list
    seconds: float

    def summary(self):
        most = [(account["most_rotating"], account["most_generating"]) for account in self.accounts]
        rotating, generating = (max(numbers) for numbers in zip(*most, strict=True))
        words = {f"{way} at {mark}": count for (way, mark), count in sorted(self.trials.items())}
        return {
            "trials": sum(self.trials.values()),
            **words,
            "rotations": sum(account["rotations"] for account in self.accounts),
            "lost": len(self.lost()),
            "most rotating": rotating,
            "most generating": generating,
            "answered as a guest": sum(account["as_guest"] for account in self.accounts),
            "refused": sum(account["refused"] for account in self.accounts),
            "seconds": round(self.seconds, 1),
        }

    def lost(self):
        return [number for number, account in enumerate(self.accounts) if account["dead"] or number in self.unsettled]


class Trials:
    """Makes trials of a cluster."""

    def __init__(self, cluster, *, barrier_seconds, seed=0):
        self._cluster, self._barrier_seconds = cluster, barrier_seconds
        self._random = random.Random(seed)
        self._taken = {}
        """Accounts in a trial, with the rotations that the site had counted."""
        self.trials = Counter()
        self._disturbed = set()
        """Gateways that are down, stand still, or wait as they do before they rotate."""

    async def run(self, count):
        import asyncio

        began, loop = monotonic(), asyncio.get_running_loop()
        async with anyio.create_task_group() as tasks, aiohttp.ClientSession() as http:
            tasks.start_soon(self._settle, http)
            for _ in range(count):
                await self._trial(tasks, loop)
            await self._until_settled()
            await self._restored()
            self._taken |= dict.fromkeys(self._cluster.accounts)  # the last word: each is rotated once more, and used
            await self._until_settled()
            tasks.cancel_scope.cancel()
        async with aiohttp.ClientSession() as http:
            accounts = await self._judged(http)
        names = self._cluster.accounts
        return Verdict(self.trials, [names.index(name) for name in self._taken], accounts, monotonic() - began)

    async def _trial(self, tasks, loop):
        mark, way = self._random.choice(MARKS), self._random.choice(WAYS)
        armed = Armed(mark, way, self._spared, loop)
        for gateway in self._cluster.gateways:
            gateway.hear = armed.hear
        hit = await armed.happened(SETTLED_SECONDS)
        assert hit is not None, f"nobody came to {mark}: {self.trials}"
        gateway, account = hit
        self._taken[account] = None
        self._disturbed.add(gateway)
        self.trials[way, mark] += 1
        if way == "kill":
            tasks.start_soon(self._killed, gateway)
        else:
            tasks.start_soon(
                self._stopped, gateway, self._random.choice(STOPS if mark != "rotation_sent" else STOPS[:-1])
            )

    async def _killed(self, gateway):
        await gateway.killed()
        await gateway.start()
        await anyio.sleep(self._barrier_seconds)
        self._disturbed.discard(gateway)

    async def _stopped(self, gateway, seconds):
        await anyio.sleep(seconds)
        gateway.signal(signal.SIGCONT)
        self._disturbed.discard(gateway)

    def _spared(self, gateway, account):
        """Say whether another trial has the account, or the gateway is the only one that could rotate at all."""
        others = [other for other in self._cluster.gateways if other is not gateway and other not in self._disturbed]
        return account in self._taken or gateway in self._disturbed or not others

    async def _settle(self, http):
        """End the trials of accounts that were rotated since, with the newest value in use."""
        while True:
            await anyio.sleep(0.2)
            for name, judged in zip(self._cluster.accounts, await self._judged(http), strict=True):
                if name not in self._taken:
                    continue
                if self._taken[name] is None:
                    self._taken[name] = judged["rotations"]
                elif judged["rotations"] > self._taken[name] and not judged["unseen"]:
                    del self._taken[name]

    async def _judged(self, http):
        async with http.get(f"{self._cluster.site.origin}/simulator/state") as response:
            return (await response.json())["accounts"]

    async def _until_settled(self):
        with anyio.move_on_after(SETTLED_SECONDS):
            while self._taken:
                await anyio.sleep(0.1)

    async def _restored(self):
        while self._disturbed:
            await anyio.sleep(0.05)
