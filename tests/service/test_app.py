import json
from types import SimpleNamespace

import httpx2 as httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from protocol.openai import DIALECT
from service.app import open_app, with_middleware
from service.config.schema import Origin, ServerSettings, Settings, SettingsError, load, origin_of
from service.middleware.forwarded import PublicAddress
from service.middleware.load_shedding import OverloadStep
from service.middleware.routing import RequestRouter
from service.server.hypercorn import serve_loopback
from service.telemetry.metrics import Metrics
from tests.service.conftest import request_deps

ORIGIN = {"Origin": "https://chat.example"}


async def fail(request):
    raise LookupError("an error message, perhaps with a secret")


async def fine(request):
    return PlainTextResponse("fine")


@pytest.fixture
def monitor():
    return SimpleNamespace(step=OverloadStep.NOTHING)


@pytest.fixture
async def client(monitor):
    endpoints = {"/fail": fail, "/fail/{id}": fail, "/fine": fine}
    router = RequestRouter(DIALECT, [(Route(path, endpoint), DIALECT) for path, endpoint in endpoints.items()])
    settings = Settings(server=ServerSettings(cors_origins=(ORIGIN["Origin"],)))
    address = PublicAddress.of(settings.server, Origin(name="gateway.toml"))
    app = with_middleware(settings, router, monitor, Metrics(CollectorRegistry(), 100), request_deps(), address=address)
    async with serve_loopback(app) as url, httpx.AsyncClient(base_url=url) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/fail", "/fail/1"])
async def test_an_unexpected_exception_gets_a_500_with_a_request_id_and_cors_headers(client, path):
    with structlog.testing.capture_logs() as logged:
        response = await client.get(path, headers=ORIGIN)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["access-control-allow-origin"] == ORIGIN["Origin"]
    error = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("server_error", "internal_error", None)
    assert "secret" not in json.dumps(error)
    failed, access = logged
    assert (failed["event"], failed["exc_info"]) == ("request_failed", True)
    assert (access["status"], access["error"]) == (500, "internal_error")
    assert failed["request"] == access["request"] == response.headers["x-request-id"]


async def test_an_error_response_to_another_origin_has_no_cors_headers(client):
    response = await client.get("/fail", headers={"Origin": "https://other.example"})
    assert response.status_code == 500
    assert "access-control-allow-origin" not in response.headers


async def test_scripts_of_allowed_origins_may_read_the_gateways_headers(client):
    response = await client.get("/fine", headers=ORIGIN)
    assert {"x-request-id", "x-gateway-upstream-model"} <= set(
        response.headers["access-control-expose-headers"].split(", ")
    )


async def test_a_refusal_of_load_shedding_has_cors_headers(client, monitor):
    monitor.step = OverloadStep.ALL
    response = await client.get("/fine", headers=ORIGIN)
    assert response.status_code == 503
    assert response.headers["access-control-allow-origin"] == ORIGIN["Origin"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('[media]\ncache_dir = "file/below"\n', "media.cache_dir: .*Not a directory"),
        ('[limits]\nspool_dir = "file/below"\n', "limits.spool_dir: .*cannot create a file there"),
    ],
)
async def test_a_folder_that_cannot_be_used_is_named(tmp_path, section, message):
    (tmp_path / "file").touch()
    path = tmp_path / "gateway.toml"
    path.write_text(section.replace("file/below", str(tmp_path / "file" / "below")) + "[transports.simulator]\n")
    settings, origin = load(path, {}), origin_of(path)
    refused = pytest.RaisesExc(SettingsError, match=message)
    with pytest.RaisesGroup(refused, allow_unwrapped=True, flatten_subgroups=True):
        async with open_app(settings, origin=origin, store_path=tmp_path / "store.db", serve=serve_loopback):
            pass
