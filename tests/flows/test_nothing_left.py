"""Pictures that are cut off on their way leave no file, no reserved memory and no open file behind."""

import http.client
import json
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import KEY

HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
HELD = ("gateway_body_memory_bytes", "gateway_body_memory_queue_length", "gateway_spool_bytes", "gateway_spool_files")


class Client:
    def __init__(self, gateway):
        self.gateway = gateway
        self.before = self.files()

    def files(self):
        """Return how many unnamed files the process has open."""
        found = 0
        for path in Path(f"/proc/{self.gateway.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found += "deleted" in str(path.readlink())
        return found

    def begin(self, prompt, **more):
        connection = http.client.HTTPConnection(urlsplit(self.gateway.origin).netloc, timeout=60)
        body = json.dumps({"prompt": prompt, "response_format": "b64_json", **more})
        connection.request("POST", "/gemini_official/v1/images/generations", body, HEADERS)
        return connection, connection.getresponse()

    def held(self):
        connection = http.client.HTTPConnection(urlsplit(self.gateway.origin).netloc, timeout=60)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        shown = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(shown[name]) for name in HELD}

    def until_nothing_is_left(self):
        until = time.monotonic() + 90
        while (self.files() > self.before or any(self.held().values())) and time.monotonic() < until:
            time.sleep(0.05)
        assert self.files() <= self.before
        assert self.held() == dict.fromkeys(HELD, 0.0)


@pytest.fixture
def client(gateway):
    return Client(gateway)


@pytest.mark.parametrize("more", [{}, {"size": "800x600", "output_format": "webp"}, {"n": 3}])
def test_a_picture_cut_off_by_the_upstream_leaves_nothing(client, more):
    connection, answer = client.begin('a fox <sim image-bytes="9000000" image-cut="3000000"/>', **more)
    assert answer.status == 502
    assert json.loads(answer.read())["error"]["code"]
    connection.close()
    client.until_nothing_is_left()


@pytest.mark.parametrize("more", [{}, {"stream": True}])
def test_a_client_that_disconnects_in_mid_download_leaves_nothing(client, more):
    connection, answer = client.begin('a fox <sim image-bytes="30000000"/>', **more)
    assert answer.status == 200
    assert len(answer.read(1_000_000)) == 1_000_000
    assert client.files() > client.before
    connection.close()
    answer.close()
    client.until_nothing_is_left()
