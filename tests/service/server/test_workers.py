"""The supervisor, over workers that are a few lines of Python."""

import sys

import pytest

from service.server.hypercorn import listen
from service.server.workers import RestartBackoff, Workers

PRELUDE = """
import os, signal, socket, sys, time
parent = socket.socket(fileno=int(sys.argv[sys.argv.index("--parent") + 1]))
mark = lambda: open("lives", "a").write("x")
"""


@pytest.fixture
def supervise(tmp_path, monkeypatch):
    """Run workers of the given code; return exit status, how many lives they had, how often one answered first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    listening = listen("127.0.0.1", 0, 16)

    def run(code, count=1):
        ready_calls = []
        command = [sys.executable, "-c", PRELUDE + code]
        status = Workers(
            command, {"api": listening}, count, lambda: ready_calls.append(1), RestartBackoff(first=0.01, most=0.05)
        ).run()
        lives = tmp_path / "lives"
        return status, len(lives.read_text()) if lives.exists() else 0, len(ready_calls)

    yield run
    listening.close()


STOP = "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)\n"


def test_a_worker_stopped_before_it_listens_ends_with_status_0(supervise):
    assert supervise(STOP) == (0, 0, 0)


def test_workers_that_never_become_ready_end_the_supervisor(supervise):
    assert supervise("mark()\nsys.exit(3)\n") == (3, 3, 0)
    assert supervise("os.kill(os.getpid(), signal.SIGKILL)\n")[0] == 137


def test_invalid_settings_end_the_supervisor_at_once(supervise):
    assert supervise("mark()\nsys.exit(78)\n") == (78, 1, 0)


def test_a_worker_that_dies_after_a_successful_start_is_restarted(supervise):
    code = f"""
mark()
parent.send(b"1")
if os.path.getsize("lives") < 5:
    sys.exit(78)
{STOP}
"""
    assert supervise(code) == (0, 5, 1)


def test_the_restart_backoff_grows_up_to_its_limit():
    backoff = RestartBackoff(1.0, 30.0)
    assert [backoff.seconds(failures) for failures in (0, 1, 2, 3, 10, 1000)] == [1, 2, 4, 8, 30, 30]
