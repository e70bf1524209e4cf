"""Builds the image and runs what is in it: `python -m tests.image [FOLDER]`, as root.

FOLDER holds, or is given, Debian's base system; by default it is made each time. Takes buildah and debootstrap.
"""

import gzip
import io
import os
import shlex
import signal
import stat
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.image.building import Builder, base_tree
from tests.image.running import CHAT, USER, Container, standing

OURS = "opt/gemini-gateway"
KEY = "sk-image-0123456789abcdef"
SIMULATED = {
    "GEMINI_GATEWAY__TRANSPORTS__SIMULATOR": "{}",
    "GEMINI_GATEWAY__LICENSES": f'[{{"id": "tried", "key": "{KEY}"}}]',
}


def main():
    if os.getuid() != 0:
        sys.exit("Run this as root: it bootstraps a base system, mounts folders and drops its privileges.")
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        tree = base_tree(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "base")
        builder = Builder(Path(folder))
        image = builder.image(builder.base(tree))
        config = builder.config(image)
        with builder.mounted(image) as root:
            for look in (files, bytecode, sizes):
                look(root)
            check_config(config)
            runs(root, config)
    print("The image is well.")


def say(words):
    print(f"- {words}")


def files(root):
    """No installer, no setuid or setgid file, no `.pth` file, no writable file of ours."""
    paths = [path for path in root.rglob("*") if not path.is_symlink()]
    modes = {path: path.lstat() for path in paths}
    lending = [path for path in paths if path.is_file() and modes[path].st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert lending == [], lending
    installers = [path for path in paths if path.name in {"pip", "pip3", "ensurepip", "setuptools"} and path.is_dir()]
    assert installers == [], installers
    assert not [path for path in paths if path.suffix == ".pth"]
    ours = [path for path in paths if path.is_relative_to(root / OURS)]
    assert len(ours) > 1000
    assert not [path for path in ours if modes[path].st_uid != 0 or modes[path].st_mode & 0o022]
    say("no installer, no setuid or setgid file, no .pth file; our files belong to root and are not writable")


def bytecode(root):
    """Every module has its bytecode, which holds without a look at the source."""
    (packages,) = (root / OURS / "lib").glob("python3.*/site-packages")
    sources = list(packages.rglob("*.py"))
    for source in sources:
        (compiled,) = source.parent.glob(f"__pycache__/{source.stem}.cpython-*.pyc")
        head = compiled.read_bytes()[:8]
        assert int.from_bytes(head[4:], "little") == 0b01, compiled
    library = next((root / "usr").glob("lib*/python3.*/asyncio/__pycache__"))
    assert list(library.glob("base_events.*.pyc"))
    say(f"bytecode of all {len(sources)} modules, good without a look at their sources")


def sizes(root):
    """Say how large our layer is."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(root / OURS, arcname=OURS)
    zipped = len(gzip.compress(packed.getvalue(), 6))
    assert len(packed.getvalue()) < 150_000_000
    say(f"our layer: {len(packed.getvalue()) / 1e6:.0f} MB, {zipped / 1e6:.0f} MB compressed")


def check_config(config):
    """Check the configuration of the image."""
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["gemini-gateway"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.revision"] != "unknown"
    assert set(config["ExposedPorts"]) == {"8000/tcp", "9090/tcp"}
    assert set(config["Volumes"]) == {"/tmp", "/var/lib/gemini-gateway"}
    say(f"labels, ports, volumes, user and signal; healthcheck: {shlex.join(config['Healthcheck']['Test'])}")


def runs(root, config):
    """It prints its version, serves, answers, reports its health, and stops on a signal."""
    once = Container(root, config, "--version")
    assert once.status() == 0, once.text()
    say(once.text().strip())
    once.stop()
    container = Container(root, config, **SIMULATED)
    try:
        container.wait_for("Listening on")
        confined(container)
        answers(container)
        healthy(container, config["Healthcheck"]["Test"][1:])
        os.kill(container.pid, signal.SIGTERM)
        assert container.status() == 0, container.text()
        assert '"shutdown_finished"' in container.text()
        say("SIGTERM ends it, drained, with status 0")
    finally:
        container.stop()


def confined(container):
    found = standing(container)
    assert found["uid"] == USER
    assert found["pid 1"][1].endswith("/gemini-gateway"), found
    assert found["refused"] == ["Read-only file system"] * 4
    assert found["capabilities"] == {"CapEff": 0, "CapPrm": 0, "CapBnd": 0}
    assert found["no new privileges"] == 1
    assert found["interfaces"] == ["lo"]
    say("runs without privileges, as process 1, with no capability, no network and a root that is read only")


def answers(container):
    answered = container.python(CHAT, KEY)
    assert answered.stdout.strip() == "from within", answered.stdout + answered.stderr
    say("answers a chat")


def healthy(container, health):
    asked = container.run(*health)
    assert asked.returncode == 0, asked.stderr
    wrong = container.run(*health[:-1], health[-1].replace("9090", "9099"))
    assert wrong.returncode == 1
    say("its health check succeeds, and fails if the port does not answer")


if __name__ == "__main__":
    main()
