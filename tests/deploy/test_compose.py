"""`deploy/compose.yaml`: its mounts and settings exist, and it grants no more than is needed."""

import subprocess

import pytest
import yaml

from service.config.environment import ENVIRONMENT_PREFIX
from service.config.schema import load
from tests.conftest import ROOT
from tests.deploy import dockerfile
from tests.deploy.test_image import PROJECT

COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def test_compose_runs_two_gateways_on_one_store_with_monitoring():
    assert set(SERVICES) == {"gateway", "balancer", "valkey", "prometheus", "grafana"}
    assert SERVICES["gateway"]["deploy"]["replicas"] == 2
    assert SERVICES["gateway"]["image"] == f"gemini-gateway:{PROJECT['version']}"
    assert (ROOT / "deploy" / SERVICES["gateway"]["build"]["context"] / dockerfile.PATH.relative_to(ROOT)).exists()


def test_the_settings_of_compose_are_valid():
    environment = SERVICES["gateway"]["environment"]
    assert all(name.startswith(ENVIRONMENT_PREFIX) for name in environment)
    settings = load(None, {**dockerfile.variables(), **environment})
    drain = (settings.drain.notice_seconds, settings.drain.grace_seconds)
    assert drain[0] >= 2
    assert settings.store.url == "redis://valkey:6379/0"
    assert settings.store.min_processes == SERVICES["gateway"]["deploy"]["replicas"]
    assert settings.licenses[0].key == "sk-compose-opens-only-a-simulator"
    assert list(settings.transports) == ["simulator"]
    assert int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s")) >= sum(drain) + 30


@pytest.mark.parametrize("name", SERVICES)
def test_compose_services_have_minimal_privileges(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "privileged" not in service
    for volume in service.get("volumes", []):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / "deploy" / source).exists(), source
            assert rest.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_the_load_balancer_configuration_is_valid_and_checks_readiness():
    path = ROOT / "deploy" / "haproxy.cfg"
    done = subprocess.run(["haproxy", "-c", "-f", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    port = dockerfile.variables()["GEMINI_GATEWAY__OPERATIONS__PORT"]
    assert "option httpchk GET /readyz" in text
    assert f"port {port} " in text
    assert "retry-on conn-failure\n" in text
