"""The image's files run as a container runs them: process 1, no privileges, a read-only root, no network."""

import json
import subprocess
import time
from pathlib import Path

USER = 10001
CONFINED = """
set -eu
root=$1 folder=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o nosuid,nodev,size=64m,mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o nosuid,nodev,size=64m,mode=0700,uid=10001,gid=10001 tmpfs "$root/var/lib/gemini-gateway"
ip link set lo up
cd "$root"
exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --inh-caps=-all \\
    --bounding-set=-all env -i --chdir="$folder" "$@"
"""
"""What an engine does before it starts a container's process."""


class Container:
    """One run of the image; `entrypoint`, `environment` and what else it says come from the image itself."""

    def __init__(self, root, config, *command, **environment):
        self._root, self._log = root, Path(f"{root}.log")
        self._variables = [*config["Env"], *(f"{name}={value}" for name, value in environment.items())]
        words = [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--net",
            "--ipc",
            "--uts",
            "sh",
            "-c",
            CONFINED,
        ]
        command = [*config["Entrypoint"], *(command or config["Cmd"])]
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                [*words, "sh", str(root), config["WorkingDir"], *self._variables, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def text(self):
        return self._log.read_text()

    def wait_for(self, word):
        until = time.monotonic() + 90
        while word not in self.text():
            assert self._popen.poll() is None, self.text()
            assert time.monotonic() < until, self.text()
            time.sleep(0.02)

    @property
    def pid(self):
        """The process that is number 1 within."""
        return int(Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text().split()[0])

    def run(self, *words):
        """Run a command within, as an engine's `exec` does."""
        inside = ["nsenter", "--target", self.pid, "--all", "--root", "--wd", f"--setuid={USER}", f"--setgid={USER}"]
        command = [*map(str, inside), "env", "-i", *self._variables, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def python(self, script, *words):
        return self.run("python", "-c", script, *words)

    def status(self):
        """Wait for the end; return the exit status."""
        return self._popen.wait(60)

    def stop(self):
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        self._log.unlink(missing_ok=True)


CHAT = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=20)
body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "<echo>from within</echo>"}]}
headers = {"Authorization": "Bearer " + sys.argv[1], "Content-Type": "application/json"}
connection.request("POST", "/gemini_official/v1/chat/completions", json.dumps(body), headers)
print(json.loads(connection.getresponse().read())["choices"][0]["message"]["content"])
"""
STANDING = """
import json, os, socket
found = {"uid": os.getuid(), "pid 1": open("/proc/1/cmdline").read().split("\\0")[:3], "refused": []}
for path in ("/x", "/etc/gemini-gateway/x", "/opt/gemini-gateway/x", "/usr/x"):
    try: open(path, "w")
    except OSError as error: found["refused"].append(error.strerror)
for path in ("/tmp/x", "/var/lib/gemini-gateway/x"):
    open(path, "w").close()
status = dict(line.split(":", 1) for line in open("/proc/1/status").read().splitlines())
found["capabilities"] = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")}
found["no new privileges"] = int(status["NoNewPrivs"])
found["interfaces"] = [name for _, name in socket.if_nameindex()]
print(json.dumps(found))
"""


def standing(container):
    """Return how the process within stands."""
    done = container.python(STANDING)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
