"""The quick form of `make release`: what is built of the files as they are holds what it should, and serves."""

import tarfile
import zipfile

import pytest

from tests.conftest import ROOT
from tests.release.building import build, copy, project
from tests.release.content import packed, wrong_with_archive, wrong_with_wheel
from tests.release.trying import install_without_dependencies, smoke


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("release") / "tree"
    copy(ROOT, tree)
    return tree


@pytest.fixture(scope="module")
def built(tree):
    return build(tree, tree.parent / "out")


def test_wheel_and_source_archive_hold_the_right_files(built, tree):
    wheel, archive = built
    assert wrong_with_wheel(wheel, tree) == []
    assert wrong_with_archive(archive, tree) == []
    assert {"service/py.typed", "protocol/py.typed", "transports/py.typed", "service/__main__.py"} <= packed(tree)


def test_the_wheel_serves_where_only_it_is_installed(built, tree, tmp_path):
    programs, more = install_without_dependencies(built[0], tmp_path / "venv")
    smoke(programs, tmp_path / "empty", project(tree)["version"], more)


@pytest.mark.parametrize("name", ["tests/test_x.py", "service/gateway.sqlite3", "evil.pth"])
def test_a_file_that_does_not_belong_into_a_wheel_is_found(built, tree, tmp_path, name):
    with zipfile.ZipFile(built[0]) as given, zipfile.ZipFile(tmp_path / built[0].name, "w") as made:
        for one in given.namelist():
            made.writestr(one, given.read(one))
        made.writestr(name, "")
    assert wrong_with_wheel(tmp_path / built[0].name, tree) == [f"has {name}"]


def test_missing_files_and_build_paths_in_a_wheel_are_found(built, tree, tmp_path):
    with zipfile.ZipFile(built[0]) as given, zipfile.ZipFile(tmp_path / built[0].name, "w") as made:
        for one in given.namelist():
            if one != "service/py.typed":
                made.writestr(one, f"# {tree}" if one == "service/cli/options.py" else given.read(one))
    wrong = wrong_with_wheel(tmp_path / built[0].name, tree)
    assert wrong == ["lacks service/py.typed", f"service/cli/options.py contains {tree}"]


def test_a_file_of_the_machine_is_found_in_a_source_archive(built, tree, tmp_path):
    (tmp_path / "gateway.toml").write_text("")
    with tarfile.open(built[1]) as given, tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as made:
        for one in given:
            made.addfile(one, given.extractfile(one) if one.isfile() else None)
        made.add(tmp_path / "gateway.toml", f"gemini_gateway-{project(tree)['version']}/gateway.toml")
        made.add(tmp_path / "gateway.toml", "elsewhere")
    wrong = wrong_with_archive(tmp_path / "archive.tar.gz", tree)
    assert wrong == ["has elsewhere", "has gateway.toml"]
