"""Lists of models over restarts and between processes that share a store."""

import msgspec
import pytest

from protocol.model import UpstreamFailed
from tests.transports.conftest import deps_for
from transports import api
from transports.clock import SystemClock
from transports.generate_content.listed_models import ListedModel
from transports.store import MemoryStore

NOWHERE, CLOCK = "http://127.0.0.1:9", SystemClock()


def listing(*names):
    async def list_models():
        return [ListedModel(name=f"models/{name}") for name in names]

    return list_models


async def failing():
    raise UpstreamFailed("down")


def names(transport):
    return [model.id for model in transport.discovered]


@pytest.fixture
def connect(monkeypatch):
    monkeypatch.setattr(api.accounts.KeyAccount, "list_models", lambda _: failing())
    store = MemoryStore(CLOCK)

    def connected(key="AIza-one"):
        config = api.ApiConfig(accounts=(api.ApiKeyAccount(id="one", key=key),), base_url=NOWHERE)
        return api.connect(config, msgspec.structs.replace(deps_for(CLOCK, store), name="api"))

    return connected


async def test_lists_survive_a_restart_and_reach_other_processes(connect):
    async with connect() as first:
        assert names(first) == []
        async with connect() as other:
            account = first.connected.of("one")
            account.list_models = listing("gemini-4-argon", "gemma-5")
            await account.read_models()
            seen = first.discovered
            await account.read_models()
            assert first.discovered is seen
            await other.connected.restore_models()
            assert names(other) == names(first) == ["gemini-4-argon", "gemma-5"]
            account.list_models = listing("gemma-5")
            await account.read_models()
            assert names(first) == ["gemma-5"]
    async with connect() as restarted:
        assert names(restarted) == ["gemma-5"]
    async with connect("AIza-another") as replaced:
        assert names(replaced) == []
