"""Faults, one after the other."""

import random
import signal
from collections import Counter

import aiohttp
import anyio

ORDERS = (
    {"where": "generate", "status": 500, "times": 5},
    {"where": "generate", "status": 429, "retry_after": "2", "times": 2},
    {"where": "batch", "status": 500, "times": 5},
    {"where": "app", "status": 503, "times": 5},
    {"where": "rotate", "status": 503, "times": 3},
    {"where": "rotate", "status": 429, "times": 2},
)


class Faults:
    """Injects one at a fixed interval; the first gateway is never killed, so that its growth can be measured."""

    def __init__(self, cluster, wires, *, every=10.0):
        self._cluster, self._wires, self._every = cluster, {wire.name: wire for wire in wires}, every
        self.made = Counter()

    async def run(self, seconds):
        """Inject faults for `seconds`; return when everything is repaired."""
        until = anyio.current_time() + seconds
        kinds = [
            self.order, self.kill_gateway, self.stop_gateway, self.stop_store, self.kill_store, self.cut_store,
            self.cut_site,
        ]  # fmt: skip
        due = anyio.current_time()
        while due + self._every < until:
            random.shuffle(kinds)
            for kind in kinds:
                due += self._every
                if due + self._every >= until:
                    break
                await anyio.sleep_until(due)
                self.made[kind.__name__.replace("_", " ")] += 1
                await kind()
        await anyio.sleep(max(0.0, until - anyio.current_time()))

    async def order(self):
        async with aiohttp.ClientSession() as http:
            url = f"{self._cluster.site.origin}/simulator/faults"
            async with http.post(url, json=random.choice(ORDERS)) as response:
                assert response.status == 200

    async def kill_gateway(self):
        gateway = random.choice(self._cluster.gateways[1:])
        await gateway.killed()
        await gateway.start()

    async def stop_gateway(self):
        gateway = random.choice(self._cluster.gateways)
        gateway.signal(signal.SIGSTOP)
        await anyio.sleep(3)
        gateway.signal(signal.SIGCONT)

    async def stop_store(self):
        store = self._cluster.stores[0]
        store.pause()
        await anyio.sleep(4)
        store.go_on()

    async def kill_store(self):
        """It comes back empty."""
        store = self._cluster.stores[0]
        await anyio.to_thread.run_sync(store.kill)
        await anyio.sleep(2)
        await anyio.to_thread.run_sync(store.start)

    async def cut_store(self):
        await self._cut("store", 3)

    async def cut_site(self):
        await self._cut("site", 2)

    async def _cut(self, name, seconds):
        self._wires[name].cut()
        await anyio.sleep(seconds)
        self._wires[name].mend()
