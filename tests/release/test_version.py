"""The version is said in pyproject.toml; wherever else it stands, it is the same."""

import re
import subprocess
import sys
from importlib import metadata

import pytest

from tests.conftest import ROOT
from tests.release.building import project

VERSION = project(ROOT)["version"]
SAID = {
    "deploy/Dockerfile": [r"ARG VERSION=(\S+)", r"gemini-gateway:(\d\S*)"],
    "deploy/compose.yaml": [r"gemini-gateway:(\d\S*)"],
    "k8s/base/kustomization.yaml": [r"newTag: \"?([^\s\"]+)"],
    "service/__init__.py": [r'VERSION = "(\S+)"'],
    "CHANGELOG.md": [r"(?m)\A(?:(?!## ).*\n)*## (\S+)"],
}


@pytest.mark.parametrize(
    ("name", "pattern"), [(name, pattern) for name, patterns in SAID.items() for pattern in patterns]
)
def test_a_file_names_the_version(name, pattern):
    assert set(re.findall(pattern, (ROOT / name).read_text())) == {VERSION}


def test_no_file_names_another_version():
    text = {path: path.read_text() for room in ("deploy", "k8s", "docs") for path in (ROOT / room).rglob("*.[my]*")}
    said = {
        version for one in text.values() for version in re.findall(r"gemini-gateway:(\d[\w.-]*)|newTag: (\S+)", one)
    }
    assert {version for pair in said for version in pair if version} == {VERSION}


def test_the_command_and_the_installed_package_name_it():
    done = subprocess.run(
        [sys.executable, "-m", "service", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split()[-1] == metadata.version("gemini-gateway") == VERSION
