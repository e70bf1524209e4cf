"""HAProxy in front of gateways of this machine, with the logic of `deploy/haproxy.cfg`, and its view of the servers."""

import csv
import re
import shutil
import socket
import subprocess
from pathlib import Path

import anyio

from tests.conftest import ROOT
from tests.servers import free_port

SHIPPED = ROOT / "deploy" / "haproxy.cfg"


def configured(text, port, stats, servers):
    """Return the shipped configuration for these servers, each with its name, its port and its probes' port."""
    text, resolvers = re.subn(r"(?ms)^resolvers .*?(?=^\S)", "", text)
    text, binds = re.subn(r"(?m)^(\s+bind) \S+$", rf"\1 127.0.0.1:{port}", text)
    text, found = re.subn(r" port \d+ resolvers \S+ init-addr none", "", text)
    lines = "".join(f"    server {name} 127.0.0.1:{at} check port {probes}\n" for name, at, probes in servers)
    text, templates = re.subn(r"(?m)^\s+server-template .*\n?", lines, text)
    assert (resolvers, binds, found, templates) == (1, 1, 1, 1), "deploy/haproxy.cfg is not as it was"
    text, limits = re.subn(r"maxconn \d+", "maxconn 2000", text)  # as many files as any machine lets it open
    assert limits == 1
    return text.replace("global\n", f"global\n    stats socket {stats} mode 600 level user\n", 1)


class Balancer:
    """HAProxy as a process."""

    def __init__(self, folder, servers):
        self.port, self._stats, self._popen = free_port(), Path(folder) / "haproxy.sock", None
        self._log, self._config = Path(folder) / "haproxy.log", Path(folder) / "haproxy.cfg"
        self._config.write_text(configured(SHIPPED.read_text(), self.port, self._stats, servers))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self):
        program = shutil.which("haproxy")
        assert program, "there is no haproxy: install it (Debian: apt-get install haproxy)"
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                [program, "-db", "-f", str(self._config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        with anyio.fail_after(60):
            while not self._stats.exists():
                assert self._popen.poll() is None, self._log.read_text()
                await anyio.sleep(0.02)
        return self

    async def __aexit__(self, *_):
        self._popen.terminate()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._popen.wait)

    def sees(self):
        """Return its view of each server: the status and the result of the last check, as `DOWN`, `503`."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self._stats))
            asking.sendall(b"show stat\n")
            answer = b"".join(iter(lambda: asking.recv(65536), b"")).decode()
        rows = csv.DictReader(answer.removeprefix("# ").splitlines())
        return {row["svname"]: (row["status"].split()[0], row["check_code"]) for row in rows if row["type"] == "2"}

    async def until(self, name, status, seconds=90):
        """Wait until a server has a status; return the result of its last check."""
        with anyio.fail_after(seconds):
            while True:
                seen, code = self.sees()[name]
                if seen == status:
                    return code
                await anyio.sleep(0.02)
