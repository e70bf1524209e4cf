"""The transport over the simulated Vertex AI; `tests/foreign/test_vertex.py` runs a whole gateway over it."""

import json
from contextlib import asynccontextmanager

import msgspec
import pytest

from protocol.model import SignedOut, Text
from service.config.schema import Origin, SettingsError, load
from service.server.hypercorn import serve_loopback
from service.wiring import check_transports
from tests.transports.conftest import FAST, asking, deps_for, request_for
from transports import simulator
from transports.clock import SystemClock
from transports.vertex import VertexAccount, VertexConfig, connect
from transports.vertex import transport as vertex_transport

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def cloud(tmp_path, refuses=lambda _: False, **account):
    """Yield a connected transport; Vertex AI refuses the tokens for which `refuses` returns true."""
    file = tmp_path / "account.json"
    issued = simulator.write_service_account(file, "http://127.0.0.1:1/token")
    site = simulator.create_site(simulator.SimulatorConfig(service_accounts=(issued,), pace=FAST), SystemClock())

    async def app(scope, receive, send):
        headers = dict(scope.get("headers", ()))
        if refuses(headers.get(b"authorization")):
            scope["headers"] = [(b"authorization", b"Bearer revoked")]
        await site(scope, receive, send)

    async with serve_loopback(app) as base:
        simulator.write_service_account(file, f"{base}/token")
        text = json.dumps(json.loads(file.read_text()) | account)
        accounts = (VertexAccount(id="one", credentials=text),)
        deps = msgspec.structs.replace(deps_for(), name="vertex", only="one")
        async with connect(VertexConfig(accounts=accounts, base_url=base), deps) as transport:
            yield transport


async def answered(transport):
    async with asking(transport, request_for("<echo>hi</echo>"), transport.accounts[0]) as exchange:
        return "".join([event.text async for event in exchange.events if isinstance(event, Text)])


async def test_a_revoked_token_is_replaced_within_the_request(tmp_path):
    revoked = []

    def refuses(sent):
        if sent and not revoked:
            revoked.append(sent)
        return sent in revoked

    async with cloud(tmp_path, refuses) as transport:
        assert await answered(transport) == "hi"
    assert len(revoked) == 1


async def test_an_account_whose_tokens_are_all_refused_needs_attention(tmp_path):
    async with cloud(tmp_path, bool) as transport:
        with pytest.raises(SignedOut) as refused:
            await answered(transport)
    assert "token" in refused.value.advice


async def test_the_check_of_an_account_shows_each_step(tmp_path):
    async with cloud(tmp_path) as transport:
        found = [finding async for finding in transport.examine("one")]
    assert [(finding.step, finding.level) for finding in found] == [("token", "ok"), ("model", "ok")]
    assert "'simulated-project' in 'global'" in found[1].message


@pytest.mark.parametrize(
    ("account", "step", "advice"),
    [
        ({"client_email": "gone@simulated-project.iam.gserviceaccount.com"}, "token", "deleted or disabled"),
        ({"project_id": "other-project"}, "model", "Vertex AI User"),
    ],
)
async def test_the_check_says_what_to_do(tmp_path, account, step, advice):
    async with cloud(tmp_path, **account) as transport:
        last = [finding async for finding in transport.examine("one")][-1]
    assert (last.step, last.level) == (step, "failed")
    assert advice in last.advice


async def test_settings_without_google_auth_name_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(vertex_transport, "find_spec", lambda _: None)
    file = tmp_path / "gateway.toml"
    account = 'id = "a"\ncredentials = "adc"\nproject = "some-project"\n'
    file.write_text(f"[[transports.vertex.accounts]]\n{account}")
    with pytest.raises(SettingsError, match=r"transports\.vertex: .*pip install gemini-gateway\[vertex\]"):
        check_transports(load(file, {}), Origin(name="gateway.toml"))
