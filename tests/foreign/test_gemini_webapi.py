"""gemini-webapi, a public client that works against the real site, against the simulator: each step is a test."""

import asyncio
import json
import re
import ssl
import sys
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
from PIL import Image

from tests.conftest import ROOT, Process
from tests.proxies import http, open_proxy

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
"""`make test` installs it."""

SCRIPT = Path(__file__).with_name("steps.py")
STEPS = re.findall(r"(?m)^async def step_(\w+)", SCRIPT.read_text())
HOSTS = {"gemini.google.com", "accounts.google.com", "content-push.googleapis.com", "www.google.com"}
ACCOUNTS = (
    "main:main-first:pro",
    "usage:usage-first:pro:2",
    "rotating:rotating-first:pro",
    "failing:failing-first:pro",
    "research:research-first:pro",
    "video:video-first:pro",
    "expired:expired-first:pro",
    *(f"plan-{plan}:plan-{plan}-first:{plan}" for plan in ("free", "plus", "pro", "advanced")),
)
SECONDS = 90


class Suite:
    """What the client's run reported, and what the site saw of it."""

    def __init__(self, folder, hosts, state):
        lines = map(json.loads, (folder / "out").read_text().splitlines())
        self.steps = {line["step"]: line for line in lines}
        self.said = (folder / "err").read_text("utf-8", "replace")
        self.hosts, self.state = set(hosts), state


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Run the client's whole suite once, in its own venv, by a proxy that leads every host to the simulator."""
    folder = tmp_path_factory.mktemp("foreign")
    names = [word for host in HOSTS for word in ("--tls-name", host)]
    accounts = [word for account in ACCOUNTS for word in ("--account", account)]
    pace = ("--first-token-seconds", "0", "--tokens-per-second", "0")
    site = Process("simulate", "--port", "0", "--tls", *names, *accounts, *pace, cwd=folder)
    try:
        base = site.wait_for("Base URL").rpartition(" ")[2]
        certificate = site.wait_for("Certificate").rpartition(" ")[2]
        hosts = asyncio.run(run_client(folder, certificate, int(base.rpartition(":")[2])))
        context = ssl.create_default_context(cafile=certificate)
        with httpx.Client(verify=context) as client:
            state = client.get(f"{base}/simulator/state").json()
        yield Suite(folder, hosts, state)
    finally:
        site.stop()


async def run_client(folder, certificate, port):
    """Run the steps; return the hosts that the client asked for. What it prints goes into the folder."""
    environment = {"REQUESTS_CA_BUNDLE": certificate, "GEMINI_COOKIE_PATH": str(folder / "cookies")}
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        async with open_proxy(http, to=port) as proxy:
            process = await asyncio.create_subprocess_exec(
                *(PYTHON, "-I", SCRIPT, proxy.address("http"), folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
            )
            try:
                with suppress(TimeoutError):  # the steps that did not come are missed below
                    await asyncio.wait_for(process.wait(), SECONDS)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    return proxy.seen


@pytest.mark.parametrize("step", STEPS)
def test_the_foreign_client_completes_the_step(suite, step):
    assert step in suite.steps, suite.said[-4000:]
    error = suite.steps[step]["error"]
    assert error is None, f"{error}\nThe site: {suite.state['departures']}"


def test_the_foreign_client_called_only_the_site(suite):
    assert suite.hosts == HOSTS


def test_no_request_of_the_foreign_client_was_refused(suite):
    assert suite.state["departures"] == []
    assert all(account["hasty"] == account["refused"] == 0 for account in suite.state["accounts"])


def picture(path):
    """Decode a picture; return its format and longest side."""
    with Image.open(path) as image:
        image.load()
        return image.format, max(image.size)


def test_the_full_size_of_a_picture_is_larger_than_its_rendition(suite):
    files = suite.steps["images"]["data"]
    assert picture(files["small"]) == ("JPEG", 1024)
    assert picture(files["full"]) == picture(files["edited"]) == ("PNG", 2048)


def test_the_video_and_the_song_have_their_file_types(suite):
    film, song = suite.steps["video"]["data"], suite.steps["music"]["data"]
    assert Path(film["video"]).read_bytes()[4:8] == Path(song["video"]).read_bytes()[4:8] == b"ftyp"
    assert Path(song["audio"]).read_bytes()[:2] in (b"ID", b"\xff\xfb", b"\xff\xf3")
    thumbnails = (film["video_thumbnail"], song["video_thumbnail"], song["audio_thumbnail"])
    assert [picture(path)[0] for path in thumbnails] == ["JPEG"] * 3


def test_one_account_was_rotated_once(suite):
    rotations = {
        name.partition(":")[0]: seen["rotations"] for name, seen in zip(ACCOUNTS, suite.state["accounts"], strict=True)
    }
    assert {name: count for name, count in rotations.items() if count} == {"rotating": 1}


def test_the_gateway_neither_imports_nor_installs_the_client():
    sources = [path for room in ("service", "protocol", "transports") for path in (ROOT / room).rglob("*.py")]
    locks = [ROOT / "deploy" / "requirements.txt", ROOT / "tests" / "requirements.txt", ROOT / "pyproject.toml"]
    assert [str(path) for path in [*sources, *locks] if re.search("gemini[_-]webapi", path.read_text())] == []
    assert len(sources) > 100
    assert not list(Path(sys.prefix).glob("lib/python3.*/site-packages/gemini_webapi"))
