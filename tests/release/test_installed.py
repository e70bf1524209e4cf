"""The installed packages are those of the locks, and none runs before the gateway does."""

import hashlib
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.release.building import project
from tests.release.lock import pinned, plain

LOCKS = {Path(sys.prefix): "tests/requirements.txt", ROOT / ".venv-newer": "deploy/requirements.txt"}
SITES = [(site, lock) for venv, lock in LOCKS.items() for site in venv.glob("lib/python3.*/site-packages")]
FOUND = pytest.mark.parametrize(("site", "lock"), SITES, ids=[site.parent.name for site, _ in SITES])
BROUGHT_ALONG = {"pip", "gemini-gateway"}
"""By the making of the environment, and by us."""
EDITABLE = "__editable___{name}_finder"
AT_START = {
    "distutils-precedence.pth": "2638ce9e2500e572a5e0de7faed6661eb569d1b696fcba07b0dd223da5f5d224",
}
"""What setuptools has Python run at each start: its own distutils, which Python has no more."""


@FOUND
def test_every_distribution_is_one_that_the_lock_pins(site, lock):
    wanted = {package.name: package.version for package in pinned((ROOT / lock).read_text())}
    there = {plain(one.name): one.version for one in metadata.distributions(path=[str(site)])}
    odd = {name: version for name, version in there.items() if wanted.get(name) != version}
    assert set(odd) <= BROUGHT_ALONG, odd


@FOUND
def test_nothing_unexpected_runs_when_python_starts(site, lock):
    finder = EDITABLE.format(name=f"gemini_gateway_{project(ROOT)['version'].replace('.', '_')}")
    own = f"__editable__.gemini_gateway-{project(ROOT)['version']}.pth"
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.glob("*.pth")}
    assert (site / own).read_text() == f"import {finder}; {finder}.install()"
    assert {name: digest for name, digest in digests.items() if name != own} == AT_START
    assert not [path for path in site.iterdir() if path.stem in {"sitecustomize", "usercustomize"}]


@FOUND
def test_the_command_runs_this_checkout(site, lock):
    (finder,) = site.glob("__editable___gemini_gateway_*_finder.py")
    line = next(line for line in finder.read_text().splitlines() if line.startswith("MAPPING"))
    assert sorted(Path(word) for word in line.split("'") if word.startswith("/")) == [
        ROOT / room for room in ("protocol", "service", "transports")
    ]
