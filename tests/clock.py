"""A clock that a test moves."""

import anyio
import anyio.lowlevel


class ManualClock:
    """Stands still until `advance`, which wakes the sleepers whose time has come."""

    def __init__(self, now=1000.0):
        self.now = now
        self.sleepers = 0
        self._moved = anyio.Event()
        self._asleep = anyio.Event()

    def monotonic(self):
        return self.now

    def wall(self):
        return 1_700_000_000.0 + self.now

    async def sleep(self, seconds):
        until = self.now + seconds
        self.sleepers += 1
        self._asleep.set()
        self._asleep = anyio.Event()
        try:
            while self.now < until:
                await self._moved.wait()
        finally:
            self.sleepers -= 1

    async def until_asleep(self, sleepers=1):
        await anyio.lowlevel.checkpoint()
        while self.sleepers < sleepers:
            await self._asleep.wait()

    def advance(self, seconds):
        self.now += seconds
        self._moved.set()
        self._moved = anyio.Event()
