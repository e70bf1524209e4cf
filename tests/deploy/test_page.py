"""The operator's page: its commands, files, settings and metrics exist; its backup is made and holds what was there."""

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import httpx2 as httpx
import pytest

from service.cli.main import cli
from tests.conftest import KEY, ROOT, SETTINGS
from tests.deploy import dockerfile, manifests
from tests.deploy.watching import RULES, families
from tests.servers import RedisServer, programs

PAGE = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = [re.sub(r"(?m)^    (?=\S)", "", block) for block in re.findall(r"(?m)^ *```sh\n(.*?)^ *```", PAGE, re.DOTALL)]
COMMANDS = [line for block in BLOCKS for line in re.sub(r"\s*\\\n\s*", " ", block).strip().splitlines()]
GATEWAY_S = [words for words in map(shlex.split, COMMANDS) if "exec" in words and "sh" not in words]


def after(words, word):
    return words[len(words) - words[::-1].index(word) :]


def test_every_command_on_the_page_exists_with_its_options():
    found = [after(words, "gemini-gateway") for words in GATEWAY_S]
    found += [shlex.split(code)[1:] for code in re.findall(r"`(gemini-gateway [^`]+)`", PAGE)]
    assert len(found) >= 7
    for words in found:
        command, rest = cli, words[: words.index("<")] if "<" in words else list(words)
        while isinstance(command, click.Group):
            command = command.commands[rest.pop(0)]
        with command.make_context(command.name, rest) as context:
            assert not context.args, words


def test_files_and_targets_on_the_page_exist():
    text = "\n".join([*COMMANDS, *re.findall(r"`([^`\n]+)`", PAGE)])
    for path in re.findall(r"\b(?:deploy|k8s|docs)/[\w./-]+", text):
        if not path.startswith(("deployment", "deploy/gemini")):
            assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([\w-]+)`", PAGE):
        assert f"\n{target}:" in makefile, target
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


def test_the_container_is_run_with_the_user_and_volumes_of_the_image():
    (run,) = [shlex.split(line) for line in COMMANDS if line.startswith("docker run --detach")]
    assert {"--read-only", "--cap-drop", "no-new-privileges"} <= set(run)
    mounted = {one.split(":")[1] for before, one in pairwise(run) if before == "--volume"}
    assert mounted == {"/tmp", "/var/lib/gemini-gateway", f"{dockerfile.last('WORKDIR')}/gateway.toml"}
    built, image = next(shlex.split(line) for line in COMMANDS if line.startswith("docker build")), run[-1]
    assert built[built.index("-t") + 1] == image
    assert built[built.index("-f") + 1] == str(dockerfile.PATH.relative_to(ROOT))


def test_the_kubernetes_objects_on_the_page_exist():
    for line in COMMANDS:
        words = shlex.split(line)
        if words[0] != "kubectl":
            continue
        for kind, name in re.findall(r"\b(deployment|service)/([\w-]+)", line):
            assert name in manifests.of("demo", kind.capitalize()), line
        if "-k" in words:
            assert (ROOT / words[words.index("-k") + 1] / "kustomization.yaml").exists()
        if "create" in words and "secret" in words:
            keys = {word.removeprefix("--from-file=") for word in words if word.startswith("--from-file=")}
            assert keys == set(manifests.example("secret.yaml")["stringData"])
    (space,) = manifests.of("production", "Namespace")
    assert {words[words.index("-n") + 1] for words in map(shlex.split, COMMANDS) if "-n" in words} == {space}


def test_the_metrics_on_the_page_exist(metrics):
    named = set(re.findall(r"\bgateway[_:][a-z][a-z0-9_:]+", PAGE))
    recorded = set(re.findall(r"(?m)record: (\S+)$", RULES.read_text()))
    assert len(named) >= 7
    assert named <= families(metrics) | recorded


@pytest.fixture
def store():
    server = RedisServer(programs()["valkey"]).start()
    yield server
    server.stop()


def test_a_backup_is_made_while_a_gateway_runs_and_can_be_read(store, start_gateway, tmp_path):
    gateway = start_gateway(SETTINGS.format(key=KEY) + f'\n[store]\nurl = "{store.url}"\n')
    folder = gateway.log.parent
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    options = {"cwd": folder, "env": {**os.environ, "PATH": path}, "text": True}
    words = ["gemini-gateway", "licenses", "add", "team"]
    license_key = subprocess.run(words, capture_output=True, check=True, **options).stdout.strip()
    (folder / "store-url").write_text(store.url)
    (backup,) = [shlex.split(line) for line in COMMANDS if "store migrate" in line]
    script = backup[backup.index("-c") + 1]
    script = script.replace("/run/secrets/gemini-gateway", str(folder)).replace("/tmp/backup", f"{tmp_path}/backup")
    assert backup[-2:] == [">", "backup.sqlite3"]
    with (folder / "backup.sqlite3").open("wb") as file:
        subprocess.run(["sh", "-c", script], stdout=file, check=True, **options)
    assert not list(tmp_path.glob("backup.*"))
    settings = SETTINGS.format(key=KEY) + f'\n[store]\npath = "{folder}/backup.sqlite3"\n'
    restored = start_gateway(settings)
    assert models(restored, license_key) == 200
    assert models(restored, f"{license_key}x") == 401


def models(gateway, key):
    return httpx.get(f"{gateway.base_url}/models", headers={"Authorization": f"Bearer {key}"}).status_code
