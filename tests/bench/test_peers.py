"""The upstream of other gateways says what the site's says, and samples are sorted into parts."""

import json

from tests.bench import answers
from tests.bench.layers import part_of, sorted_samples, table
from tests.bench.peers import upstream


def test_the_openai_upstream_sends_the_same_text_in_as_many_events():
    lines = b"".join(upstream.Connection.frames).split(b"data: {")[1:]
    deltas = [json.loads(b"{" + line.partition(b"\n")[0])["choices"][0]["delta"] for line in lines]
    said = [delta["content"] for delta in deltas if delta.get("content")]
    assert len(said) == answers.FRAMES
    assert "".join(said) == answers.text_of(answers.FRAMES)


def test_a_sample_belongs_to_the_part_of_its_innermost_frame_that_has_one():
    server = "run (/x/service/server/hypercorn.py);serve (/x/site-packages/hypercorn/run.py)"
    assert part_of(server).startswith("HTTP server")
    assert (
        part_of(f"{server};read (/x/transports/store/sqlite.py);fail_after (/x/site-packages/anyio/tasks.py)")
        == "store"
    )
    assert part_of("work (/x/python3.11/threading.py)").startswith("event loop")


def test_samples_become_a_table_of_microseconds():
    found = sorted_samples("a (/x/transports/store/sqlite_queries.py) 3\nb (/x/site-packages/h11/_events.py) 1\n")
    rows = table("One chat", found, 1000.0).splitlines()
    assert rows[0].startswith("| One chat: 1,000 µs, 4 samples |")
    assert rows[2:] == ["| store | 750 | 75% |", "| HTTP server: hypercorn, h11 | 250 | 25% |"]


def test_the_gemini_upstream_sends_the_same_text_in_as_many_events():
    chunks = b"".join(upstream._GEMINI_FRAMES).partition(b"\r\n\r\n")[2].split(b"\r\n")
    stream = b"\r\n".join(part for part in chunks if part and not all(one in b"0123456789abcdef" for one in part))
    events = json.loads(stream)
    said = [event["candidates"][0]["content"]["parts"][0]["text"] for event in events]
    assert len(said) == answers.FRAMES
    assert "".join(said) == answers.text_of(answers.FRAMES)
