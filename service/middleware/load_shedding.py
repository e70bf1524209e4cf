"""Measures the load of the process and refuses requests while it is overloaded.

The load is memory use or event loop lag, whichever is worse, as a ratio of its limit. It selects an `OverloadStep`;
each step refuses more than the one before, so that the kernel never has to kill the process. With the default settings,
in a container of 512 MiB:

    435 MiB (85 %)   long bodies are refused with 503
    471 MiB (92 %)   connections are closed after each response too, so that a load balancer uses other replicas
    486 MiB (95 %)   every request except probes is refused with 503

The lag is the 99th percentile of how late recent beats of a timer were; `lag_seconds` counts as a load of 100 %.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from protocol.http.body import UNREAD, discard_body
from protocol.http.context import context_of
from protocol.http.errors import Refuse
from protocol.model import Saturated
from service.config.schema import OverloadSettings
from service.server.health import PATHS
from transports.tasks import Clock, background_tasks

_BEAT_SECONDS = 0.1
_BEATS_KEPT = 50
"""Number of beats from which the lag is computed: those of five seconds."""
_PERCENTILE = 0.99
_MEMORY_BEATS = 3
"""Memory is measured on every third beat."""
_ALIVE_SECONDS = 5.0


class OverloadStep(IntEnum):
    """What `LoadShedding` refuses."""

    NOTHING = 0
    LONG_BODIES = 1
    """Long bodies are refused."""
    CONNECTIONS = 2
    """Connections are closed after each response too, so that a load balancer uses other replicas."""
    ALL = 3
    """Every request except probes is refused."""


def overload_step(memory: float | None, lag: float, terms: OverloadSettings) -> OverloadStep:
    """Return the step for a memory ratio and a loop lag, whichever is worse."""
    load = max(memory or 0.0, lag / terms.lag_seconds)
    if load >= terms.refuse_all_at:
        return OverloadStep.ALL
    if load >= terms.close_connections_at:
        return OverloadStep.CONNECTIONS
    return OverloadStep.LONG_BODIES if load >= terms.refuse_long_bodies_at else OverloadStep.NOTHING


class LoadMonitor:
    """Measures loop lag with a periodic beat, and memory use."""

    def __init__(
        self, memory: Callable[[], float | None], clock: Clock, terms: OverloadSettings, registry: CollectorRegistry
    ) -> None:
        """Measure memory with `memory`, which returns None if there is no limit."""
        self._memory, self._clock, self._terms = memory, clock, terms
        self._lags: deque[float] = deque(maxlen=_BEATS_KEPT)
        self._last_beat = clock.monotonic()
        self.step = OverloadStep.NOTHING
        self.memory: float | None = None
        self.lag = 0.0
        """The 99th percentile of the lag of recent beats, in seconds."""
        self._lag_shown = Gauge(
            "gateway_event_loop_lag_seconds",
            "Event loop lag: the 99th percentile of the last five seconds.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._memory_shown = Gauge(
            "gateway_memory_usage_ratio",
            "Memory in use as a ratio of the container's limit; 0 if there is no limit.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._step_shown = Gauge(
            "gateway_load_shedding_level",
            "Load shedding: 0 none, 1 refuses long bodies, 2 also closes connections, 3 refuses all requests.",
            registry=registry,
            multiprocess_mode="livemax",
        )

    @property
    def alive(self) -> bool:
        """Whether the event loop has run a beat recently."""
        return self._clock.monotonic() - self._last_beat < _ALIVE_SECONDS

    @property
    def overloaded(self) -> bool:
        """Whether load balancers should prefer other replicas."""
        return self.lag >= self._terms.ready_lag_seconds or (self.memory or 0.0) >= self._terms.refuse_all_at

    def record_lag(self, late: float) -> None:
        """Record a beat that was `late` seconds late."""
        self._last_beat = self._clock.monotonic()
        self._lags.append(max(0.0, late))
        self.lag = sorted(self._lags)[int(_PERCENTILE * (len(self._lags) - 1))]
        self.step = overload_step(self.memory, self.lag, self._terms)
        self._lag_shown.set(self.lag)
        self._step_shown.set(self.step)

    def measure_memory(self) -> None:
        """Measure memory use."""
        self.memory = self._memory()
        self._memory_shown.set(self.memory or 0.0)

    async def run(self) -> None:
        """Beat until cancelled."""
        count = 0
        while True:
            if count % _MEMORY_BEATS == 0:
                self.measure_memory()
            count += 1
            before = self._clock.monotonic()
            await self._clock.sleep(_BEAT_SECONDS)
            self.record_lag(self._clock.monotonic() - before - _BEAT_SECONDS)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Run the monitor until the context exits."""
        async with background_tasks() as tasks:
            tasks.start_soon(self.run)
            yield


_RETRY_SECONDS = 5.0


class LoadShedding:
    """Middleware of the whole API that sheds load by the monitor's step."""

    def __init__(self, app: Any, monitor: LoadMonitor, long_body_bytes: int, refuse: Refuse) -> None:
        """Pass requests on to `app` unless the load forbids it; `refuse` writes the error of refused ones."""
        self._app, self._monitor, self._long_body_bytes, self._refuse = app, monitor, long_body_bytes, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one connection's scope."""
        step = self._monitor.step
        if step is OverloadStep.NOTHING or scope["type"] != "http" or scope["path"] in PATHS:
            await self._app(scope, receive, send)
            return
        if step >= OverloadStep.CONNECTIONS:
            send = _closing_connection(send)
        if step is OverloadStep.ALL:
            await self._refused("The gateway is overloaded. Retry later.", scope, receive, send)
        elif self._is_long(scope):
            message = "The gateway is too loaded for a request body of this length. Retry later."
            await self._refused(message, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_long(self, scope: Any) -> bool:
        """Return whether a request's body is long, or of unknown length."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        return b"transfer-encoding" in headers or (length.isdigit() and int(length) > self._long_body_bytes)

    async def _refused(self, message: str, scope: Any, receive: Any, send: Any) -> None:
        error = Saturated(message, retry_after=_RETRY_SECONDS)
        context_of(scope).record.error = error.code
        if self._is_long(scope):
            await discard_body(scope, receive)
        else:
            scope[UNREAD] = True
        await self._refuse(error)(scope, receive, send)


def _closing_connection(send: Any) -> Any:
    """Wrap `send` so that the connection is closed after the response."""

    async def closing(message: Any) -> None:
        if message["type"] == "http.response.start":
            named = {name for name, _ in message["headers"]}
            more = [] if b"connection" in named else [(b"connection", b"close")]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return closing
