"""A gateway over an upstream that breaks the rules: forms of streams, clients that leave, limits of memory."""

import gzip
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import BASE_SETTINGS, KEY, Gateway
from tests.scripted_upstream import (
    CUT,
    END,
    HEADERS,
    HOLD,
    MODEL,
    ScriptedUpstream,
    chunk,
    event,
    head,
    outcome,
    piece,
    request_of,
    whole,
)

SETTINGS = """
[limits]
concurrency = 2000
[transports.api]
base_url = "{url}"
[[transports.api.accounts]]
id = "one"
key = "AIzaScripted"
concurrency = 1000
"""
DIALECTS = ("chat", "responses", "anthropic", "gemini")
UNREAD_MODEL = "gemini-3.8-flash"
MOST_MEMORY = 48 * 2**20
LEFT = 1000
"""Streams that their clients leave."""


@pytest.fixture(scope="module")
def upstream():
    one = ScriptedUpstream()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def gateway(upstream, tmp_path_factory):
    settings = BASE_SETTINGS.format(key=KEY) + SETTINGS.format(url=upstream.url)
    process = Gateway(tmp_path_factory.mktemp("upstreams"), settings)
    yield process
    process.stop()


@contextmanager
def sent(gateway, dialect, name, *, stream=True, more="", model=MODEL):
    """Send a request for a script; yield the connection, whose answer was not waited for."""
    path, body = request_of(dialect, f"@{name}@{more}", stream=stream, model=model)
    connection = http.client.HTTPConnection(urlsplit(gateway.origin).netloc, timeout=90)
    try:
        connection.request("POST", path, json.dumps(body), HEADERS)
        yield connection
    finally:
        connection.close()


STOP = chunk(reason="STOP", usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 2})
TEXT = "Grüße 你好 😀"
EVENTS = event(chunk(TEXT), STOP)
LATE = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
REFUSED = {"error": {"code": 400, "message": "Thing is wrong.", "status": "INVALID_ARGUMENT"}}


def pieces(data, size):
    return b"".join(piece(data[at : at + size]) for at in range(0, len(data), size))


FORMS = {
    "bytes alone": ([head(), pieces(EVENTS, 1), END], TEXT, ""),
    "line feeds": ([head(), piece(event(chunk(TEXT), STOP, end="\n")), END], TEXT, ""),
    "carriage returns": ([head(), pieces(event(chunk(TEXT), STOP, end="\r"), 5), END], TEXT, ""),
    "byte order mark": ([head(), piece(b"\xef\xbb\xbf" + EVENTS), END], TEXT, ""),
    "other fields": (
        [head(), piece(b": hi\r\nid: 7\r\nevent: message\r\nretry: 1\r\n" + EVENTS + b":\n"), END],
        TEXT,
        "",
    ),
    "several lines": ([head(), piece(EVENTS.replace(b", ", b",\r\ndata:")), END], TEXT, ""),
    "no last line end": ([head(), piece(EVENTS.rstrip(b"\r\n") + b"\n"), END], TEXT, ""),
    "empty chunks": ([head(), piece(event({}, chunk(), chunk(TEXT), {"candidates": []}, STOP, {})), END], TEXT, ""),
    "no type": ([head(kind=""), piece(EVENTS), END], TEXT, ""),
    "more behind the finish": ([head(), piece(event(chunk(TEXT[:5]), STOP, chunk(TEXT[5:]))), END], TEXT, ""),
    "cut behind the finish": ([head(), piece(EVENTS), CUT], TEXT, ""),
    "until the connection closes": ([b"HTTP/1.1 200 OK\r\n\r\n" + EVENTS, CUT], TEXT, ""),
    "cut": ([head(), piece(event(chunk(TEXT))), CUT], TEXT, "upstream_reset"),
    "ended early": ([head(), piece(event(chunk(TEXT))), END], TEXT, "upstream_reset"),
    "cut in an event": ([head(), piece(EVENTS[:-20]), END], TEXT, "upstream_reset"),
    "nothing": ([head(), END], "", "upstream_reset"),
    "late error": ([head(), piece(event(chunk(TEXT), LATE)), END], TEXT, "upstream_overloaded"),
    "late error outside of events": (
        [head(), piece(event(chunk(TEXT)) + json.dumps(LATE, indent=2).encode()), END],
        TEXT,
        "upstream_overloaded",
    ),
    "an array": ([whole([chunk(TEXT), STOP])], "", "upstream_protocol_error"),
    "an array with an error": ([whole([chunk(TEXT), LATE])], "", "upstream_overloaded"),
    "a page": ([whole(b"<!doctype html>\n<title>Error</title>", kind="text/html")], "", "upstream_protocol_error"),
    "other JSON": ([head(), piece(b"data: [1]\n\n"), END], "", "upstream_protocol_error"),
    "an error in pieces": (
        [head(400), *(piece(json.dumps(REFUSED).encode()[at : at + 9]) for at in range(0, 90, 9)), END],
        "",
        "unsupported_value",
    ),
    "invalid HTTP": ([b"hello\r\n\r\n", CUT], "", "upstream_protocol_error"),
    "packed": (
        [head(200, "text/event-stream", "Content-Encoding: gzip"), pieces(gzip.compress(EVENTS), 3), END],
        TEXT,
        "",
    ),
}
"""Scripts by name, the text that arrives, and the code of the error."""


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_a_stream_has_its_answer_or_its_error(gateway, upstream, name):
    upstream.scripts[name], text, code = FORMS[name]
    assert outcome(gateway, name, stream=True) == (text, code)


WHOLE_FORMS = {
    "whole": ([whole(chunk(TEXT, "STOP"))], TEXT, ""),
    "whole in bytes": (
        [head(kind="application/json"), pieces(json.dumps(chunk(TEXT, "STOP")).encode(), 1), END],
        TEXT,
        "",
    ),
    "whole error": ([whole(LATE)], "", "upstream_overloaded"),
    "whole page": ([whole(b"<!doctype html>", kind="text/html")], "", "upstream_protocol_error"),
    "whole array": ([whole([chunk(TEXT, "STOP")])], "", "upstream_protocol_error"),
    "whole cut": ([head(kind="application/json"), piece(b'{"candi'), CUT], "", "upstream_reset"),
    "whole without end": ([whole(chunk(TEXT))], "", "upstream_reset"),
    "whole nothing": ([whole(b"")], "", "upstream_protocol_error"),
}


@pytest.mark.parametrize("name", WHOLE_FORMS)
def test_each_form_of_a_whole_answer_has_its_text_or_its_error(gateway, upstream, name):
    upstream.scripts[name], text, code = WHOLE_FORMS[name]
    assert outcome(gateway, name, stream=False) == (text, code)


MOMENTS = {
    "before the head": [HOLD],
    "before the first event": [head(), piece(b": hello\n\n"), HOLD],
    "in the middle of an event": [head(), piece(EVENTS[:20]), HOLD],
    "between two events": [head(), piece(event(chunk(TEXT))), HOLD],
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_upstream_is_left_when_the_client_leaves_at_any_moment(gateway, upstream, dialect, stream, moment):
    upstream.scripts[moment] = MOMENTS[moment]
    held, left = upstream.seen[f"{moment} held"], upstream.seen[f"{moment} left"]
    with sent(gateway, dialect, moment, stream=stream):
        assert upstream.until(f"{moment} held", held + 1) == held + 1
    assert upstream.until(f"{moment} left", left + 1) == left + 1


def test_the_upstream_is_left_when_the_client_leaves_while_the_request_is_sent(gateway, upstream):
    upstream.reading = False
    with sent(gateway, "chat", "-", model=UNREAD_MODEL, more="x" * 20_000_000):
        assert upstream.until("unread held", 1) == 1
    upstream.reading = True
    assert upstream.until("unread left", 1) == 1


def test_connections_are_used_again_after_whole_answers_and_refusals_only(gateway, upstream):
    upstream.scripts |= {
        "again": [head(), piece(EVENTS), END],
        "again whole": [whole(chunk(TEXT, "STOP"))],
        "again refused": [
            head(400),
            piece(json.dumps(REFUSED).encode()[:30]),
            piece(json.dumps(REFUSED).encode()[30:]),
            END,
        ],
        "broken": [head(), piece(event(chunk(TEXT), LATE)), HOLD],
    }
    outcome(gateway, "again", stream=True)
    before, asked = upstream.seen["connections"], upstream.seen["requests"]
    for _ in range(5):
        assert outcome(gateway, "again", stream=True) == (TEXT, "")
        assert outcome(gateway, "again whole", stream=False) == (TEXT, "")
        assert outcome(gateway, "again refused", stream=False)[1]
    assert upstream.seen["requests"] - asked == 15
    assert upstream.seen["connections"] == before
    assert outcome(gateway, "broken", stream=True) == (TEXT, "upstream_overloaded")
    assert upstream.until("broken left", 1) == 1
    assert outcome(gateway, "again", stream=True) == (TEXT, "")
    assert upstream.seen["connections"] == before + 1


def test_many_streams_that_are_left_leave_no_connections(gateway, upstream):
    upstream.scripts["left"] = MOMENTS["between two events"]

    def leave(_):
        with sent(gateway, "chat", "left") as connection:
            assert connection.getresponse().status == 200

    leave(0)
    folder = Path(f"/proc/{gateway.pid}/fd")
    files, memory = len(list(folder.iterdir())), gateway.size("VmRSS")
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(leave, range(LEFT)))
    assert upstream.until("left left", LEFT + 1) == LEFT + 1
    assert until(lambda: len(list(folder.iterdir())) <= files)
    assert gateway.size("VmRSS") - memory < MOST_MEMORY


def until(holds):
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def endless(data):
    """Return a step that sends data as long as it is taken."""

    def step():
        while True:
            yield piece(data)

    return step


@pytest.mark.parametrize("begin", [b'data: {"candidates": [{"content": {"parts": [{"text": "', b"<html>"])
def test_an_endless_line_ends_at_a_limit(gateway, upstream, begin):
    memory = gateway.size("VmRSS")
    upstream.scripts["endless"] = [head(), piece(begin), endless(b"x" * 65536)]
    assert outcome(gateway, "endless", stream=True) == ("", "upstream_protocol_error")
    assert gateway.size("VmHWM") - memory < 5 * 64 * 2**20


def test_a_client_that_does_not_read_stops_the_upstream(gateway, upstream):
    upstream.scripts["much"] = [head(), endless(event(chunk("x" * 60_000)))]
    memory, before = gateway.size("VmRSS"), upstream.sent
    with sent(gateway, "chat", "much") as connection:
        sent_last = -1
        while upstream.sent != sent_last:  # until all buffers are full
            sent_last = upstream.sent
            time.sleep(0.3)
        assert 0 < upstream.sent - before < MOST_MEMORY
        assert gateway.size("VmRSS") - memory < MOST_MEMORY
        del connection
    assert upstream.until("much left", 1) == 1
