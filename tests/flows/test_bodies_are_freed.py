"""A refused request leaves nothing of its body behind, though the garbage collector never runs."""

import base64
import contextlib
import http.client
import json
import select
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.conftest import KEY, Process, Site

MIB = 1024 * 1024
TIMES = 200
WITHOUT_COLLECTOR = "import gc; gc.disable(); from service.__main__ import main; main()"
SETTINGS = f"""
[server]
port = 0

[limits]
body_bytes = {4 * MIB}
file_bytes = {2 * MIB}

[pool]
consecutive_failures = 100000
throttle_ratio = 0
queue_timeout_seconds = 120

[drain]
grace_seconds = 2

[[licenses]]
id = "tester"
key = "{KEY}"

[transports.web]
guest = false
reuse_seconds = 0
hosts = {{ site = "SITE", accounts = "SITE", upload = "SITE" }}

[[transports.web.accounts]]
id = "one"
cookies = "COOKIES"
per_minute = 0
concurrency = 2
"""


class Bare(Process):
    """`gemini-gateway serve` in an interpreter whose garbage collector is off."""

    def __init__(self, cwd, settings):
        (Path(cwd) / "gateway.toml").write_text(settings)
        super().__init__("serve", cwd=cwd, command=[sys.executable, "-u", "-c", WITHOUT_COLLECTOR, "serve"])
        self.address = urlsplit(self.wait_for("Listening on").rpartition(" ")[2].strip()).netloc

    def until_no_files(self):
        """Return when no file of a request is open; a request's end may come after its answer."""
        until = time.monotonic() + 90
        while self.files():
            assert time.monotonic() < until, f"{self.files()} files are open"
            time.sleep(0.01)

    def until_idle(self):
        """Return when no request is running: the server notices after a while that a silent client has left."""
        until = time.monotonic() + 90
        idle = "\ngateway_requests_in_flight 1.0\n"  # this one
        while idle not in urlopen(f"http://{self.address}/metrics").read().decode():
            assert time.monotonic() < until, "requests are still running"
            time.sleep(0.01)

    def files(self):
        """Return how many files of requests are open."""
        count = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                count += str(link.readlink()).endswith(" (deleted)")
        return count


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"), "--first-token-seconds", "0")
    settings = SETTINGS.replace("SITE", site.url).replace("COOKIES", site.cookies)
    gateway = Bare(tmp_path_factory.mktemp("gateway"), settings)
    yield gateway
    gateway.stop()
    site.stop()


def chat(content, **more):
    return json.dumps({"model": "gemini-3-pro", "messages": [{"role": "user", "content": content}], **more}).encode()


def image(data):
    return [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]


LARGE = base64.b64encode(bytes(MIB)).decode()
BODIES = {
    "too long": (413, bytes(6 * MIB)),
    "file too long": (413, chat(image(base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(2 * MIB)).decode()))),
    "bad base64": (400, chat(image(LARGE + "!"))),
    "bad type": (400, chat(image(LARGE))),
    "no JSON": (400, b"{" + LARGE.encode()),
    "wrong field": (400, chat("x" * MIB, n="many")),
    "unknown model": (404, chat("x" * MIB).replace(b"gemini-3-pro", b"gpt-9")),
    "too much text": (400, chat("x" * MIB)),
    "upstream error": (502, chat('<sim http="500"/>' + "x" * 100_000)),
    "code of the upstream": (400, chat('<sim error="1053"/>' + "x" * 100_000)),
}


def form(*files, **fields):
    """Return a form's body."""
    parts = [
        f'--xx\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    body = "".join(parts).encode()
    for name, data in files:
        head = f'--xx\r\nContent-Disposition: form-data; name="{name}"; filename="x.png"\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    return body + b"--xx--\r\n"


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)
LONG_PNG = PNG + bytes(MIB)
FORMS = {
    "unknown path": (404, "nothing", bytes(6 * MIB)),
    "edit: too long": (413, "images/edits", bytes(6 * MIB)),
    "edit: file too long": (413, "images/edits", form(("image", PNG + bytes(3 * MIB)), prompt="x")),
    "edit: no picture": (400, "images/edits", form(("image", bytes(MIB)), prompt="x")),
    "edit: no end": (400, "images/edits", form(("image", LONG_PNG), prompt="x")[:-8]),
    "edit: two prompts": (
        400,
        "images/edits",
        form(("image", LONG_PNG), prompt="x").replace(b"--xx--", b"") + form(prompt="y"),
    ),
    "edit: other field": (400, "images/edits", form(("film", LONG_PNG), prompt="x")),
    "edit: mask of another size": (400, "images/edits", form(("image", LONG_PNG), ("mask", LONG_PNG), prompt="x")),
    "edit: upstream error": (502, "images/edits", form(("image", LONG_PNG), prompt='<sim http="500"/>')),
    "video: file too long": (413, "videos", form(("input_reference", PNG + bytes(3 * MIB)), prompt="x")),
    "video: no picture": (400, "videos", form(("input_reference", bytes(MIB)), prompt="x")),
    "video: unknown model": (404, "videos", form(("input_reference", LONG_PNG), prompt="x", model="gpt-9")),
}


def ask(connection, body, key=KEY, path="chat/completions", kind="application/json"):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
    with contextlib.suppress(ConnectionError):  # the answer may come before the body was read
        connection.request("POST", f"/gemini_official/v1/{path}", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def refused(bare, body, key=KEY, **to):
    connection = http.client.HTTPConnection(bare.address, timeout=90)
    try:
        return ask(connection, body, key, **to)
    except (ConnectionError, http.client.HTTPException):  # it was cut off with the rest of the body
        return None, b""
    finally:
        connection.close()


def grown(bare, work):
    """Return how many bytes the process grew by, from the 20th to the last time."""
    for _ in range(20):
        work()
    before = bare.size("VmRSS")
    for _ in range(TIMES):
        work()
    return bare.size("VmRSS") - before


def hung_up(bare, body):
    """Send a request and leave at once, before or in mid-answer."""
    connection = http.client.HTTPConnection(bare.address, timeout=90)
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    connection.request("POST", "/gemini_official/v1/chat/completions", body, headers)
    connection.close()


LEAVING = {
    "before the answer": chat('<sim delay="30"/>' + "x" * 100_000),
    "in mid-stream": chat('<sim length="100000" tokens-per-second="1"/>' + "x" * 100_000, stream=True),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_refused_form_is_freed_and_its_files_are_closed(bare, name):
    status, path, body = FORMS[name]
    seen = set()
    to = {"path": path, "kind": "multipart/form-data; boundary=xx"}
    growth = grown(bare, lambda: seen.add(refused(bare, body, **to)[0]))
    assert seen <= {status, None}
    assert status in seen
    assert growth < 8 * MIB, f"{growth / MIB:.0f} MiB"
    bare.until_no_files()


@pytest.mark.parametrize("name", LEAVING)
def test_the_body_of_a_disconnected_client_is_freed(bare, name):
    assert grown(bare, lambda: hung_up(bare, LEAVING[name])) < 8 * MIB


def test_the_body_of_a_request_that_a_full_queue_refuses_is_freed(bare):
    body, seen = chat("x" * 100_000), set()
    bare.until_idle()
    busy = [http.client.HTTPConnection(bare.address, timeout=60) for _ in range(12)]
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    for connection in busy:
        connection.request("POST", "/gemini_official/v1/chat/completions", chat('<sim delay="120"/>'), headers)
    answered, _, _ = select.select([connection.sock for connection in busy], [], [], 30)
    assert answered, "the queue is not full"
    growth = grown(bare, lambda: seen.add(refused(bare, body)[0]))
    for connection in busy:
        connection.close()
    assert 503 in seen
    assert seen <= {503, None}
    assert growth < 8 * MIB


def test_the_body_of_a_request_with_a_wrong_key_is_freed(bare):
    body, seen = chat("x" * MIB), set()
    assert grown(bare, lambda: seen.add(refused(bare, body, "sk-wrong-key")[0])) < 8 * MIB
    assert 401 in seen


@pytest.mark.parametrize("name", BODIES)
def test_a_refused_body_is_freed(bare, name):
    status, body = BODIES[name]
    seen = set()
    growth = grown(bare, lambda: seen.add(refused(bare, body)[0]))
    assert seen <= {status, None}
    assert status in seen
    assert growth < 8 * MIB, f"{growth / MIB:.0f} MiB"
