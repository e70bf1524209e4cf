"""One gateway for each module of the tests of inputs."""

import httpx2 as httpx
import pytest

from tests.conftest import KEY, SETTINGS, Gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway over a simulator that answers at once."""
    process = Gateway(tmp_path_factory.mktemp("gateway"), SETTINGS.format(key=KEY))
    yield process
    process.stop()


@pytest.fixture(scope="module")
def http(gateway):
    """A client with the license's key; paths begin below the base URL."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=gateway.base_url, headers=headers, timeout=90) as client:
        yield client
