"""A worker process: it serves, reloads on SIGHUP, and drains on SIGTERM or when its supervisor exits."""

import os
import signal
import socket
import time
from multiprocessing import get_context
from types import SimpleNamespace

import httpx2 as httpx
import pytest

from service.config.schema import load, origin_of
from service.gateway import Supervisor, run_gateway
from service.server.hypercorn import listen, url_of
from service.server.listeners import API

SETTINGS = """
[server]
loop = "asyncio"

[[licenses]]
id = "tester"
key_file = "key"

[transports.simulator]
"""
OLD_KEY, NEW_KEY = "sk-test-q7Lw9ZkT3vXn5RbY2mHc8JdF", "sk-test-fedcba9876543210"


def serve(path, listening, parent):
    """Run a worker in a process of its own."""
    supervisor = Supervisor(lambda: None, parent)
    store_path = path.with_name("store.sqlite3")
    run_gateway(
        load(path, {}), origin=origin_of(path), store_path=store_path, listening={API: listening}, supervisor=supervisor
    )


class Worker:
    """A worker that runs, and the supervisor's end of its socket pair."""

    def __init__(self, folder):
        self.folder, self.listening = folder, listen("127.0.0.1", 0, 16)
        self.url = url_of(self.listening)
        self.supervisor, theirs = socket.socketpair()
        self.supervisor.settimeout(60)
        self.process = get_context("spawn").Process(
            target=serve, args=(folder / "gateway.toml", self.listening, theirs), daemon=True
        )
        self.process.start()
        theirs.close()

    def status(self, key):
        return httpx.get(f"{self.url}/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

    def exit_status(self):
        self.process.join(60)
        return self.process.exitcode

    def close(self):
        self.process.kill()
        self.process.join()
        self.listening.close()
        self.supervisor.close()


@pytest.fixture
def worker(tmp_path):
    (tmp_path / "gateway.toml").write_text(SETTINGS)
    (tmp_path / "key").write_text(OLD_KEY)
    started = Worker(tmp_path)
    assert started.supervisor.recv(1) == b"1"  # it serves requests
    yield started
    started.close()


def test_sigterm_ends_an_idle_worker_without_an_error(worker):
    assert worker.status(OLD_KEY) == 200
    os.kill(worker.process.pid, signal.SIGTERM)
    assert worker.exit_status() == 0


def test_a_worker_ends_when_its_supervisor_exits(worker):
    worker.supervisor.close()
    assert worker.exit_status() == 0


def test_sighup_reloads_keys_and_ends_nothing(worker):
    (worker.folder / "key").write_text(NEW_KEY)
    os.kill(worker.process.pid, signal.SIGHUP)
    until = time.monotonic() + 60
    while worker.status(NEW_KEY) != 200:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert worker.status(OLD_KEY) == 401
    assert worker.process.is_alive()


async def test_the_operator_is_greeted_before_the_addresses_are_announced():
    calls = []

    async def greet(records):
        calls.append(records)

    supervisor = Supervisor(lambda: calls.append("started"), greet=greet)
    await supervisor.started(SimpleNamespace(records="records"))
    assert calls == ["records", "started"]


async def test_a_supervisor_that_has_exited_does_not_fail_the_start():
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        await Supervisor(lambda: None, theirs).started(SimpleNamespace(records=None))
        await Supervisor(lambda: None, theirs).wait_gone()
