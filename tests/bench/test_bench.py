"""The benchmark works, and leaves nothing behind."""

import subprocess
import sys
from contextlib import contextmanager

import psutil

from tests.conftest import ROOT


@contextmanager
def bench():
    command = [sys.executable, "-m", "tests.bench", "--quick"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()


def test_a_quick_run_tells_ratios_and_where_the_time_goes():
    with bench() as running:
        told, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    for measure in ("chat requests", "streamed chunks", "paced chunks"):
        row = next(line for line in told.splitlines() if line.startswith(measure))
        assert "aim of 0.5 " in row
    for part in ("time to first token, p99", "memory with 50 open streams", "the bottleneck", "µs   service/"):
        assert part in told


def test_a_run_that_is_stopped_ends_its_children():
    with bench() as running:
        assert "round 1" in running.stderr.readline()
        children = psutil.Process(running.pid).children(recursive=True)
        assert len(children) >= 3
        running.terminate()
        assert running.wait(timeout=30) != 0
    assert not [child for child in children if child.is_running()]
