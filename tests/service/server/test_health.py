from types import SimpleNamespace

import httpx2 as httpx
import pytest
from prometheus_client import CollectorRegistry

from service.server.health import PATHS, Operations


@pytest.fixture
def parts():
    return SimpleNamespace(draining=False, leaving=False), SimpleNamespace(alive=True, overloaded=False)


@pytest.fixture
async def client(parts):
    app = Operations(CollectorRegistry(), *parts).app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        yield client


async def statuses(client):
    return {path: (await client.get(path)).status_code for path in sorted(PATHS)}


async def test_a_healthy_process_passes_every_probe(client):
    assert await statuses(client) == {"/healthz": 200, "/livez": 200, "/metrics": 200, "/readyz": 200}
    assert (await client.get("/v1/models")).status_code == 404


async def test_a_process_in_shutdown_or_overload_is_alive_and_not_ready(client, parts):
    drain, pressure = parts
    for what in (drain, pressure):
        name = "leaving" if what is drain else "overloaded"
        setattr(what, name, True)
        assert await statuses(client) == {"/healthz": 200, "/livez": 200, "/metrics": 200, "/readyz": 503}
        setattr(what, name, False)
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_a_stuck_process_is_not_alive(client, parts):
    parts[1].alive = False
    assert (await client.get("/livez")).status_code == 503
    assert (await client.get("/healthz")).json() == {"status": "stuck"}


async def test_a_store_file_that_cannot_be_used_is_a_detail_of_readiness(parts):
    app = Operations(CollectorRegistry(), *parts, lambda: False).app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "store": "file_unusable"})
