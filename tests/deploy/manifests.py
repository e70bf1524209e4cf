"""Kubernetes' manifests as kustomize puts them together."""

import re
import secrets
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import yaml

from service.config.schema import load
from tests.conftest import ROOT

K8S = ROOT / "k8s"
OVERLAYS = ("demo", "production")
KUBECTL = Path(sys.executable).parent / "kubectl"


@cache
def rendered(name):
    """Return an overlay's manifests as one text."""
    folder = K8S / "overlays" / name
    return subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True).stdout


def documents(name):
    return list(yaml.safe_load_all(rendered(name)))


def of(name, kind):
    """Return the manifests of a kind in an overlay, by name."""
    return {one["metadata"]["name"]: one for one in documents(name) if one["kind"] == kind}


def deployment(name):
    return of(name, "Deployment")["gemini-gateway"]


def pod(name):
    return deployment(name)["spec"]["template"]["spec"]


def container(name):
    (found,) = pod(name)["containers"]
    return found


def example(name):
    return yaml.safe_load((K8S / "examples" / name).read_text())


def secret_of(name):
    """Return what is mounted at /run/secrets/gemini-gateway: the overlay's own, or what the example says."""
    mounted = next(one for one in pod(name)["volumes"] if one["name"] == "secrets")["secret"]["secretName"]
    return of(name, "Secret").get(mounted) or example("secret.yaml")


def settings_text(name):
    """Return the gateway.toml that the container is given."""
    volume = next(one for one in pod(name)["volumes"] if one["name"] == "config")
    return of(name, "ConfigMap")[volume["configMap"]["name"]]["data"]["gateway.toml"]


def settings_of(name, folder):
    """Write an overlay's gateway.toml, with its secrets and state below `folder`; return its path and the settings."""
    text = settings_text(name)
    for mount in ("/run/secrets/gemini-gateway", "/var/lib/gemini-gateway"):
        text = text.replace(mount, f"{folder}{mount}")
        Path(f"{folder}{mount}").mkdir(parents=True)
    for key in re.findall(r"/run/secrets/gemini-gateway/([\w-]+)", text):
        secret = "redis://valkey:6379/0" if key.endswith("url") else f"sk-{secrets.token_urlsafe(32)}"
        Path(f"{folder}/run/secrets/gemini-gateway/{key}").write_text(secret)
    path = folder / "gateway.toml"
    path.write_text(text)
    assert tomllib.loads(text)
    return path, load(path, {})
