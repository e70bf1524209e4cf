"""Many large pictures at once in a gateway with 512 MiB: it survives and keeps serving other requests.

`MEMORY_CLIENTS=64` sends as many at once; a few are enough to see the difference.
"""

import base64
import contextlib
import http.client
import json
import os
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import KEY, Process, Site

MIB = 1024 * 1024
LIMIT = 512 * MIB
CLIENTS = int(os.environ.get("MEMORY_CLIENTS", "16"))
PICTURE_BYTES = 20_000_000
STREAMS = 8
PATH = "/gemini_official/v1/chat/completions"
IMAGES_PATH = "/gemini_official/v1/images/generations"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
SETTINGS = f"""
[server]
port = 0

[[licenses]]
id = "tester"
key = "{KEY}"

[transports.web]
guest = false
hosts = {{ site = "SITE", accounts = "SITE", upload = "SITE" }}

[[transports.web.accounts]]
id = "one"
cookies = "COOKIES"
per_minute = 0
concurrency = 500
"""
WITH_LESS_DATA = f"import resource; resource.setrlimit(resource.RLIMIT_DATA, ({LIMIT}, {LIMIT}));"
SERVE = "from service.__main__ import main; main()"


class Group:
    """A memory cgroup below this process's own; where none can be made, the kernel limits the process's data."""

    def __init__(self):
        self.folder = None
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            root = {"memory": "/sys/fs/cgroup/memory", "": "/sys/fs/cgroup"}.get(controllers)
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            if root is not None and self._make(Path(root + path) / f"gateway-test-{os.getpid()}", name):
                return

    def _make(self, folder, limit):
        try:
            folder.mkdir()
        except OSError:
            return False
        try:
            (folder / limit).write_text(str(LIMIT))
        except OSError:
            folder.rmdir()
            return False
        self.folder = folder
        return True

    def command(self):
        """Return the command that runs the gateway within the limit."""
        if self.folder is None:
            return [sys.executable, "-u", "-c", WITH_LESS_DATA + SERVE, "serve"]
        enter = 'echo $$ > "$0/cgroup.procs"; exec "$@"'
        return ["sh", "-c", enter, str(self.folder), sys.executable, "-u", "-c", SERVE, "serve"]

    def close(self):
        if self.folder is not None:
            self.folder.rmdir()


class Confined(Process):
    """`gemini-gateway serve` in a group."""

    def __init__(self, cwd, settings, group):
        (Path(cwd) / "gateway.toml").write_text(settings)
        super().__init__("serve", cwd=cwd, command=group.command())
        self.address = urlsplit(self.wait_for("Listening on").rpartition(" ")[2].strip()).netloc


@pytest.fixture
def confined(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    group = Group()
    folder = tmp_path_factory.mktemp("gateway")
    gateway = Confined(folder, SETTINGS.replace("SITE", site.url).replace("COOKIES", site.cookies), group)
    yield gateway
    gateway.stop()
    site.stop()
    group.close()


def picture(number):
    """Return a request's body with a picture of its own, in pieces."""
    words = {"type": "image_url", "image_url": {"url": "data:image/png;base64,URL"}}
    head, _, tail = json.dumps(
        {"model": "gemini-3-pro", "messages": [{"role": "user", "content": [words, {"type": "text", "text": "x"}]}]}
    ).partition("URL")
    own = base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0" + b"%07d" % number)
    return [head.encode(), own, SHARED, tail.encode()]


SHARED = base64.b64encode(os.urandom(3 * (PICTURE_BYTES // 3)))


def ask(address, pieces, outcomes):
    connection = http.client.HTTPConnection(address, timeout=120)
    length = str(sum(map(len, pieces)))
    try:
        with contextlib.suppress(ConnectionError):  # it may answer before it has read all
            connection.request("POST", PATH, iter(pieces), {**HEADERS, "Content-Length": length})
        answer = connection.getresponse()
        answer.read()
        outcomes.append((answer.status, answer.getheader("Retry-After")))
    except (ConnectionError, http.client.HTTPException) as error:
        outcomes.append((type(error).__name__, None))
    finally:
        connection.close()


def stream(address, ends):
    """Read a stream that lasts until all pictures are answered."""
    connection = http.client.HTTPConnection(address, timeout=120)
    text = '<sim length="600" tokens-per-second="30"/>'
    body = json.dumps({"model": "gemini-3-pro", "stream": True, "messages": [{"role": "user", "content": text}]})
    connection.request("POST", PATH, body, HEADERS)
    answer = connection.getresponse()
    first = answer.readline()
    ends.append(None)
    ends.append(b"[DONE]" in (first + answer.read()))
    connection.close()


def started(target, *arguments):
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    return thread


def drawing(address, number, outcomes):
    """Ask for a picture in base64 and read all of it; note the status and whether it is whole."""
    connection = http.client.HTTPConnection(address, timeout=120)
    prompt = f'picture {number} <sim image-bytes="{PICTURE_BYTES}"/>'
    body = json.dumps({"prompt": prompt, "response_format": "b64_json"})
    try:
        connection.request("POST", IMAGES_PATH, body, HEADERS)
        answer = connection.getresponse()
        length, tail = 0, b""
        while piece := answer.read(256 * 1024):
            length, tail = length + len(piece), (tail + piece)[-256:]
        whole = str(length) == answer.getheader("Content-Length") and tail.endswith(b"}")
        if answer.status == 200:
            whole = whole and length > PICTURE_BYTES * 4 // 3
        outcomes.append((answer.status if whole else "cut", answer.getheader("Retry-After")))
    except (ConnectionError, http.client.HTTPException) as error:
        outcomes.append((type(error).__name__, None))
    finally:
        connection.close()


def survives(confined, begin):
    """Run what `begin` starts while streams and small chats run; return the outcomes."""
    outcomes, chats, ends = [], [], []
    streams = [started(stream, confined.address, ends) for _ in range(STREAMS)]
    while len(ends) < STREAMS:
        time.sleep(0.01)
    clients = [begin(number, outcomes) for number in range(CLIENTS)]
    small = json.dumps({"model": "gemini-3-pro", "messages": [{"role": "user", "content": "hello"}]}).encode()
    while any(client.is_alive() for client in clients):
        ask(confined.address, [small], chats)
    for thread in [*clients, *streams]:
        thread.join()
    until, resident = time.monotonic() + 10, LIMIT
    while resident >= 150 * MIB and time.monotonic() < until:
        time.sleep(0.05)
        resident = confined.size("VmRSS")
    print(f"{len(chats)} small chats; peak {confined.size('VmHWM') / MIB:.0f} MiB, then {resident / MIB:.0f} MiB")
    print({status: sum(one == status for one, _ in outcomes) for status, _ in outcomes})
    assert ends.count(True) == STREAMS
    assert {status for status, _ in chats} == {200}
    assert {status for status, _ in outcomes} <= {200, 503}
    assert 200 in {status for status, _ in outcomes}
    assert all(retry for status, retry in outcomes if status == 503)
    assert resident < 150 * MIB
    assert "MemoryError" not in confined.log.read_text()
    return outcomes


def test_many_pictures_neither_kill_the_gateway_nor_delay_small_chats(confined):
    survives(confined, lambda number, outcomes: started(ask, confined.address, picture(number), outcomes))


def test_many_pictures_in_base64_neither_kill_the_gateway_nor_delay_small_chats(confined):
    survives(confined, lambda number, outcomes: started(drawing, confined.address, number, outcomes))
