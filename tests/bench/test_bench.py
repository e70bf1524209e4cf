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


def test_a_quick_run_reports_figures_with_their_goals_and_where_the_time_goes():
    with bench() as running:
        output, errors = running.communicate(timeout=280)
    assert running.returncode == 0, errors
    for measure in ("a short chat", "100 events at once", "a paced chunk", "200 kB of history", "in a crowd", "Valkey"):
        row = next(line for line in output.splitlines() if measure in line and "goal" not in line)
        assert row.endswith((": met", ": missed")), row
    for part in ("5 accounts against 3", "memory of an open stream", "the bottleneck", "µs   service/"):
        assert part in output


def test_a_stopped_run_ends_its_children():
    with bench() as running:
        assert "round 1" in running.stderr.readline()
        children = psutil.Process(running.pid).children(recursive=True)
        assert len(children) >= 3
        running.terminate()
        assert running.wait(timeout=30) != 0
    assert not [child for child in children if child.is_running()]
