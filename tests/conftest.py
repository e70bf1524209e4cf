"""Fixtures and processes that many tests use, reruns of process tests, and the seconds of each area."""

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx2
import hypothesis
import pytest
import structlog

from tests.clock import ManualClock

hypothesis.settings.register_profile("steady", deadline=None, print_blob=True)
hypothesis.settings.load_profile("steady")
vars(httpx2._config.DEFAULT_TIMEOUT_CONFIG).update(connect=90.0, read=90.0, write=90.0, pool=90.0)  # a busy machine

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "tests"
PROCESS_FOLDERS = {"chaos", "conformance", "deploy", "flows", "foreign", "replay", "rollout"}
PROCESS_FIXTURES = {"gateway", "open_terminal", "redis", "servers", "start_command", "start_gateway"}
PROCESS_STORES = {"redis", "valkey"}
KEY = "sk-test-q7Lw9ZkT3vXn5RbY2mHc8JdF"

BASE_SETTINGS = """
[server]
port = 0

[drain]
grace_seconds = 10

[[licenses]]
id = "tester"
key = "{key}"
"""
"""Settings without a transport."""

SETTINGS = f"""{BASE_SETTINGS}
[transports.simulator.pace]
first_token_seconds = 0.0
tokens_per_second = 0.0
"""


def area_of(path):
    """Return the folder of `tests/` that a test file lies in."""
    return path.parts[1] if path.parts[0] == TESTS.name and len(path.parts) > 2 else TESTS.name


def runs_processes(item):
    """Return whether a test depends on real processes or on a real server, and so on the machine's load."""
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return (
        area_of(item.path.relative_to(ROOT)) in PROCESS_FOLDERS
        or not PROCESS_FIXTURES.isdisjoint(item.fixturenames)
        or any(isinstance(value, str) and value in PROCESS_STORES for value in values)
    )


def pytest_collection_modifyitems(config, items):
    """Let each test that runs processes be run once more if it fails; the summary names these."""
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in filter(runs_processes, items):
            item.add_marker(pytest.mark.flaky(reruns=1))


class AreaSeconds:
    """Sums up the seconds of each area, and shows them at the end."""

    def __init__(self):
        self._seconds, self._tests = Counter(), Counter()

    def pytest_runtest_logreport(self, report):
        area = area_of(Path(report.nodeid.partition("::")[0]))
        self._seconds[area] += report.duration
        self._tests[area] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("seconds by area")
        for area, seconds in self._seconds.most_common():
            terminalreporter.write_line(f"{seconds:8.1f} s  {area} ({self._tests[area]} tests)")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # with xdist, the reports of all workers come here
        config.pluginmanager.register(AreaSeconds())


class Process:
    """A `gemini-gateway` command under test; its lines are read as they come."""

    def __init__(self, *arguments, cwd, python=sys.executable, env=None, command=None):
        self.log = Path(cwd) / f"{arguments[0]}.log"
        self._out = self.log.open("wb")
        self._popen = subprocess.Popen(
            command or [python, "-u", "-m", "service", *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )

    @property
    def pid(self):
        return self._popen.pid

    def size(self, name):
        """Return a size of `/proc/PID/status`, as `VmRSS`, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

    def text(self):
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, *words, seconds=90.0):
        """Return the first line that has all words."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.text().splitlines():
                if all(word in line for word in words):
                    return line
            if self._popen.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {words!r} from the process (status {self._popen.poll()}):\n{self.text()}")

    def signal(self, number=signal.SIGTERM):
        self._popen.send_signal(number)

    def status(self, seconds=90.0):
        """Wait for the end; return the exit status."""
        return self._popen.wait(seconds)

    def stop(self):
        """End it and its children in any state."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(20)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        self._out.close()


class Site(Process):
    """`gemini-gateway simulate` with one account, which answers at once unless the options say otherwise."""

    def __init__(self, cwd, *options):
        super().__init__(
            "simulate", "--port", "0", "--account", "a:b:pro", "--tokens-per-second", "0", *options, cwd=cwd
        )
        self.url = self.wait_for("Base URL").rpartition(" ")[2].strip()
        self.cookies = self.wait_for("Account (pro)").partition(": ")[2].strip()


class Gateway(Process):
    """`gemini-gateway serve` with settings of a test's own."""

    def __init__(self, cwd, settings=None, *arguments, python=sys.executable, env=None):
        (Path(cwd) / "gateway.toml").write_text(settings if settings is not None else SETTINGS.format(key=KEY))
        super().__init__("serve", *arguments, cwd=cwd, python=python, env=env)
        self.key = KEY
        try:
            self.origin = self.wait_for("Listening on").rpartition(" ")[2].strip()
        except AssertionError:
            self.stop()
            raise
        self.base_url = f"{self.origin}/gemini_official/v1"


@pytest.fixture(autouse=True)
def logs_of_its_own(monkeypatch):
    """Reset the log settings after each test: a logger that was used with them would keep them."""
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **settings: configure(**settings | {"cache_logger_on_first_use": False})
    )
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(scope="session", params=["strict", "site"])
def gateway(request, tmp_path_factory):
    """A gateway over a simulator that answers at once, in each of its profiles."""
    token = "absent" if request.param == "site" else "SNlM0e"  # as most pages of the site are
    profile = f'\n[transports.simulator]\nprofile = "{request.param}"\npage_token = "{token}"\n'
    process = Gateway(tmp_path_factory.mktemp("gateway"), SETTINGS.format(key=KEY) + profile)
    yield process
    process.stop()


API_KEYS = ("AIzaSimulatedFree-0", "AIzaSimulatedPaid-0:paid")
OFFICIAL = """
[transports.api]
base_url = "{url}"
inline_bytes = 200_000
[[transports.api.accounts]]
id = "free"
key = "AIzaSimulatedFree-0"
[[transports.api.accounts]]
id = "paid"
key = "AIzaSimulatedPaid-0"
tier = "paid"
"""


@pytest.fixture(scope="session")
def official_api(tmp_path_factory):
    """The simulated official API, with a free and a paid key."""
    options = [word for key in API_KEYS for word in ("--api-key", key)]
    process = Site(tmp_path_factory.mktemp("official"), "--first-token-seconds", "0", *options)
    yield process
    process.stop()


@pytest.fixture(scope="session")
def official_gateway(official_api, tmp_path_factory):
    """A gateway over the official API alone."""
    settings = BASE_SETTINGS.format(key=KEY) + OFFICIAL.format(url=official_api.url)
    process = Gateway(tmp_path_factory.mktemp("gateway"), settings)
    yield process
    process.stop()


@pytest.fixture
def start_gateway(tmp_path):
    """Start gateways with settings of the test's own; all are ended."""
    started = []

    def start(settings=None, *arguments, **options):
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Gateway(folder, settings, *arguments, **options))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def start_command(tmp_path):
    """Start any command of `gemini-gateway`; all are ended."""
    started = []

    def start(*arguments, **options):
        started.append(Process(*arguments, **{"cwd": tmp_path, **options}))
        return started[-1]

    yield start
    for process in started:
        process.stop()
