"""What the repository's files must and must not hold."""

import re
import subprocess

import pytest

from tests.conftest import ROOT

TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("name", [name for name in TRACKED if name.endswith(("requirements.txt", "package.json"))])
def test_locks_name_no_registry_and_every_version(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "index-url" not in text
    if name.endswith(".txt"):
        pinned = re.findall(r"(?m)^[a-z0-9][\w.-]*(?:\[[\w,-]+\])?==", text)
        assert text.count("--hash=sha256:") >= len(pinned) > 10
    else:
        assert not re.search(r'": "[\^~*]', text)


def test_no_lock_file_with_addresses_is_kept():
    assert not [name for name in TRACKED if name.endswith(("uv.lock", "package-lock.json", "poetry.lock"))]


def commands(name):
    text = (ROOT / name).read_text()
    blocks = re.findall(r"```(?:sh|bash|toml|python|js|javascript)\n(.*?)```", text, re.DOTALL)
    return [re.sub(r"\s*#.*", "", block) for block in blocks]


def test_the_two_readmes_have_the_same_commands():
    assert commands("README.md") == commands("README.zh-CN.md")
    assert len(commands("README.md")) >= 5


def test_the_readmes_link_only_to_files_that_exist():
    for name in ("README.md", "README.zh-CN.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / name).read_text()):
            assert (ROOT / target).exists(), target
