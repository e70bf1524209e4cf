"""The replayed site, and a gateway that takes it for the real one."""

import pytest

from tests.conftest import KEY, Gateway
from tests.replay.site import replayed_site
from tests.replay.stand import ADMIN_TOKEN, SETTINGS, Stand


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    with replayed_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="session")
def gateway_over(tmp_path_factory, site):
    """Start a gateway over the site with settings of its own; all are ended."""
    started = []

    def start(more="", **options):
        options = {"rotate_seconds": 0, "guest": "false", **options}
        settings = SETTINGS.format(token=ADMIN_TOKEN, key=KEY, ca_file=site.ca_file, more=more, **options)
        started.append(Stand(site, Gateway(tmp_path_factory.mktemp("gateway"), settings)))
        return started[-1]

    yield start
    for stand in started:
        stand.close()
        stand.gateway.stop()


@pytest.fixture(scope="session")
def default_stand(gateway_over):
    return gateway_over()


@pytest.fixture
def stand(default_stand):
    yield default_stand
    default_stand.end()
