"""Tokens of the simulated Google Cloud, fetched by google-auth."""

from collections import Counter
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest

from protocol.model import Certainty, SignedOut, UpstreamFailed
from service.server.hypercorn import serve_loopback
from transports import simulator
from transports.clock import SystemClock
from transports.http import Timeouts, client
from transports.vertex.errors import CredentialReason
from transports.vertex.service_accounts import parse_credential
from transports.vertex.token_source import TokenSource

pytestmark = pytest.mark.anyio


class Cloud:
    """The token endpoint of a simulated Google Cloud, and a source of its tokens."""

    def __init__(self, tmp_path):
        self.file = tmp_path / "account.json"
        self.account = simulator.write_service_account(self.file, "http://127.0.0.1:1/token")
        self.asked = Counter()

    @asynccontextmanager
    async def source(self, *, changes=(), credential=None, served=True):
        account = msgspec.structs.replace(self.account, **dict(changes))
        site = simulator.create_site(simulator.SimulatorConfig(service_accounts=(account,)), SystemClock())

        async def app(scope, receive, send):
            self.asked[scope.get("path", "")] += 1
            await site(scope, receive, send)

        async with serve_loopback(app) as base, client(Timeouts()) as http:
            if served:
                simulator.write_service_account(self.file, f"{base}/token")
            text = credential or parse_credential(self.file.read_text())
            yield TokenSource(text, http, http, Timeouts(call=5))


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)


async def test_requests_that_come_together_share_one_token(cloud):
    found = []

    async def ask():
        found.append(await source.authorize())

    async with cloud.source() as source:
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        await source.keep_fresh()
    assert len({headers["Authorization"] for headers in found}) == 1
    assert cloud.asked["/token"] == 1


async def test_a_token_is_renewed_before_it_expires(cloud):
    async with cloud.source(changes={"token_seconds": 120}) as source:
        first = await source.authorize()
        assert await source.authorize() == first
        await source.keep_fresh()
        assert await source.authorize() != first
    assert cloud.asked["/token"] == 2


async def test_a_token_that_was_refused_is_not_used_again(cloud):
    async with cloud.source() as source:
        first = await source.authorize()
        assert source.forget(first)
        second = await source.authorize()
        assert source.forget(first)
        assert (await source.authorize()) == second != first


async def test_a_disabled_account_is_refused_once_for_all_that_wait(cloud):
    errors = []

    async def ask():
        try:
            await source.authorize()
        except SignedOut as error:
            errors.append(error.reason)

    async with cloud.source(changes={"disabled": True}) as source, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert errors == [CredentialReason.DISABLED] * 5
    assert cloud.asked["/token"] == 1


async def test_a_token_endpoint_that_is_down_is_not_the_accounts_fault(cloud):
    async with cloud.source(served=False) as source:
        with pytest.raises(UpstreamFailed) as failed:
            await source.authorize()
    assert failed.value.certainty is Certainty.NOT_SENT
    assert failed.value.__cause__ is None


@pytest.mark.parametrize("place", ["environment", "none"])
async def test_the_credentials_of_the_machine(cloud, monkeypatch, place):
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(cloud.file.parent))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(cloud.file.parent))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    async with cloud.source(credential="adc") as source:
        if place == "environment":
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(cloud.file))
            assert (await source.authorize())["Authorization"].startswith("Bearer ya29.")
        else:
            with pytest.raises(SignedOut) as refused:
                await source.authorize()
            assert refused.value.reason == CredentialReason.MISSING
