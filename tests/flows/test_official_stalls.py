"""A gateway over an upstream of the official API that sends no chunks, or too slowly."""

import time

import pytest

from tests.conftest import BASE_SETTINGS, KEY, Gateway
from tests.scripted_upstream import END, HOLD, ScriptedUpstream, chunk, event, head, outcome, piece, whole

SETTINGS = """
[deadlines]
chat_seconds = 3
[transports.api]
base_url = "{url}"
timeouts = {{ first_frame = 1.0, between_frames = 1.0 }}
[[transports.api.accounts]]
id = "one"
key = "AIzaScripted"
"""
TEXT = "Good morning"


@pytest.fixture(scope="module")
def upstream():
    one = ScriptedUpstream()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    settings = BASE_SETTINGS.format(key=KEY) + SETTINGS.format(url=upstream.url)
    process = Gateway(tmp_path_factory.mktemp("stalls"), settings)
    yield process
    process.stop()


def drip():
    while True:
        yield piece(event(chunk("a")))
        time.sleep(0.1)


def late():
    time.sleep(1.5)  # longer than chunks may take
    yield whole(chunk(TEXT, "STOP"))


def pings():
    while True:
        yield piece(b": still here\r\n\r\n")
        time.sleep(0)


STALLS = {
    "no head": ([HOLD], "", "upstream_timeout"),
    "comments alone": ([head(), pings], "", "upstream_timeout"),
    "comments behind a chunk": ([head(), piece(event(chunk(TEXT))), pings], TEXT, "upstream_stalled"),
    "silence behind a chunk": ([head(), piece(event(chunk(TEXT))), HOLD], TEXT, "upstream_stalled"),
}


@pytest.mark.parametrize("name", STALLS)
def test_an_upstream_that_sends_no_chunks_is_left_in_time(gateway, upstream, name):
    upstream.scripts[name], text, code = STALLS[name]
    assert outcome(gateway, name, stream=True) == (text, code)
    left_without_cooldown(gateway, upstream, name)


def test_a_whole_answer_that_stops_is_left_in_time(gateway, upstream):
    upstream.scripts["half"] = [head(kind="application/json"), piece(b"{"), HOLD]
    assert outcome(gateway, "half", stream=False) == ("", "upstream_stalled")
    left_without_cooldown(gateway, upstream, "half")


def test_a_whole_answer_may_take_as_long_as_its_request(gateway, upstream):
    upstream.scripts |= {"late": [late], "never": [HOLD]}
    assert outcome(gateway, "late", stream=False) == (TEXT, "")
    assert outcome(gateway, "never", stream=False) == ("", "upstream_timeout")
    left_without_cooldown(gateway, upstream, "never")


def test_an_answer_has_a_limit_as_a_whole(gateway, upstream):
    upstream.scripts["drip"] = [head(), drip]
    text, code = outcome(gateway, "drip", stream=True)
    assert len(text) > 3
    assert code == "upstream_timeout"
    left_without_cooldown(gateway, upstream, "drip")


def left_without_cooldown(gateway, upstream, name):
    assert upstream.until(f"{name} left", 1) >= 1
    upstream.scripts["next"] = [head(), piece(event(chunk(TEXT, "STOP"))), END]
    assert outcome(gateway, "next", stream=True) == (TEXT, "")
