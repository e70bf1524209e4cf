"""How hard pressed the process is: how late its event loop is, and how much of its memory is taken.

Each step takes more from callers than the one before, so that the last, the kernel's, is never reached.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from enum import IntEnum

from prometheus_client import CollectorRegistry, Gauge

from service.config.process import Overload
from transports.clock import Clock
from transports.tasks import background_tasks

_BEAT_SECONDS = 0.1
_REMEMBERED = 50
"""Beats that tell how late the loop is: those of five seconds."""
_NOT_WORST = 0.99
_LOOK_BEATS = 3
"""Memory is looked at with every third beat."""
_ALIVE_SECONDS = 5.0


class Step(IntEnum):
    """What is taken from callers."""

    NOTHING = 0
    LONG_BODIES = 1
    """Long bodies are refused."""
    CONNECTIONS = 2
    """And no connection is kept: a balancer asks others."""
    ALL = 3
    """And everything else but probes."""


def step_of(memory: float | None, lag: float, terms: Overload) -> Step:
    """Return what is to be taken from callers: by the memory, or by how late the loop is, whichever is worse."""
    pressed = max(memory or 0.0, lag / terms.lag_seconds)
    if pressed >= terms.refuse_at:
        return Step.ALL
    if pressed >= terms.close_at:
        return Step.CONNECTIONS
    return Step.LONG_BODIES if pressed >= terms.long_bodies_at else Step.NOTHING


class LoadMonitor:
    """Beats on the event loop, and sees how late each beat is."""

    def __init__(
        self, memory: Callable[[], float | None], clock: Clock, terms: Overload, registry: CollectorRegistry
    ) -> None:
        """Measure memory by `memory`, which says None where there is no limit."""
        self._memory, self._clock, self._terms = memory, clock, terms
        self._lags: deque[float] = deque(maxlen=_REMEMBERED)
        self._beaten = clock.monotonic()
        self.step = Step.NOTHING
        self.memory: float | None = None
        self.lag = 0.0
        """Of those of late, all beats but the worst hundredth were no later than that."""
        self._lag_shown = Gauge(
            "gateway_loop_lag_seconds",
            "How late the event loop is: the 99th percentile of five seconds.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._memory_shown = Gauge(
            "gateway_memory_ratio",
            "Memory taken, as a part of what the container may take; 0: there is no limit.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._step_shown = Gauge(
            "gateway_overload_step",
            "0: all is well; 1: long bodies are refused; 2: connections are closed; 3: all is refused.",
            registry=registry,
            multiprocess_mode="livemax",
        )

    @property
    def alive(self) -> bool:
        """Whether the loop has had a beat lately."""
        return self._clock.monotonic() - self._beaten < _ALIVE_SECONDS

    @property
    def strained(self) -> bool:
        """Whether others should be asked first."""
        return self.lag >= self._terms.ready_lag_seconds or (self.memory or 0.0) >= self._terms.refuse_at

    def beat(self, late: float) -> None:
        """Take a beat that came so late."""
        self._beaten = self._clock.monotonic()
        self._lags.append(max(0.0, late))
        self.lag = sorted(self._lags)[int(_NOT_WORST * (len(self._lags) - 1))]
        self.step = step_of(self.memory, self.lag, self._terms)
        self._lag_shown.set(self.lag)
        self._step_shown.set(self.step)

    def look(self) -> None:
        """See how much memory is taken."""
        self.memory = self._memory()
        self._memory_shown.set(self.memory or 0.0)

    async def run(self) -> None:
        """Beat for ever."""
        count = 0
        while True:
            if count % _LOOK_BEATS == 0:
                self.look()
            count += 1
            before = self._clock.monotonic()
            await self._clock.sleep(_BEAT_SECONDS)
            self.beat(self._clock.monotonic() - before - _BEAT_SECONDS)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Beat for as long as the context lasts."""
        async with background_tasks() as tasks:
            tasks.start_soon(self.run)
            yield
