"""Measures the load of the process and its container (cgroup v2 and v1), and refuses requests while it is overloaded.

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
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from protocol.http.context import context_of
from protocol.http.errors import Refuse
from protocol.model import Saturated
from service.config.schema import OverloadSettings
from service.server.health import PATHS
from transports.clock import Clock
from transports.tasks import background_tasks

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_PROCESS_CGROUPS = Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60
"""cgroup v1 reports no limit as a huge number."""
_CACHE = frozenset({"inactive_file", "active_file"})
"""Page cache, which the kernel drops when memory is short; files in a tmpfs are not included."""
_TOTAL_CACHE = frozenset(f"total_{name}" for name in _CACHE)

_BEAT_SECONDS = 0.1
_BEATS_KEPT = 50
"""Number of beats from which the lag is computed: those of five seconds."""
_PERCENTILE = 0.99
_MEMORY_BEATS = 3
"""Memory is measured on every third beat."""
_ALIVE_SECONDS = 5.0
_RETRY_SECONDS = 5.0


class _CgroupFiles:
    """The files of one cgroup; their names depend on the version of cgroups."""

    def __init__(self, folder: Path, limit: str, used: str, cache: frozenset[str]) -> None:
        self._limit, self._used, self._stat = folder / limit, folder / used, folder / "memory.stat"
        self._cache = cache

    def limit(self) -> int | None:
        try:
            limit = int(self._limit.read_text("ascii"))
        except (OSError, ValueError):  # there is no limit (`max`), or no file
            return None
        return limit if 0 < limit < _NO_LIMIT else None

    def ratio(self) -> float | None:
        """Return the memory in use, without page cache, as a ratio of the limit."""
        limit = self.limit()
        if limit is None:
            return None
        try:
            used = int(self._used.read_text("ascii"))
            for line in self._stat.read_text("ascii").splitlines():
                name, _, value = line.partition(" ")
                if name in self._cache:
                    used -= int(value)
        except (OSError, ValueError):
            return None
        return max(0, used) / limit


class CgroupMemory:
    """The memory of this process's cgroup and its parents that have a limit."""

    def __init__(self, root: Path = _CGROUP_ROOT, groups: Path = _PROCESS_CGROUPS) -> None:
        """Find the files of the cgroups; without any, there is no limit."""
        try:
            lines = groups.read_text("utf-8").splitlines()
        except OSError:
            lines = []
        found: list[_CgroupFiles] = []
        for line in lines:
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if not controllers:
                names = ("memory.max", "memory.current", _CACHE)
                found += [_CgroupFiles(folder, *names) for folder in _folders(root, path)]
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", _TOTAL_CACHE)
                found += [_CgroupFiles(folder, *names) for folder in _folders(root / "memory", path)]
        self._files = [files for files in found if files.limit() is not None]

    def ratio(self) -> float | None:
        """Return memory in use as a ratio of the limit, of the fullest cgroup; None: there is no limit."""
        return max((ratio for files in self._files if (ratio := files.ratio()) is not None), default=None)

    def limit(self) -> int | None:
        """Return the lowest limit in bytes; None: there is no limit."""
        return min((limit for files in self._files if (limit := files.limit()) is not None), default=None)


def _folders(root: Path, path: str) -> list[Path]:
    """Return the folders of a cgroup and its parents; in a container, the cgroup may be the root itself."""
    folder = root / path.lstrip("/")
    folders = [each for each in (folder, *folder.parents) if each.is_relative_to(root)]
    return [each for each in folders or [root] if each.is_dir()]


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


class LoadShedding:
    """Middleware of the whole API that sheds load by the monitor's step."""

    def __init__(self, app: Any, monitor: LoadMonitor, long_body_bytes: int, refuse: Refuse) -> None:
        """Pass requests on to `app` unless the load forbids it; `refuse` writes the error of refused ones."""
        self._app, self._monitor, self._long_body_bytes, self._refuse = app, monitor, long_body_bytes, refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle the request."""
        step = self._monitor.step
        if step is OverloadStep.NOTHING or scope["type"] != "http" or scope["path"] in PATHS:
            await self._app(scope, receive, send)
            return

        async def send_closing(message: Any) -> None:
            if message["type"] == "http.response.start":
                named = {name for name, _ in message["headers"]}
                more = [] if b"connection" in named else [(b"connection", b"close")]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        answer = send_closing if step >= OverloadStep.CONNECTIONS else send
        if step is OverloadStep.ALL:
            await self._refused("The gateway is overloaded. Retry later.", scope, receive, answer)
        elif self._is_long(scope):
            message = "The gateway is too loaded for a request body of this length. Retry later."
            await self._refused(message, scope, receive, answer)
        else:
            await self._app(scope, receive, answer)

    def _is_long(self, scope: Any) -> bool:
        """Return whether a request's body is long, or of unknown length."""
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        return b"transfer-encoding" in headers or (length.isdigit() and int(length) > self._long_body_bytes)

    async def _refused(self, message: str, scope: Any, receive: Any, send: Any) -> None:
        error = Saturated(message, retry_after=_RETRY_SECONDS)
        context_of(scope).record.error = error.code
        await self._refuse(error)(scope, receive, send)
