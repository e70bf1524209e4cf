"""The image built by buildah, of a base that is made of Debian's packages: there need be no registry and no daemon."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT

SUITE = "bookworm"
PACKAGES = "python3,python3-venv,ca-certificates"
TAKEN_OVER = ("cert", "index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout")
"""Of this machine's pip: how it gets at packages."""
PIP_CONF = "/etc/pip.conf"
CERTIFICATES = "/etc/ssl/certs"


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout.strip()


def base_tree(folder):
    """Have Debian's base system, with Python, in a folder."""
    if not (folder / "usr" / "bin" / "python3").exists():
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, folder)
    return folder


def pip_conf():
    """Return this machine's configuration of pip, for the time of the build."""
    found = {}
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        found[name.split(".", 1)[-1].lstrip(".")] = value.strip("'")
    return "[global]\n" + "".join(f"{name} = {found[name]}\n" for name in TAKEN_OVER if name in found)


class Builder:
    """Buildah, with all that it keeps in a folder of ours."""

    def __init__(self, folder):
        self._folder = folder
        self._words = ["buildah", "--storage-driver", "vfs", "--root", folder / "root", "--runroot", folder / "run"]

    def __call__(self, *words):
        return run(*self._words, *words)

    def base(self, tree):
        """Make an image of a tree; return its name."""
        made = self("from", "scratch")
        run("cp", "-a", f"{tree}/.", self("mount", made))
        self("umount", made)
        self("commit", "--quiet", made, "localhost/base")
        self("rm", made)
        return "localhost/base"

    def image(self, base):
        """Build our Dockerfile as it is, upon a base; return its name."""
        conf = self._folder / "pip.conf"
        conf.write_text(pip_conf())
        mounts = ["--volume", f"{conf}:{PIP_CONF}:ro", "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
        words = ["--isolation", "chroot", "--format", "docker", "--ignorefile", ROOT / ".dockerignore"]
        revision = run("git", "rev-parse", "HEAD", cwd=ROOT)
        arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"REVISION={revision}"]
        name = "localhost/gemini-gateway:tried"
        self("bud", "--quiet", *words, *arguments, *mounts, "-f", ROOT / "deploy" / "Dockerfile", "-t", name, ROOT)
        return name

    def config(self, image):
        """Return what the image says of how it is run."""
        return json.loads(self("inspect", "--type", "image", image))["Docker"]["config"]

    @contextmanager
    def mounted(self, image):
        """Yield the image's files."""
        made = self("from", "--pull-never", image)
        try:
            yield Path(self("mount", made))
        finally:
            self("umount", made)
            self("rm", made)
