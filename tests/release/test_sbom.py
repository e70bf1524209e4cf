import json
import re

import pytest

from tests.conftest import ROOT
from tests.release.building import project
from tests.release.lock import pinned
from tests.release.sbom import LOCK, sbom, write


@pytest.fixture(scope="module")
def bill():
    return sbom((ROOT / LOCK).read_text(), project(ROOT))


def test_the_sbom_lists_exactly_the_packages_of_the_lock(bill):
    lines = re.findall(r"(?m)^([\w.-]+)(?:\[.*\])?==(\S+)", (ROOT / LOCK).read_text())
    assert sorted((one["name"], one["version"]) for one in bill["components"]) == sorted(lines)
    assert len({one["bom-ref"] for one in bill["components"]}) == len(lines) > 20


def test_the_sbom_has_every_hash_of_the_lock(bill):
    listed = [digest["content"] for one in bill["components"] for digest in one["externalReferences"][0]["hashes"]]
    assert sorted(listed) == sorted(re.findall(r"sha256:(\w+)", (ROOT / LOCK).read_text()))


def test_each_package_has_a_dependent(bill):
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert set(needs) == {one["bom-ref"] for one in (*bill["components"], bill["metadata"]["component"])}
    reached, ahead = set(), [bill["metadata"]["component"]["bom-ref"]]
    while ahead:
        ref = ahead.pop()
        if ref not in reached:
            reached.add(ref)
            ahead += needs[ref]
    assert reached == set(needs)


def test_packages_that_only_the_build_needs_are_marked(bill):
    assert [one["name"] for one in bill["components"] if one["scope"] == "excluded"] == ["setuptools"]


def test_no_registry_is_named_and_the_same_lock_gives_the_same_file(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, ROOT)
    (first,), (second,) = (list((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    bill = json.loads(first.read_text())
    assert re.findall(r"\w+://[^\s\"]+", first.read_text()) == [bill["$schema"]]


def test_a_file_that_is_not_a_lock_is_refused():
    with pytest.raises(ValueError, match="not a line of a lock"):
        pinned("--index-url x\n")
