"""The processes of a gateway with replicas: a simulated site, a Redis, and gateways; each can be killed and stopped."""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import anyio
import msgspec
import psutil

from tests.conftest import KEY, ROOT
from tests.servers import RedisServer, free_port, programs
from transports import simulator

CONCURRENCY = 3
PACE = simulator.Pace(first_token_seconds=0.1, tokens_per_second=0.0)


class Process:
    """A Python module of this repository as a process; each of its lines is read as soon as it is written."""

    def __init__(self, folder, name, *words, port):
        self.name, self.port, self.log = name, port, Path(folder) / f"{name}.log"
        self.hear = None
        self.last = deque(maxlen=40)
        self._words, self._popen, self._up = words, None, threading.Event()

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self._popen.pid

    @property
    def is_up(self):
        return self._up.is_set() and self._popen.poll() is None

    async def start(self, seconds=60):
        """Start it, again after its end; return when it listens."""
        self._up.clear()
        self._popen = subprocess.Popen(
            [sys.executable, "-u", "-m", *self._words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self._popen,), daemon=True).start()
        if not await anyio.to_thread.run_sync(self._up.wait, seconds) or not self.is_up:
            raise AssertionError(f"{self.name} did not start:\n" + b"".join(self.last).decode("utf-8", "replace"))

    def _read(self, popen):
        with self.log.open("ab", buffering=0) as log, popen.stderr:
            for line in popen.stderr:
                self.last.append(line)
                if b"Listening" in line:
                    self._up.set()
                elif self.hear is not None:
                    self.hear(self, line)
                log.write(line)
        self._up.set()  # it has ended: end the wait for its start

    def signal(self, number):
        os.kill(self._popen.pid, number)

    async def killed(self):
        """End it as a crash would, and wait until it is gone."""
        self._up.clear()
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
        await anyio.to_thread.run_sync(self._popen.wait)

    async def stop(self, seconds=20):
        """End it in good order; return its status."""
        if self._popen is None or self._popen.poll() is not None:
            return None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return await anyio.to_thread.run_sync(self._popen.wait, seconds)
        except subprocess.TimeoutExpired:
            await self.killed()
            return None

    def usage(self):
        """Return what it uses now: memory in MB, descriptors, threads, sockets."""
        try:
            process = psutil.Process(self._popen.pid)
            with process.oneshot():
                return {
                    "memory MB": process.memory_info().rss / 1e6,
                    "descriptors": process.num_fds(),
                    "threads": process.num_threads(),
                    "sockets": len(process.net_connections()),
                }
        except psutil.Error:
            return None


class Cluster:
    """All processes; `store` names the store of each gateway, by default the same for all."""

    def __init__(self, folder, *, accounts, divisor, site, gateways=3, apart=False, rotate_seconds, wires=()):
        self.folder, self._divisor, self._rotate_seconds = Path(folder), divisor, rotate_seconds
        self._count = gateways
        self.accounts = [f"a{number:02}" for number in range(accounts)]
        known = tuple(
            simulator.SimulatedAccount(psid=f"canary-psid-{name}-{os.urandom(6).hex()}", psidts=f"canary-first-{name}")
            for name in self.accounts
        )
        self.secrets = [text for account in known for text in (account.psid, account.psidts)] + [KEY]
        config = simulator.SimulatorConfig(accounts=known, pace=PACE, rotation_interval_seconds=0, **site)
        (self.folder / "site.json").write_bytes(msgspec.json.encode(config))
        port = free_port()
        self.site = Process(folder, "site", "tests.chaos.site", str(port), str(self.folder / "site.json"), port=port)
        self.stores = [RedisServer(programs()["redis"]) for _ in range(gateways if apart else 1)]
        self._wires = {wire.name: wire for wire in wires}
        for name, target in (("site", self.site), ("store", self.stores[0])):
            if name in self._wires:
                self._wires[name].target = target.port
        exports = [simulator.export_of(account) for account in known]
        self.gateways = [self._gateway(number, exports) for number in range(gateways)]

    def _gateway(self, number, exports):
        folder, port = self.folder / f"gateway-{number}", free_port()
        folder.mkdir()
        store = self._wires.get("store", self.stores[number % len(self.stores)])
        site = f"http://127.0.0.1:{self._wires.get('site', self.site).port}"
        accounts = "".join(
            f'[[transports.web.accounts]]\nid = "{name}"\ncookies = "{export}"\n'
            f"concurrency = {CONCURRENCY}\nper_minute = 0\n"
            for name, export in zip(self.accounts, exports, strict=True)
        )
        settings = f"""
[server]
port = {port}
[drain]
grace_seconds = 3
[log]
level = "debug"
format = "json"
[store]
url = "redis://127.0.0.1:{store.port}/0"
local_replica_path = "{folder / "copy.sqlite3"}"
min_processes = {self._count}
[pool]
slot_ttl_seconds = 6
[deadlines]
chat_seconds = 20
[[licenses]]
id = "tester"
key = "{KEY}"
[transports.web]
guest = false
rotate_seconds = {self._rotate_seconds}
reuse_seconds = 0
[transports.web.hosts]
site = "{site}"
accounts = "{site}"
upload = "{site}"
{accounts}"""
        (folder / "gateway.toml").write_text(settings)
        words = ("tests.chaos.gateway", str(self._divisor), "serve", "--config", str(folder / "gateway.toml"))
        return Process(self.folder, f"gateway-{number}", *words, port=port)

    async def __aenter__(self):
        try:
            for store in self.stores:
                await anyio.to_thread.run_sync(store.start)
            await self.site.start()
            async with anyio.create_task_group() as tasks:
                for gateway in self.gateways:
                    tasks.start_soon(gateway.start)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_):
        await self._stop()

    async def _stop(self):
        with anyio.CancelScope(shield=True):
            for process in (*self.gateways, self.site):
                await process.stop()
            for store in self.stores:
                store.stop()

    def logs(self):
        return "".join(process.log.read_text("utf-8", "replace") for process in self.gateways if process.log.exists())
