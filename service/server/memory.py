"""Measures the memory of the container (cgroup v2 and v1) and returns freed memory to the system."""

import ctypes
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread

from protocol.http.budget import ByteBudget
from transports.tasks import Clock, background_tasks, every

_ROOT = Path("/sys/fs/cgroup")
_GROUPS = Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60
"""cgroup v1 reports no limit as a huge number."""
_CACHE = frozenset({"inactive_file", "active_file"})
"""Page cache, which the kernel drops when memory is short; files in a tmpfs are not included."""
_TOTAL_CACHE = frozenset(f"total_{name}" for name in _CACHE)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_BYTES = 1024 * 1024
"""Larger than a block of a body: mapping memory for each block would take longer than decoding it."""
_TRIM_BYTES = 4 * 1024 * 1024
_ARENAS = 2
_BURST_BYTES = 16 * 1024 * 1024
_LOOK_SECONDS = 1.0


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

    def __init__(self, root: Path = _ROOT, groups: Path = _GROUPS) -> None:
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


def set_allocator() -> None:
    """Configure glibc's allocator to return freed memory to the system.

    By default, glibc raises its mmap threshold to the size of the largest freed object. Large objects then come from
    the heap, where freed memory stays allocated between objects that live on, once per thread.
    """
    mallopt = _libc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)


class MemoryTrimmer:
    """Returns freed memory to the system after many or long bodies."""

    def __init__(self, budget: ByteBudget, clock: Clock) -> None:
        """Watch the memory that bodies take from `budget`."""
        self._budget, self._clock = budget, clock
        self._trim = _libc("malloc_trim")

    async def trim_if_unused(self) -> None:
        """Return memory to the system if bodies used much since the last check and use little now."""
        budget = self._budget
        if self._trim is not None and budget.peak >= _BURST_BYTES and budget.used <= budget.peak // 4:
            budget.peak = budget.used
            await anyio.to_thread.run_sync(self._trim, 0)

    async def run(self) -> None:
        """Check every second until cancelled."""
        await every(_LOOK_SECONDS, self.trim_if_unused, self._clock, wait=True)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Check every second until the context exits."""
        async with background_tasks() as tasks:
            tasks.start_soon(self.run)
            yield


def _libc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library, or None."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None


def _folders(root: Path, path: str) -> list[Path]:
    """Return the folders of a cgroup and its parents; in a container, the cgroup may be the root itself."""
    folder = root / path.lstrip("/")
    folders = [each for each in (folder, *folder.parents) if each.is_relative_to(root)]
    return [each for each in folders or [root] if each.is_dir()]
