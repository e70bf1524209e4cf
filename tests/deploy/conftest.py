"""A gateway as it is deployed: probes and metrics on a listener of their own."""

import httpx2 as httpx
import pytest

from tests.conftest import KEY, SETTINGS, Gateway
from tests.servers import free_port


@pytest.fixture(scope="session")
def operations(tmp_path_factory):
    """Return where the probes and metrics of a gateway are that has them apart."""
    port = free_port()
    process = Gateway(
        tmp_path_factory.mktemp("deployed"), SETTINGS.format(key=KEY) + f"\n[operations]\nport = {port}\n"
    )
    yield f"http://127.0.0.1:{port}"
    process.stop()


@pytest.fixture(scope="session")
def metrics(operations):
    """What a gateway shows to Prometheus."""
    return httpx.get(f"{operations}/metrics").text
