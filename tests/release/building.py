"""Builds the wheel and the source archive from a tree that holds what is ours and nothing else."""

import os
import shutil
import subprocess
import sys
import tomllib

ROOMS = ("protocol", "service", "transports")
FILES = ("LICENSE", "README.md", "pyproject.toml")


def project(tree):
    """Return what pyproject.toml says of the project."""
    return tomllib.loads((tree / "pyproject.toml").read_text())["project"]


def copy(root, tree):
    """Copy what is packed, as it is in the folder `root` now, to the new folder `tree`."""
    for room in ROOMS:
        shutil.copytree(root / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(root / name, tree)


def export(root, tree):
    """Copy what the last commit holds to the new folder `tree`; return when it was made, in epoch seconds."""
    tree.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=tree, input=archive.stdout, check=True)
    shown = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=root, capture_output=True, text=True, check=True)
    return int(shown.stdout)


def build(tree, out, at=None):
    """Build the source archive, and from it the wheel, with this environment's setuptools, which the lock pins."""
    environment = {**os.environ, **({} if at is None else {"SOURCE_DATE_EPOCH": str(at)})}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)]
    done = subprocess.run(
        command, cwd=tree.parent, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    (wheel,), (archive,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, archive
