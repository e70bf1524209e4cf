"""Public scanners check the container, compose and the Kubernetes manifests."""

import json
import shutil
import subprocess

import pytest
import yaml

from tests.conftest import ROOT
from tests.deploy.manifests import OVERLAYS, rendered

POLICY = ROOT / ".venv-policy" / "bin"
"""`make test` installs it."""


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """Return what checkov says of the overlays and the Dockerfile, with the exceptions of deploy/checkov.yaml."""
    folder = tmp_path_factory.mktemp("scanned")
    for name in OVERLAYS:
        (folder / f"{name}.yaml").write_text(rendered(name))
    shutil.copy(ROOT / "k8s" / "examples" / "ingress.yaml", folder)
    shutil.copy(ROOT / "deploy" / "Dockerfile", folder)
    words = ["--framework", "kubernetes", "dockerfile", "--config-file", ROOT / "deploy" / "checkov.yaml"]
    done = subprocess.run(
        [POLICY / "checkov", "-d", ".", *words, "--compact", "--skip-download", "--output", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return {report["check_type"]: report for report in json.loads(done.stdout)}


@pytest.mark.parametrize(("kind", "fewest"), [("kubernetes", 150), ("dockerfile", 5)])
def test_the_scanner_finds_only_justified_exceptions(scanned, kind, fewest):
    results = scanned[kind]["results"]
    failed = [f"{one['check_id']} {one['check_name']}: {one['resource']}" for one in results["failed_checks"]]
    assert failed == []
    assert results["parsing_errors"] == []
    assert scanned[kind]["summary"]["passed"] >= fewest


def test_every_exception_has_a_reason():
    text = (ROOT / "deploy" / "checkov.yaml").read_text()
    lines = [line for line in text.splitlines() if line.strip().startswith("- ")]
    assert len(lines) == len(yaml.safe_load(text)["skip-check"])
    assert all(len(line.partition("#")[2]) > 40 for line in lines)


def test_compose_matches_its_specification():
    script = "import sys, compose_spec; print(compose_spec.PyCompose.from_json(sys.stdin.read()).service_names())"
    tree = json.dumps(yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text()))
    words = [POLICY / "python", "-c", script]
    done = subprocess.run(words, input=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gateway" in done.stdout


def test_the_only_finding_in_compose_is_images_named_by_tags():
    words = [POLICY / "compose-lint", "--format", "json", "deploy/compose.yaml"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {one["rule_id"] for one in json.loads(done.stdout)["findings"]} <= {"CL-0019"}
