"""A simulated site, and gateways over it that have an admin API."""

import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import httpx2 as httpx
import jsonschema
import pytest

from tests.conftest import ROOT
from tests.servers import RedisServer, programs

DESCRIBED = json.loads((ROOT / "docs" / "admin-openapi.json").read_text())

TOKEN, OTHER_TOKEN, EYE_TOKEN = "canary-token-ops-4711", "canary-token-boss-0815", "canary-token-eye-9372"
PSID = {name: f"canary-psid-{name}" for name in ("one", "two", "bound")}
PSIDTS = {name: f"canary-psidts-{name}" for name in ("one", "two", "bound")}
CANARIES = (*PSID.values(), *PSIDTS.values(), TOKEN, OTHER_TOKEN, EYE_TOKEN)
SETTINGS = """
[server]
port = 0
{server}

[drain]
grace_seconds = 5

[admin]
port = 0

[[admin.tokens]]
name = "ops"
token = "canary-token-ops-4711"

[[admin.tokens]]
name = "boss"
token = "canary-token-boss-0815"

[[admin.tokens]]
name = "eye"
token = "canary-token-eye-9372"
read_only = true

[[licenses]]
id = "tester"
key = "sk-test-q7Lw9ZkT3vXn5RbY2mHc8JdF"

{more}

[transports.web]
guest = false
activity_seconds = 0

[transports.web.hosts]
site = "{url}"
accounts = "{url}"
upload = "{url}"
"""


def poll(look, so, seconds=60):
    """Look until it is so."""
    until = time.monotonic() + seconds
    while not so(found := look()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def session_of(name):
    """Return an account's session as a browser shows it."""
    return f"__Secure-1PSID={PSID[name]}; __Secure-1PSIDTS={PSIDTS[name]}"


SITE = """
import sys
import msgspec
from service.server.hypercorn import listen, run_app, url_of
from transports import simulator
from transports.clock import SystemClock

config = msgspec.json.decode(sys.argv[1], type=simulator.SimulatorConfig)
listening = listen("127.0.0.1", 0, 64)
url = url_of(listening)
run_app(
    simulator.create_site(config, SystemClock()), listening, tls=None, started=lambda: print(url, flush=True)
)
"""


def check_described(method, path, answer):
    """Compare a response with the description of its operation."""
    parts = path.partition("?")[0].split("/")
    known = (one for one in DESCRIBED["paths"] if len(one.split("/")) == len(parts))
    template = next(
        (one for one in known if all(a in (b, "{id}") for a, b in zip(one.split("/"), parts, strict=True))), None
    )
    operation = DESCRIBED["paths"].get(template, {}).get(method.lower())
    if operation is None:
        assert method == "HEAD" or answer.status_code in (401, 404, 405)
        return
    described = operation["responses"][str(answer.status_code)]
    if "content" not in described:
        assert answer.content == b""
        return
    schema = described["content"]["application/json"]["schema"]
    whole = {**schema, "components": DESCRIBED["components"]}
    jsonschema.Draft202012Validator(whole).validate(answer.json())


@pytest.fixture
def site():
    """The simulated site with three accounts, one of them bound to a device; returns its URL."""
    accounts = [
        {"psid": PSID[name], "psidts": PSIDTS[name], "plan": "advanced", "bound": name == "bound"} for name in PSID
    ]
    config = json.dumps({"accounts": accounts, "pace": {"first_token_seconds": 0, "tokens_per_second": 0}})
    with subprocess.Popen(
        [sys.executable, "-c", SITE, config], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process.stdout.readline().strip()
        process.terminate()
        process.wait(90)


@pytest.fixture
def start(start_gateway, site):
    """Start gateways over the site; no log may contain a secret."""
    started = []

    def begin(server="", more="", url=site):
        started.append(Administered(start_gateway(SETTINGS.format(url=url, server=server, more=more))))
        return started[-1]

    yield begin
    for one in started:
        one.close()
        assert not [canary for canary in CANARIES if canary in one.gateway.text()]


@pytest.fixture
def redis():
    """A Redis of the test's own; returns its server."""
    server = RedisServer(next(iter(programs().values()))).start()
    yield server
    server.stop()


class Administered:
    """A gateway and its admin API; no answer but an export's may show a secret."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.url = gateway.wait_for("Admin API on").rpartition(" ")[2].strip()
        self._client = httpx.Client(base_url=self.url, timeout=60)

    def close(self):
        self._client.close()

    def __call__(self, method, path, json=None, *, token=TOKEN, **options):
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        answer = self._client.request(
            method, path, json=json, headers={**headers, **options.pop("headers", {})}, **options
        )
        check_described(method, path, answer)
        if not path.endswith("/export") or answer.status_code != 200:
            assert not [canary for canary in CANARIES if canary in answer.text]
        return answer

    def add(self, name, **more):
        return self("POST", "/v1/accounts", {"id": name, "secret": session_of(name), **more})

    def state(self, name):
        return self("GET", f"/v1/accounts/{name}").json()["state"]

    def chat(self, **more):
        """Send a request; return the account that answered, by the access log."""
        before = len(self._logged())
        body = {"model": "gemini-3-pro", "messages": [{"role": "user", "content": "hello"}], **more}
        headers = {"Authorization": f"Bearer {self.gateway.key}"}
        answer = httpx.post(f"{self.gateway.base_url}/chat/completions", json=body, headers=headers, timeout=90)
        assert answer.status_code == 200, answer.text
        return poll(self._logged, lambda lines: len(lines) > before)[before]["account"]

    def _logged(self):
        lines = [json.loads(line) for line in self.gateway.text().splitlines() if line.startswith("{")]
        return [
            line for line in lines if line["event"] == "request_finished" and line["route"] == "/v1/chat/completions"
        ]

    @contextmanager
    def events(self, last=None, token=TOKEN):
        """Follow the feed; yield its events as they arrive."""
        headers = {"Authorization": f"Bearer {token}", **({"Last-Event-ID": last} if last else {})}
        with httpx.Client(timeout=60) as client:
            with client.stream("GET", f"{self.url}/v1/events", headers=headers) as response:
                assert response.status_code == 200
                feed = Followed(response)
                yield feed
                feed.stop()


class Followed:
    """The events of a feed as they come, read in a thread."""

    def __init__(self, response):
        self._response, self._news = response, threading.Condition()
        self.events, self.last, self.ended = [], None, False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.wait(lambda: self.last is not None)

    def wait(self, so, seconds=60):
        """Wait until something is so."""
        with self._news:
            assert self._news.wait_for(so, seconds), self.events
        return self.events

    def of(self, account, what, seconds=60):
        """Wait for a change of an account; return it."""
        found = []

        def there():
            found[:] = [data for _, name, data in self.events if name == what and data.get("account") == account]
            return found

        self.wait(there, seconds)
        return found[-1]

    def stop(self):
        with suppress(OSError):  # it has ended
            self._response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def _read(self):
        event = {}
        try:
            for line in self._response.iter_lines():
                name, _, value = line.partition(": ")
                with self._news:
                    if line:
                        event[name] = value
                        continue
                    self.last = event.get("id", self.last)
                    if "data" in event:
                        self.events.append((event["id"], event["event"], json.loads(event["data"])))
                    event = {}
                    self._news.notify_all()
        except httpx.HTTPError:
            return
        with self._news:
            self.ended = True
            self._news.notify_all()
