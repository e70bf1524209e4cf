"""The processes of a run: each is started here and is always ended here."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import psutil

ROOT = Path(__file__).parents[2]
KEY = "sk-bench-0123456789abcdef"
_LIFETIME_SECONDS = 420
"""No process lives longer, even if it is not ended: an alarm survives exec."""
_PARENT_DEATH_SIGNAL = 1
"""Linux's PR_SET_PDEATHSIG."""
_SCHEDULED_TIME = 2
"""Linux's CPUCLOCK_SCHED, in the id of another process's clock."""
_LIBRARY = ctypes.CDLL(None)
_STOP_SECONDS = 15.0
_LEFT_OUT = ("GEMINI_GATEWAY", "PYTHONDONTWRITEBYTECODE")
"""Variables that a child does not get: an installed gateway has its bytecode; without it a start takes 200 ms more."""

_SETTINGS = """
[server]
port = 0
workers = {workers}

[limits]
concurrency = 100000

[drain]
grace_seconds = 1

[store]
{store}
"""

_SITE = """
[transports.web]
rotate_seconds = 0
activity_seconds = 0
guest = false
hosts = {{ site = "{upstream}", accounts = "{upstream}", upload = "{upstream}" }}
"""

_LICENSE = """
[[licenses]]
id = "bench-{number}"
key = "{key}"
"""

_ACCOUNT = """
[[transports.web.accounts]]
id = "bench-{number}"
cookies = "__Secure-1PSID=a{number}; __Secure-1PSIDTS=b"
concurrency = 100000
per_minute = 0
"""


_OFFICIAL = """
[transports.api]
base_url = "{upstream}"
[[transports.api.accounts]]
id = "bench"
key = "AIzaBench"
concurrency = 100000
"""


class BenchError(Exception):
    """A run that measured nothing."""


def _bound():
    """Bind a child's life to a time, and to ours where the system can do that."""
    signal.alarm(_LIFETIME_SECONDS)
    if sys.platform == "linux":
        _LIBRARY.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


class Child:
    """A process that says where it listens."""

    program = (sys.executable, "-u")
    start_seconds = 20.0
    environment: ClassVar = {}

    def __init__(self, name, arguments, folder, cpus):
        self.name = name
        self._log = (Path(folder) / f"{name}-{time.monotonic_ns()}.log").open("w+b")
        self._popen = subprocess.Popen(
            [*self.program, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={k: v for k, v in os.environ.items() if not k.startswith(_LEFT_OUT)} | self.environment,
            start_new_session=True,
            preexec_fn=_bound,  # noqa: PLW1509 -- no threads here
        )
        pin(self._popen.pid, cpus)
        self._process = psutil.Process(self._popen.pid)

    def url(self):
        """Wait for the line with the address; return it."""
        until = time.monotonic() + self.start_seconds
        while time.monotonic() < until and self._popen.poll() is None:
            found = self.found()
            if found is not None:
                return found
            time.sleep(0.02)
        raise BenchError(f"{self.name} did not start:\n{self.said()}")

    def found(self):
        """Return the address, None while it is not there."""
        lines = [line for line in self.said().splitlines() if "Listening on " in line]
        return lines[0].rpartition(" ")[2].strip() if lines else None

    def said(self):
        return Path(self._log.name).read_text("utf-8", "replace")

    @property
    def pid(self):
        return self._popen.pid

    def pids(self):
        """Return its id and those of its children."""
        return [one.pid for one in [self._process, *self._process.children(recursive=True)]]

    def cpu(self):
        """Return the processor seconds that it and its children have used."""
        return sum(map(_cpu, [self._process, *self._process.children(recursive=True)]))

    def memory(self):
        """Return the bytes of memory that it and its children hold."""
        return sum(one.memory_info().rss for one in [self._process, *self._process.children(recursive=True)])

    def stop(self):
        """Ask it to end, and wait until it has."""
        self._popen.terminate()
        try:
            self._popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.name} did not stop:\n{self.said()}") from None

    def end(self):
        """End it at once: nothing of it is kept."""
        self._popen.kill()
        self._popen.wait()
        self._log.close()


def _cpu(process):
    """Return a process's processor seconds: Linux counts them in nanoseconds, where the process has a clock."""
    if sys.platform == "linux":
        return time.clock_gettime(~process.pid << 3 | _SCHEDULED_TIME)
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def started(name, arguments, folder, cpus, kind=Child):
    """Run a child for as long as the context lasts; yield it and its address."""
    child = kind(name, arguments, folder, cpus)
    try:
        yield child, child.url()
    finally:
        child.end()


class Setup(NamedTuple):
    """How a gateway is set up."""

    upstream: str
    store: str = 'path = "gateway.sqlite3"'
    """The lines of the settings' section."""
    workers: int = 1
    accounts: int = 1
    licenses: int = 1
    runner: tuple = ("-m", "service")
    official: bool = False
    """Whether it asks the official API instead of the site."""

    def arguments(self, folder):
        """Return the arguments of its process, whose files are in a folder of its own."""
        folder.mkdir(exist_ok=True)
        settings = folder / "gateway.toml"
        text = _SETTINGS.format(store=self.store, workers=self.workers)
        keys = [KEY, *(f"sk-bench-other-{number:012}" for number in range(1, self.licenses))]
        text += "".join(_LICENSE.format(number=number, key=key) for number, key in enumerate(keys))
        text += (_OFFICIAL if self.official else _SITE).format(upstream=self.upstream)
        if not self.official:
            text += "".join(_ACCOUNT.format(number=number) for number in range(self.accounts))
        settings.write_text(text)
        return [*self.runner, "serve", "--config", str(settings)]


def passthrough(url):
    """Return the arguments of a pass-through to a URL."""
    return ["-m", "tests.bench.passthrough", url]


def pin(pid, cpus):
    """Keep a process on some processors, where that can be done."""
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cpus)


@contextmanager
def first(*pids):
    """Have the system run processes before all others, where it allows that."""
    try:
        if may_be_first():
            _schedule(pids, os.SCHED_RR, 1)
        yield
    finally:
        if may_be_first():
            _schedule(pids, os.SCHED_OTHER, 0)


@cache
def may_be_first():
    """Return whether the system lets processes run before all others: Linux lets root's."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except (AttributeError, PermissionError):
        return False
    return True


def _schedule(pids, policy, priority):
    for pid in pids:
        for thread in psutil.Process(pid).threads():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.sched_setscheduler(thread.id, policy, os.sched_param(priority))


def shares():
    """Return the processors for the subject and those for everything else; empty on a single processor."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (set(cpus[:1]), set(cpus[1:])) if len(cpus) > 1 else (set(), set())


def raise_open_files():
    """Let this process, and those it starts, open as many files as they may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
