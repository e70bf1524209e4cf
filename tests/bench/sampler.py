"""Runs the gateway's command and samples where its processor time goes: `sampler FILE serve …` writes FILE at the end.

A timer of processor time interrupts it; what it is doing then is counted. A C function counts as its caller, and
what the event loop, the kernel and the garbage collector do counts, in part, as the Python code that comes next.
"""

import asyncio.runners
import json
import signal
import sys
import sysconfig
from collections import Counter
from pathlib import Path

_EVERY_SECONDS = 0.002
_PACKAGES = sysconfig.get_path("purelib") + "/"
_ROOT = str(Path(__file__).parents[2]) + "/"
_OURS = tuple(f"{_ROOT}{room}/" for room in ("service", "protocol", "transports"))
_LOOP = asyncio.runners.__file__
"""What stands above it on the stack is a callback's or a task's."""
_LOOP_ALONE = "event loop"
BEGIN = signal.SIGUSR2
"""Has the sampler forget what it has seen, which is the start."""


class Sampler:
    """Counts samples, by package and by function of ours; the standard library counts as its caller."""

    def __init__(self):
        self.samples = 0
        self.packages = Counter()
        self.own, self.whole = Counter(), Counter()
        """Samples in a function of ours, and in it or in the libraries it calls."""

    def begin(self, *_):
        """Forget what was seen."""
        self.samples = 0
        for counted in (self.packages, self.own, self.whole):
            counted.clear()

    def start(self):
        signal.signal(BEGIN, self.begin)
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_SECONDS, _EVERY_SECONDS)

    def stop(self):
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _sample(self, _, frame):
        package = None
        while frame is not None and frame.f_code.co_filename != _LOOP:
            file = frame.f_code.co_filename
            innermost = package is None
            package = package or _package(file)
            if file.startswith(_OURS):
                name = f"{file.removeprefix(_ROOT)}: {frame.f_code.co_qualname}"
                self.whole[name] += 1
                self.own[name] += innermost
                break
            frame = frame.f_back
        self.samples += 1
        self.packages[package or _LOOP_ALONE] += 1

    def write(self, path):
        functions = {name: (self.own[name], count) for name, count in self.whole.items()}
        path.write_text(json.dumps({"samples": self.samples, "packages": self.packages, "functions": functions}))


def _package(file):
    """Return the package of a file, None for the standard library's."""
    root = next((root for root in (_PACKAGES, _ROOT) if file.startswith(root)), None)
    return file.removeprefix(root).partition("/")[0] if root else None


class Profile:
    """Samples, read back, as shares of the processor time of one unit of work."""

    def __init__(self, sampled, seconds):
        self.samples = sampled["samples"]
        self.seconds = seconds
        """Processor seconds of one unit."""
        self.packages = {name: count / self.samples for name, count in sampled["packages"].items()}
        self.functions = {
            name: (own / self.samples, whole / self.samples) for name, (own, whole) in sampled["functions"].items()
        }


def read(path, seconds):
    """Return the profile of a file whose process spent `seconds` of processor time on each unit of work."""
    return Profile(json.loads(path.read_text()), seconds)


if __name__ == "__main__":
    from service.cli.main import main

    target = Path(sys.argv.pop(1))
    sampler = Sampler()
    sampler.start()
    try:
        main()
    finally:
        sampler.stop()
        sampler.write(target)
