"""The Makefile on a machine with a broken venv or an old Python."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FAILING = """#!/bin/sh
case "$*" in
*venv*) mkdir -p .venv/bin; touch .venv/bin/python; echo "ensurepip is not available" >&2; exit 1;;
esac
exec {python} "$@"
"""
OLD = "#!/bin/sh\nexit 1\n"


@pytest.fixture
def make(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)

    def run(script):
        python = tmp_path / "some-python"
        python.write_text(script.format(python=sys.executable))
        python.chmod(0o755)
        command = ["make", ".venv/bin/pip", f"PYTHON={python}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_a_venv_of_a_failed_attempt_is_replaced(make, tmp_path):
    failed = make(FAILING)
    assert failed.returncode != 0
    assert "ensurepip is not available" in failed.stderr
    assert (tmp_path / ".venv/bin/python").exists()
    assert make('#!/bin/sh\nexec {python} "$@"\n').returncode == 0
    assert subprocess.run([tmp_path / ".venv/bin/pip", "--version"], capture_output=True, check=False).returncode == 0


def test_a_python_that_is_too_old_is_refused_before_anything_is_made(make, tmp_path):
    failed = make(OLD)
    assert failed.returncode != 0
    assert "Python 3.11 or newer" in failed.stderr
    assert not (tmp_path / ".venv").exists()
