"""Streams of answers that Google's own types have built, in every form that a stream of events may have."""

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.model import CallArguments, CallStarted, Finish, Text
from tests.conftest import ROOT
from transports.generate_content import wire
from transports.generate_content.answer_events import ChunkReader, new_call_ids
from transports.generate_content.sse import SseReader

PYTHON = ROOT / ".venv-foreign" / "bin" / "python"
SCRIPT = Path(__file__).with_name("answer_samples.py")
NAMES = ("text", "thoughts", "calls", "code", "sources", "picture", "several usages")
OTHERS = st.sampled_from([": ping", ":", "event: message", "id: 7", "retry: 10", "event:"])
MOST = 100_000


@cache
def samples():
    done = subprocess.run([PYTHON, "-I", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def events_of(bodies):
    """Return the events of chunks, and the files; the arguments of calls are read, since numbers have several forms."""
    files, found = [], []
    reader = ChunkReader(lambda blob: files.append((blob.mime_type, blob.data)), new_call_ids("call_"))
    for body in bodies:
        found += reader.read(wire.decode_response(body))
    found += reader.end()
    return [json.loads(event.text) if isinstance(event, CallArguments) else event for event in found], files


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, Text))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["sdk", "protos"])
def test_both_forms_of_a_chunk_mean_what_the_sdk_reads(name, form):
    sample = samples()[name]
    events, files = events_of(map(str.encode, sample[form]))
    if name != "code":  # code becomes text here
        assert text_of(events) == sample["text"]
    calls = [event.name for event in events if isinstance(event, CallStarted)]
    arguments = [event for event in events if isinstance(event, dict)]
    assert [list(call) for call in zip(calls, arguments, strict=True)] == sample["calls"]
    assert (events, files) == events_of(map(str.encode, sample["sdk"]))
    assert isinstance(events[-1], Finish)
    assert (events[-1].usage.input_tokens, events[-1].usage.output_tokens) == (7, 8)


@st.composite
def streams(draw):
    """Return the bytes of a stream of events, cut into pieces, and the name of its answer."""
    name, form = draw(st.sampled_from(NAMES)), draw(st.sampled_from(["sdk", "protos"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    blank = draw(st.sampled_from(["", " "]))
    lines = []
    for body in samples()[name][form]:
        lines += draw(st.lists(OTHERS, max_size=2))
        lines += [f"data:{blank}{line}" for line in body.split("\n")] + [""] * draw(st.integers(1, 2))
    data = (draw(st.sampled_from(["", "\ufeff"])) + end.join([*lines, ""])).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=20)))
    return name, [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@settings(max_examples=200)
@given(streams())
def test_a_stream_means_the_same_in_any_form_and_however_it_is_cut(stream):
    name, pieces = stream
    sse = SseReader(MOST)
    bodies = [body for piece in pieces for body in sse.feed(piece)] + sse.end()
    assert events_of(bodies) == events_of(map(str.encode, samples()[name]["sdk"]))
    assert not sse.other
