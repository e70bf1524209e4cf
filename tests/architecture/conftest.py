"""A copy of the gateway's packages, to which a test adds a dialect or a transport."""

import os
import re
import shutil

import httpx2 as httpx
import pytest

from tests.conftest import ROOT, Gateway

TOYS = ROOT / "tests" / "architecture" / "toys"


def tokens(gateway):
    """Return the counted tokens of the license, by direction."""
    text = httpx.get(f"{gateway.origin}/metrics").text
    found = re.findall(r'gateway_license_tokens_total{direction="(\w+)",license="tester"} (\S+)', text)
    return {direction: float(count) for direction, count in found}


class Extended:
    """A copy of the packages in a folder, and the gateways that run it."""

    def __init__(self, folder):
        self.folder = folder / "tree"
        for package in ("protocol", "service", "transports"):
            shutil.copytree(ROOT / package, self.folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        self._runs = folder
        self._started = []

    @property
    def env(self):
        """Return the environment of processes that run the copy."""
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    def add_package(self, path, source):
        """Add a package of one module, such as `protocol/toy`."""
        (self.folder / path).mkdir()
        shutil.copy(source, self.folder / path / "__init__.py")

    def add_line(self, file, after, line):
        """Add one line to a file of the copy, after the only line that is `after`."""
        path = self.folder / file
        lines = path.read_text().splitlines()
        assert lines.count(after) == 1
        at = lines.index(after) + 1
        path.write_text("\n".join([*lines[:at], line, *lines[at:], ""]))

    def start(self, settings=None):
        """Start a gateway from the copy."""
        folder = self._runs / f"run{len(self._started)}"
        folder.mkdir()
        self._started.append(Gateway(folder, settings, env=self.env))
        return self._started[-1]

    def stop(self):
        """End all gateways."""
        for gateway in self._started:
            gateway.stop()


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the packages with nothing added yet."""
    copy = Extended(tmp_path_factory.mktemp("extended"))
    yield copy
    copy.stop()
