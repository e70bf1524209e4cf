"""Builds what is published from the last commit, looks into it, and tries it where nothing else is installed."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.release.building import build, export, project
from tests.release.content import wrong_with_archive, wrong_with_wheel
from tests.release.sbom import write
from tests.release.trying import install, smoke

ROOT = Path(__file__).parent.parent.parent
OUT = ROOT / "dist"


def main():
    with tempfile.TemporaryDirectory(prefix="gemini-gateway-release-") as name:
        folder = Path(name)
        tree = folder / "tree"
        at = export(ROOT, tree)
        version = project(tree)["version"]
        status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
        if status.stdout:
            print("Not all is committed: this is the last commit.")
        built = build(tree, folder / "out", at)
        for path, wrong in ((built[0], wrong_with_wheel), (built[1], wrong_with_archive)):
            if found := wrong(path, tree):
                raise SystemExit("\n".join(f"{path.name} {words}" for words in found))
            print(f"{path.name} holds what it should, and nothing else.")
        again = build(tree, folder / "again", at)
        if again[0].read_bytes() != built[0].read_bytes():
            raise SystemExit(f"{built[0].name} is another when it is built again")
        print(f"{built[0].name} is the same when it is built again.")
        for number, path in enumerate(built):
            programs = install(path, folder / f"venv-{number}", tree / "deploy" / "requirements.txt")
            smoke(programs, folder / f"empty-{number}", version)
            print(f"{path.name} is installed with the lock's packages alone; it chats, and ends well.")
        publish(built)
        write(OUT, tree)


def publish(built):
    OUT.mkdir(exist_ok=True)
    for old in OUT.glob("gemini_gateway-*"):
        old.unlink()
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in built]
    for path in built:
        shutil.copy(path, OUT)
    (OUT / "SHA256SUMS").write_text("".join(lines))
    print("".join(lines), end="")


main()
