"""The Dockerfile of the image; `make image-test` builds the image and runs it."""

import re
import subprocess
import tomllib
from urllib.parse import urlsplit

from service.cli.main import cli
from service.cli.probe import is_probe
from service.config.schema import load
from tests.conftest import ROOT
from tests.deploy import dockerfile

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_packages_are_installed_by_hash_and_nothing_else_is_fetched():
    installs = [words for words in dockerfile.of("RUN") if "pip install" in words]
    for words in installs:
        assert "--require-hashes --only-binary :all: -r deploy/requirements.txt" in words or (
            "--no-deps --no-build-isolation ." in words
        )
        assert "--no-cache-dir" in words
    assert len(installs) == 2
    assert not dockerfile.of("ADD")
    assert not [words for words in dockerfile.of("RUN") if "://" in words or "curl" in words]


def test_only_copied_files_pass_dockerignore_and_all_exist():
    sources = dockerfile.copied()
    assert {"service", "protocol", "transports", "deploy/requirements.txt"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert dockerfile.let_through(source), source
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    through = {name for name in listed if dockerfile.let_through(name)}
    assert {name for name in through if not any(name == one or name.startswith(f"{one}/") for one in sources)} == set()
    for secret in (".git/config", "gateway.toml", ".venv/bin/python", "first.cookies", "service/__pycache__/a.pyc"):
        assert not dockerfile.let_through(secret), secret


def test_the_base_image_is_pinned_to_a_version():
    (base,) = [words for words in dockerfile.of("ARG") if words.startswith("BASE=")]
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-[a-z]+", base)
    assert [words.split()[0] for words in dockerfile.of("FROM")] == ["${BASE}", "${BASE}"]


def test_the_image_runs_without_privileges_and_stops_by_a_handled_signal():
    assert dockerfile.last("USER") == "10001:10001"
    assert dockerfile.last("STOPSIGNAL") == "SIGTERM"
    assert dockerfile.last("ENTRYPOINT") == ["gemini-gateway"]
    assert dockerfile.last("CMD")[0] in cli.commands
    names = [name for name, _ in dockerfile.instructions()]
    assert names.count("FROM") == 2
    assert not [name for name in names[names.index("USER") :] if name in {"RUN", "COPY"}]


def test_the_health_check_uses_an_existing_command_and_port():
    command = dockerfile.last("HEALTHCHECK").partition(" CMD ")[2].strip('[]"').split('", "')
    assert command[0] == "gemini-gateway"
    assert is_probe(command[1:])
    settings = load(None, {**dockerfile.variables(), "GEMINI_GATEWAY__TRANSPORTS__SIMULATOR": "{}"})
    asked = urlsplit(command[2])
    assert (asked.port, asked.path) == (settings.operations.port, "/livez")
    assert dockerfile.last("EXPOSE").split() == [str(settings.server.port), str(settings.operations.port)]
    assert settings.server.host == settings.operations.host == "0.0.0.0"


def test_the_image_labels_name_the_project_and_its_version():
    labels = dockerfile.last("LABEL")
    for name, value in (
        ("title", PROJECT["name"]),
        ("description", PROJECT["description"]),
        ("licenses", "MIT AND OFL-1.1"),
    ):
        assert f'org.opencontainers.image.{name}="{value}"' in labels
    assert 'org.opencontainers.image.version="${VERSION}"' in labels
    assert f"VERSION={PROJECT['version']}" in dockerfile.of("ARG")
