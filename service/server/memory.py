"""Measures the memory of the container (cgroup v2 and v1) and returns freed memory to the system."""

import ctypes
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread

from protocol.http.budget import ByteBudget
from transports.clock import Clock
from transports.tasks import background_tasks, every

_ROOT = Path("/sys/fs/cgroup")
_GROUPS = Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60
"""cgroup v1 says no limit by a number that no machine has."""
_CACHE = frozenset({"inactive_file", "active_file"})
"""Content of files, which the kernel drops when memory is short. Files in a tmpfs are not counted there."""
_TOTAL_CACHE = frozenset(f"total_{name}" for name in _CACHE)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MMAP_BYTES = 1024 * 1024
"""More than a block of a body: to map memory for each of them takes longer than to decode it."""
_TRIM_BYTES = 4 * 1024 * 1024
_ARENAS = 2
_BURST_BYTES = 16 * 1024 * 1024
_LOOK_SECONDS = 1.0


class _CgroupFiles:
    """One group's files, by the names that its version of cgroups has for them."""

    def __init__(self, folder: Path, limit: str, used: str, cache: frozenset[str]) -> None:
        self._limit, self._used, self._stat = folder / limit, folder / used, folder / "memory.stat"
        self._cache = cache

    def limit(self) -> int | None:
        try:
            limit = int(self._limit.read_text("ascii"))
        except (OSError, ValueError):  # there is none, or it is the word `max`
            return None
        return limit if 0 < limit < _NO_LIMIT else None

    def ratio(self) -> float | None:
        """Return what is taken, without files' content that the kernel gives back at once, as a part of the limit."""
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


class Memory:
    """The memory of this process's group, and of those that it is part of, whichever have a limit."""

    def __init__(self, root: Path = _ROOT, groups: Path = _GROUPS) -> None:
        """Find out which files tell; where none does, nothing is ever short."""
        self._files = [files for files in _found(root, groups) if files.limit() is not None]

    def ratio(self) -> float | None:
        """Return how much of the limit is taken, of the group that has the least left; None: there is no limit."""
        return max((ratio for files in self._files if (ratio := files.ratio()) is not None), default=None)

    def limit(self) -> int | None:
        """Return the least limit, in bytes; None: there is none."""
        return min((limit for files in self._files if (limit := files.limit()) is not None), default=None)


def set_allocator() -> None:
    """Have the allocator keep little of what is freed; only glibc's has to be told.

    By default it raises the size from which it maps memory of its own for an object to that of the largest one that
    was freed, and then keeps freed memory between objects that live on; and it does so once per thread.
    """
    mallopt = _libc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)


class Trimmer:
    """Gives freed memory back to the system after many or long bodies."""

    def __init__(self, budget: ByteBudget, clock: Clock) -> None:
        """Look at what bodies hold of `budget`."""
        self._budget, self._clock = budget, clock
        self._trim = _libc("malloc_trim")

    async def look(self) -> None:
        """Give memory back where bodies held much since the last time, and hold little now."""
        budget = self._budget
        if self._trim is not None and budget.peak >= _BURST_BYTES and budget.used <= budget.peak // 4:
            budget.peak = budget.used
            await anyio.to_thread.run_sync(self._trim, 0)

    async def run(self) -> None:
        """Look for ever."""
        await every(_LOOK_SECONDS, self.look, self._clock, wait=True)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Look for as long as the context lasts."""
        async with background_tasks() as tasks:
            tasks.start_soon(self.run)
            yield


def _libc(name: str) -> Callable[..., int] | None:
    """Return a function of the C library; None: it has none of that name."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None


def _found(root: Path, groups: Path) -> list[_CgroupFiles]:
    try:
        lines = groups.read_text("utf-8").splitlines()
    except OSError:
        return []
    found: list[_CgroupFiles] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            folders = _up(root, path)
            found += [_CgroupFiles(folder, "memory.max", "memory.current", _CACHE) for folder in folders]
        elif "memory" in controllers.split(","):
            folders = _up(root / "memory", path)
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            found += [_CgroupFiles(folder, *names, _TOTAL_CACHE) for folder in folders]
    return found


def _up(root: Path, path: str) -> list[Path]:
    """Return a group's folder and those above it; in a container its own may be the root, whatever it is called."""
    folder = root / path.lstrip("/")
    inside = [above for above in (folder, *folder.parents) if above.is_relative_to(root)]
    return [above for above in inside or [root] if above.is_dir()]
