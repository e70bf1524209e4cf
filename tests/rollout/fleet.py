"""Three gateways on one Valkey, a balancer before them, the simulated site behind them."""

import os
from pathlib import Path

import aiohttp
import anyio
import msgspec

from protocol.model import JobKind
from service.config.schema import StoreSettings
from service.jobs.store import JobStore
from service.storage.factory import StoreLocation, open_location
from tests.chaos.processes import Process
from tests.rollout.balancer import Balancer
from tests.servers import RedisServer, free_port, programs
from transports import simulator
from transports.clock import SystemClock
from transports.store import Cipher

STEADY, CHANGING, CHANGED = (f"sk-rollout-{name}-0123456789" for name in ("steady", "before", "after"))
_MANY = 1_000_000
_PACE = simulator.Pace(first_token_seconds=0.02, tokens_per_second=0.0)

_SETTINGS = """
[server]
port = {port}
keep_alive_seconds = 30
[operations]
port = {probes}
[overload]
ready_lag_seconds = 5.0
lag_seconds = 30.0
[reload]
poll_seconds = 0.5
[drain]
notice_seconds = 2.0
grace_seconds = 30
[jobs]
lock_ttl_seconds = 2
[log]
format = "json"
[store]
url = "redis://127.0.0.1:{store}/0"
local_replica_path = "copy.sqlite3"
min_processes = 3
[[licenses]]
id = "steady"
key = "{steady}"
[[licenses]]
id = "changing"
key_file = "{folder}/license"
[transports.web]
guest = false
poll_seconds = 0.5
[transports.web.hosts]
site = "{site}"
accounts = "{site}"
upload = "{site}"
[[transports.web.accounts]]
id = "first"
cookies_file = "{folder}/cookies"
concurrency = 200
per_minute = 0
[[transports.web.accounts]]
id = "second"
cookies = "{second}"
concurrency = 200
per_minute = 0
"""
"""A machine that is busy with tests is always late, and lateness is not tested here."""


class Fleet:
    """All processes; their secrets are files that a test can change."""

    def __init__(self, folder, gateways=3):
        self._folder = Path(folder)
        self.sessions = [
            simulator.SimulatedAccount(psid=f"psid-{name}-{os.urandom(6).hex()}", psidts=f"psidts-{name}", quota=_MANY)
            for name in ("first", "second", "third")
        ]
        config = simulator.SimulatorConfig(accounts=tuple(self.sessions), pace=_PACE)
        (self._folder / "site.json").write_bytes(msgspec.json.encode(config))
        port = free_port()
        self._site = Process(folder, "site", "tests.chaos.site", str(port), str(self._folder / "site.json"), port=port)
        self._store = RedisServer(programs()["valkey"])
        self.change("license", CHANGING)
        self.change("cookies", simulator.export_of(self.sessions[0]))
        self.probes = {}
        self.gateways = [self._gateway(number) for number in range(gateways)]
        servers = [(one.name, one.port, self.probes[one.name]) for one in self.gateways]
        self.balancer = Balancer(folder, servers)

    def change(self, name, content):
        """Have a file hold something else, as a mounted secret's does: in one step."""
        fresh = self._folder / f"{name}.new"
        fresh.write_text(content)
        fresh.rename(self._folder / name)

    def _gateway(self, number):
        name, port = f"gateway-{number}", free_port()
        folder, self.probes[name] = self._folder / name, free_port()
        folder.mkdir()
        text = _SETTINGS.format(
            port=port,
            probes=self.probes[name],
            store=self._store.port,
            site=self._site.origin,
            folder=self._folder,
            steady=STEADY,
            second=simulator.export_of(self.sessions[1]),
        )
        (folder / "gateway.toml").write_text(text)
        return Process(self._folder, name, "service", "serve", "--config", str(folder / "gateway.toml"), port=port)

    async def __aenter__(self):
        try:
            await anyio.to_thread.run_sync(self._store.start)
            await self._site.start()
            async with anyio.create_task_group() as tasks:
                for gateway in self.gateways:
                    tasks.start_soon(gateway.start)
            await self.balancer.__aenter__()
            for gateway in self.gateways:
                await self.balancer.until(gateway.name, "UP")
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_):
        await self.balancer.__aexit__()
        await self._stop()

    async def _stop(self):
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for process in self.gateways:
                    tasks.start_soon(process.stop)
            await self._site.stop()
            self._store.stop()

    async def accepted(self, key):
        """Return by how many gateways a license is taken."""
        found = 0
        async with aiohttp.ClientSession() as http:
            for gateway in self.gateways:
                headers = {"Authorization": f"Bearer {key}"}
                async with http.get(f"{gateway.origin}/v1/models", headers=headers) as response:
                    found += response.status == 200
        return found

    async def call(self, method, url, **body):
        """Ask something of the API; return the answer."""
        headers = {"Authorization": f"Bearer {STEADY}"}
        async with aiohttp.ClientSession(headers=headers) as http, http.request(method, url, **body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def job(self, identity):
        """Return a job as the store has it."""
        clock = SystemClock()
        location, settings = StoreLocation(None, self._store.url), StoreSettings(timeout_seconds=5.0)
        async with open_location(location, settings, clock, cipher=Cipher(None, ())) as store:
            return await JobStore(store, clock).find("steady", JobKind.VIDEO, identity)

    def log_of(self, gateway):
        return gateway.log.read_text("utf-8", "replace")
