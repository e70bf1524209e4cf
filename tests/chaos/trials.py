"""Trials: a gateway is killed or stopped at the moment when a rotation reaches a mark; the site decides the outcome.

A trial is one kill, or one stop, of one process at one mark of one account's rotation; all accounts that this process
was rotating are in it. It is over for each when the site has seen another rotation, and its newest value in use. Who
takes over such an account is left alone meanwhile, and one of the gateways can always rotate: a new value that the
site has issued and no gateway has received can be fetched only within the grace, so endless failures lose the account.
"""

import json
import random
import signal
import threading
from collections import Counter, defaultdict
from time import monotonic

import aiohttp
import anyio
import msgspec

MARKS = ("rotation_sent", "rotation_response_received", "rotation_saved")
WAYS = ("kill", "stop", "stop")
STOPS = (0.1, 0.5, 1.0, 3.0, 6.0)
"""In seconds; the last is longer than a lease. Not so at `rotation_sent`: the log may come before the request has left,
and a process that is frozen exactly there, for longer than its lease, can be helped by nothing but the site's own 429.
"""
SETTLED_SECONDS = 60
HEARD = (b'"rotation_', b'"session_rotated"', b'"account_attention_required"')


class Armed:
    """The fault of the first gateway that reaches a mark."""

    def __init__(self, mark, way):
        self.mark, self.way, self.hit = mark, way, None
        self.happened = threading.Event()


class Flights:
    """The accounts that each gateway is rotating, by its log; injects the fault of the next trial."""

    def __init__(self, spared):
        self.armed = None
        self._spared, self._lock, self._flying = spared, threading.Lock(), defaultdict(set)

    def of(self, gateway):
        with self._lock:
            return set(self._flying[gateway])

    def forget(self, gateway):
        with self._lock:
            self._flying[gateway].clear()

    def hear(self, gateway, line):
        """Read a line and inject the fault in the same thread, without delay."""
        if not any(word in line for word in HEARD):
            return
        try:
            entry = json.loads(line)
        except ValueError:  # it was killed within the line
            return
        with self._lock:
            flying, armed = self._flying[gateway], self.armed
            if entry["event"] in MARKS:
                flying.add(entry["account"])
            else:
                flying.discard(entry["account"])
            if armed is None or armed.mark != entry["event"] or self._spared(gateway, flying):
                return
            self.armed = None
            gateway.signal(signal.SIGKILL if armed.way == "kill" else signal.SIGSTOP)
            armed.hit = gateway, entry["account"]
        armed.happened.set()


class Verdict(msgspec.Struct):
    """The outcomes of all trials."""

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
        self._random, self._flights = random.Random(seed), Flights(self._spared)
        self._taken = {}
        """Accounts in a trial, with the rotations that the site had counted."""
        self.trials = Counter()
        self._disturbed = set()
        """Gateways that are down, stand still, or wait as they do before they rotate."""

    async def run(self, count):
        began = monotonic()
        for gateway in self._cluster.gateways:
            gateway.hear = self._flights.hear
        async with anyio.create_task_group() as tasks, aiohttp.ClientSession() as http:
            tasks.start_soon(self._settle, http)
            for _ in range(count):
                await self._trial(tasks)
            await self._until_settled()
            await self._restored()
            self._taken |= dict.fromkeys(self._cluster.accounts)  # the last word: each is rotated once more, and used
            await self._until_settled()
            tasks.cancel_scope.cancel()
        async with aiohttp.ClientSession() as http:
            accounts = await self._judged(http)
        names = self._cluster.accounts
        return Verdict(self.trials, [names.index(name) for name in self._taken], accounts, monotonic() - began)

    async def _trial(self, tasks):
        armed = Armed(self._random.choice(MARKS), self._random.choice(WAYS))
        self._flights.armed = armed
        happened = await anyio.to_thread.run_sync(armed.happened.wait, SETTLED_SECONDS)
        assert happened, f"no gateway reached {armed.mark}: {self.trials}"
        gateway, _ = armed.hit
        self._disturbed.add(gateway)
        self._take(gateway)
        self.trials[armed.way, armed.mark] += 1
        if armed.way == "kill":
            tasks.start_soon(self._killed, gateway)
        else:
            stops = STOPS[:-1] if armed.mark == "rotation_sent" else STOPS
            tasks.start_soon(self._stopped, gateway, self._random.choice(stops))

    async def _killed(self, gateway):
        await gateway.killed()
        self._take(gateway)
        self._flights.forget(gateway)
        await gateway.start()
        await anyio.sleep(self._barrier_seconds)
        self._disturbed.discard(gateway)

    async def _stopped(self, gateway, seconds):
        await anyio.sleep(seconds)
        gateway.signal(signal.SIGCONT)
        self._disturbed.discard(gateway)

    def _take(self, gateway):
        """Have all accounts that a gateway is rotating in the trial."""
        self._taken |= dict.fromkeys(self._flights.of(gateway))

    def _spared(self, gateway, flying):
        """Say whether a gateway rotates an account of another trial, or is the only one that could rotate at all."""
        others = [other for other in self._cluster.gateways if other is not gateway and other not in self._disturbed]
        return gateway in self._disturbed or not others or not flying.isdisjoint(self._taken)

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
