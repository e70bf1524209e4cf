"""What the repository's files must and must not hold."""

import re
import subprocess
import tomllib

import pytest

from tests.conftest import ROOT

TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_locks_name_no_registry_and_every_version():
    for name in filter(re.compile(r"requirements\.txt$|package\.json$|^tests/conformance/\w+\.txt$").search, TRACKED):
        text = (ROOT / name).read_text()
        assert "://" not in text, name
        assert "index-url" not in text, name
        if name.endswith(".txt"):
            pinned = re.findall(r"(?m)^[a-z0-9][\w.-]*(?:\[[\w,-]+\])?==", text)
            assert text.count("--hash=sha256:") >= len(pinned) > 10, name
        else:
            assert not re.search(r'": "[\^~*]', text), name


def test_a_library_whose_internals_are_used_has_an_upper_bound():
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounded = {re.match(r"[\w-]+", need)[0] for need in needs if "<" in need}
    assert {"aiohttp", "h11", "hiredis", "hypercorn", "redis"} <= bounded


def test_no_lock_file_with_addresses_is_kept():
    assert not [name for name in TRACKED if name.endswith(("uv.lock", "package-lock.json", "poetry.lock"))]


def commands(name):
    text = (ROOT / name).read_text()
    blocks = re.findall(r"```(?:sh|bash|toml|python|js|javascript)\n(.*?)```", text, re.DOTALL)
    return [re.sub(r"\s*#.*", "", block) for block in blocks]


PAGES = ["README.md", "docs/capabilities.md", "docs/two-ways.md"]


def chinese(name):
    return name.replace(".md", ".zh-CN.md")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_and_its_chinese_twin_have_the_same_commands_sections_and_settings(name):
    assert commands(name) == commands(chinese(name))
    assert len(commands(name)) >= 5
    assert shape(name) == shape(chinese(name))


def shape(name):
    """Return what does not depend on the language: the order of headings and tables, and all inline code."""
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)
    code = {re.sub(r"[…\s]", "", word) for word in re.findall(r"`([^`]+)`", text)}
    return re.findall(r"(?m)^(?:#+ |\||- |[0-9]\. )", text), code


def test_pages_link_only_to_files_that_exist():
    for name in (name for name in TRACKED if name.endswith(".md")):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / name).read_text()):
            assert ((ROOT / name).parent / target).exists(), (name, target)


def test_the_readme_has_at_most_600_words():
    assert len((ROOT / "README.md").read_text().split()) <= 600


def test_the_commands_of_the_readme_name_files_that_exist():
    text = "".join(commands("README.md"))
    named = re.findall(r"(?:-f|-k) (\S+)", text)
    assert len(named) == 2
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_readme_shows_the_license_of_the_kubernetes_demo():
    (shown,) = re.findall(r"`(sk-demo-\S+)`", (ROOT / "README.md").read_text())
    assert f"license={shown}\n" in (ROOT / "k8s/overlays/demo/kustomization.yaml").read_text()


def clients(name):
    """Return the first column of a page's table of clients."""
    table = (ROOT / name).read_text().partition("| client |")[2].partition("\n\n")[0]
    return re.findall(r"(?m)^\| ([^|]+) \|", table)


def test_the_clients_of_the_readme_are_those_of_the_clients_page():
    assert clients("README.md") == clients("docs/clients.md")
    assert len(clients("README.md")) >= 6
