"""What a request costs, counted instead of timed: a regression fails on any machine.

A bound is what was counted when it was last changed, and one in twenty more of what functions call, for a feature's
sake. Lower it when less is counted. Raise it when a feature is worth what it costs each chat, and say so.
"""

import gc
import itertools
import sys
from collections import Counter

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from tests.bench import answers
from tests.bench.counting import ROOMS, TRIES, Client, chunks, iterators_of, stand
from tests.servers import programs, servers_of
from transports.simulator import encode
from transports.web import wire
from transports.web.codec import answer, frames
from transports.web.codec.answer import AnswerReader

NUMBERS = itertools.count()
STORE_CALLS = {"fresh": 0, "continued": 0}
VALKEY_CALLS = {"fresh": 1, "continued": 2}
TASKS = 2
"""Of a request, hypercorn's and aiohttp's among them."""
CALLS, LIBRARY_CALLS = 886, 733
"""Of a chat: how often functions of ours, and of installed packages, begin or go on."""
CHUNK_CALLS, CHUNK_LIBRARY_CALLS = 93, 42
"""The same of a paced chunk."""
OFFICIAL_CALLS, OFFICIAL_LIBRARY_CALLS = 720, 726
OFFICIAL_CHUNK_CALLS, OFFICIAL_CHUNK_LIBRARY_CALLS = 58, 43
"""The same of a chat, and of a paced chunk, by the official API."""
CHUNK_GENERATORS = 9
"""How often generators of ours go on for a paced chunk: they are the layers that an event passes."""
CHUNK_ITERATORS = 3
"""Async generators and iterators of ours that an event of a plain chat passes, from the decoder to the writer."""
DEPTH = 19
"""Functions of ours that wait for each other while the site is asked."""
CHUNK_BLOCKS = 2
"""Blocks of memory that a paced chunk leaves behind while its stream is open: the decoder keeps its text."""
DECODED = 8_000
"""Bytes of JSON that are decoded of an answer of a hundred frames at once, whose frames have 140,000."""
READ = 2.5
"""How often each byte of an answer is looked at, besides the comparison with the frame before, and …"""
READ_OF_A_FRAME = 250
"""… how many bytes more of each frame: what stands behind its text."""
SIGNED_CALLS = 5
"""Calls of a chat whose signatures are read."""
CHATS, CHUNKS = 10, 10
"""Number of requests in a row that are counted together."""


@pytest.fixture
async def gateway(tmp_path, monkeypatch):
    async with stand(tmp_path, monkeypatch) as one:
        yield one


@pytest.fixture
async def on_valkey(tmp_path, monkeypatch):
    with servers_of(programs()["valkey"]) as start:
        async with stand(tmp_path, monkeypatch, store=f'url = "{start().url}"') as one:
            yield one


@pytest.fixture
async def official(tmp_path, monkeypatch):
    async with stand(tmp_path, monkeypatch, official=True) as one:
        yield one


def prompt(word=answers.SHORT):
    return f"{word} {next(NUMBERS)}"


async def store_calls(one):
    """Return the number of the store's calls of a chat, and of one that continues its conversation."""
    with Client(one) as client:

        async def talk():
            first = prompt()
            said = await client.chat(first)
            await client.chat(first, said, prompt())

        await talk()
        fresh = await one.least(lambda: client.chat(prompt()), CHATS)
        both = await one.least(talk, CHATS)
    return {"fresh": round(fresh.store), "continued": round(both.store) - round(fresh.store)}


async def test_a_chat_makes_few_store_calls(gateway):
    calls = await store_calls(gateway)
    assert calls["fresh"] <= STORE_CALLS["fresh"]
    assert calls["continued"] <= STORE_CALLS["continued"]


async def test_a_chat_makes_few_calls_to_a_store_server(on_valkey):
    calls = await store_calls(on_valkey)
    assert calls["fresh"] <= VALKEY_CALLS["fresh"]
    assert calls["continued"] <= VALKEY_CALLS["continued"]


async def test_a_chat_makes_few_tasks_and_calls_few_functions(gateway):
    with Client(gateway) as client:
        for _ in range(3):
            await client.chat(prompt())
        counts = await gateway.least(lambda: client.chat(prompt()), CHATS)
    assert counts.tasks <= TASKS
    assert counts.calls <= CALLS
    assert counts.libraries <= LIBRARY_CALLS


async def test_a_chat_by_the_official_api_calls_no_more_than_by_the_site(official):
    with Client(official) as client:
        for _ in range(3):
            await client.chat(prompt())
        counts = await official.least(lambda: client.chat(prompt()), CHATS)
    assert round(counts.store) == 0
    assert counts.tasks <= TASKS
    assert counts.calls <= OFFICIAL_CALLS <= CALLS
    assert counts.libraries <= OFFICIAL_LIBRARY_CALLS


async def test_the_signatures_of_all_calls_of_a_chat_are_read_together_and_once(official):
    with Client(official) as client:

        async def turn(first):
            calls = [
                {"id": f"{first}-{number}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
                for number in range(SIGNED_CALLS)
            ]
            results = [{"role": "tool", "tool_call_id": call["id"], "content": "blue"} for call in calls]
            messages = [
                {"role": "user", "content": prompt()},
                {"role": "assistant", "content": None, "tool_calls": calls},
                *results,
            ]
            response = await client.send(messages)
            await anyio.to_thread.run_sync(response.read)

        await turn("first")
        known = await official.least(lambda: turn("first"), CHATS)
        fresh = await official.least(lambda: turn(next(NUMBERS)), CHATS)
    assert round(known.store) == 0
    assert round(fresh.store) == 1


async def test_a_paced_chunk_of_the_official_api_calls_no_more_than_of_the_site(official):
    with Client(official) as client:
        response = await client.begin(prompt(answers.PACED), stream=True)
        await chunks(response, 5)
        counts = await official.least(lambda: chunks(response, CHUNKS), 1)
    assert counts.calls / CHUNKS <= OFFICIAL_CHUNK_CALLS <= CHUNK_CALLS
    assert counts.libraries / CHUNKS <= OFFICIAL_CHUNK_LIBRARY_CALLS


async def test_a_short_stream_makes_as_few_tasks(gateway):
    with Client(gateway) as client:

        async def stream():
            response = await client.begin(prompt(), stream=True)
            await anyio.to_thread.run_sync(response.read)

        await stream()
        counts = await gateway.least(stream, CHATS)
    assert counts.tasks <= TASKS


async def test_requests_and_connections_leave_no_cycles_of_objects(gateway):
    async def once():
        with Client(gateway) as client:
            await client.chat(prompt())
            response = await client.begin(prompt(), stream=True)
            await anyio.to_thread.run_sync(response.read)
        for _ in range(100):  # the gateway sees that the connection is closed
            await anyio.lowlevel.checkpoint()

    await once()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(CHATS):
            await once()
        gc.collect()
        packages = Counter(type(one).__module__.partition(".")[0] for one in gc.garbage)
        assert not packages.keys() & {"service", "protocol", "transports", "hypercorn", "h11", "aiohttp"}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_a_paced_chunk_calls_few_functions_and_passes_few_generators(gateway):
    with Client(gateway) as client:
        response = await client.begin(prompt(answers.PACED), stream=True)
        await chunks(response, 5)
        counts = await gateway.least(lambda: chunks(response, CHUNKS), 1)
    assert counts.calls / CHUNKS <= CHUNK_CALLS
    assert counts.libraries / CHUNKS <= CHUNK_LIBRARY_CALLS
    assert counts.generators / CHUNKS <= CHUNK_GENERATORS


async def test_an_event_passes_few_async_iterators(gateway):
    with Client(gateway) as client:
        response = await client.begin(prompt(answers.PACED), stream=True)
        await chunks(response, 5)
        tried = [await iterators_of(lambda: chunks(response, 2)) for _ in range(TRIES)]
    passed = min(tried, key=len)
    assert "Generation.__anext__" in passed
    assert len(passed) <= CHUNK_ITERATORS, passed


async def test_the_stack_at_the_upstream_call_is_short(gateway, monkeypatch):
    ours, request = [], aiohttp.ClientSession._request

    async def noted(session, method, url, **options):
        if wire.GENERATE_PATH in str(url):
            frame, names = sys._getframe(), []
            while frame is not None:
                if frame.f_code.co_filename.startswith(ROOMS):
                    names.append(frame.f_code.co_qualname)
                frame = frame.f_back
            ours.append(names)
        return await request(session, method, url, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", noted)
    with Client(gateway) as client:
        await client.chat(prompt())
    (names,) = ours
    assert "Generation.begin" in names
    assert len(names) <= DEPTH, names


async def test_a_paced_chunk_leaves_almost_nothing_in_memory(gateway):
    kept = []
    for _ in range(3):
        with Client(gateway) as client:
            response = await client.begin(prompt(answers.PACED), stream=True)
            await chunks(response, 5)
            few, many = await blocks_after(response, 5), await blocks_after(response, 15)
        kept.append((many - few) / 10)  # what does not grow with the chunks cancels out
    assert min(kept) <= CHUNK_BLOCKS, kept


async def blocks_after(response, count):
    """Return by how many blocks the memory grew while `count` chunks were read."""
    gc.collect()
    before = sys.getallocatedblocks()
    await chunks(response, count)
    gc.collect()
    return sys.getallocatedblocks() - before


async def test_an_answer_is_decoded_once_though_its_frames_repeat_it(gateway, monkeypatch):
    decoded = []
    decode = frames._decode

    def counted(text):
        decoded.append(len(text))
        return decode(text)

    monkeypatch.setattr(frames, "_decode", counted)
    with Client(gateway) as client:
        said = await client.chat(prompt(answers.LONG))
    assert len(said) == 2300
    assert sum(decoded) <= DECODED


GROWING = {
    "ASCII": "Lorem ipsum dolor sit amet, and so on. ",
    "Chinese": "\u65e5\u6708\u5c71\u5ddd" * 3,
    "emoji": "\U0001f600" * 10,
}


@pytest.mark.parametrize("kind", GROWING)
def test_an_answer_of_many_frames_is_read_once_in_any_script(monkeypatch, kind):
    read, count = [], 2000
    grown, units, loads = answer.SnapshotReader.grown, frames.utf16_units, answer.loads
    monkeypatch.setattr(answer.SnapshotReader, "grown", lambda self, fresh: read.append(fresh) or grown(self, fresh))
    monkeypatch.setattr(frames, "utf16_units", lambda data: read.append(data) or units(data))
    monkeypatch.setattr(answer, "loads", lambda data: read.append(data) or loads(data))
    reader = AnswerReader(max_frame=1 << 23)
    for number in range(1, count + 1):
        text = GROWING[kind] * number
        frame = encode.answer(encode.Snapshot(cid="c", rid="r", rcid="rc", text=text))
        for start in range(0, len(frame), 16384):
            for _ in reader.feed(frame[start : start + 16384]):
                pass
    assert reader.frames == count
    assert sum(map(len, read)) <= READ * len(text.encode()) + READ_OF_A_FRAME * count
