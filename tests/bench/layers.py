"""Tells what one chat costs, part by part: py-spy samples a gateway that is kept busy, and its samples are sorted.

A sample belongs to the part of its innermost frame that has one; what helps all parts alike (anyio, msgspec, the
standard library) belongs to its caller's.
"""

import argparse
import asyncio
import os
import re
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import uvloop

from tests.bench import answers, load, processes
from tests.bench.processes import ROOT
from tests.bench.samples import GATEWAY, UPSTREAM
from tests.bench.subjects import Subject

_RATE = 250
_PARTS = [
    (
        "HTTP server: hypercorn, h11",
        r"/site-packages/(hypercorn|h11|wsproto)/|/service/server/connection\.py",
    ),
    ("HTTP client: aiohttp", r"/site-packages/(aiohttp|yarl|multidict)/"),
    ("access log", r"/site-packages/structlog/|/service/telemetry/logs\.py"),
    ("record and metrics", r"/site-packages/prometheus_client/|/service/(telemetry/|middleware/request_context\.py)"),
    ("license, concurrency limit, middleware", r"/service/(licenses|middleware)/|/service/server/shutdown\.py"),
    ("routes: starlette", r"/site-packages/starlette/"),
    ("body, disconnects, stream: protocol/http", r"/protocol/http/"),
    ("request in, answer out: protocol/openai, model", r"/protocol/"),
    ("conversations", r"/transports/(accounts/conversations|web/turns/(continuation|history|saved))\.py"),
    ("store", r"/transports/store/"),
    ("account: pool, failover, router", r"/transports/(accounts/|failover|router|retry_policy|metrics|observer|tasks)"),
    (
        "request to the site: prompt, encode",
        r"/transports/web/(codec/encode|turns/prompt|codec/models|session/cookies)\.py",
    ),
    ("answer of the site: frames, decode, events", r"/transports/web/codec/"),
    ("turn at the site: transport, turn, client", r"/transports/"),
    ("event loop, sockets, the rest", r"/(service|uvloop|asyncio)/|/runpy"),
]
_RULES = [(title, re.compile(pattern)) for title, pattern in _PARTS]


def part_of(stack):
    """Return the part that a sample belongs to; `stack` is py-spy's, outermost frame first."""
    for frame in reversed(stack.split(";")):
        for title, pattern in _RULES:
            if pattern.search(frame):
                return title
    return _PARTS[-1][0]


def sorted_samples(text):
    """Return the number of samples by part, of what py-spy wrote."""
    found = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        found[part_of(stack)] += int(count)
    return found


def table(unit, found, micros):
    """Return the parts as rows of Markdown, dearest first."""
    samples = sum(found.values())
    rows = [
        f"| {title} | {count / samples * micros:,.0f} | {count / samples:.0%} |" for title, count in found.most_common()
    ]
    heading = f"| {unit}: {micros:,.0f} µs, {samples:,} samples | µs | share |"
    return "\n".join([heading, "|---|---|---|", *rows])


async def _sampled(subject, ask, connections, seconds, stack):
    """Return what py-spy wrote of a gateway that is kept busy, and the span of the work."""
    file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "samples"
    program = shutil.which("py-spy", path=str(ROOT / ".venv-peers" / "bin")) or "py-spy"
    words = ["record", "--pid", str(subject.child.pid), "--duration", str(seconds), "--rate", str(_RATE)]
    words += ["--format", "raw", "--function", "--full-filenames", "--nonblocking", "--output", str(file)]
    sampling = await asyncio.create_subprocess_exec(
        program, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    span = await load.steadily(ask, connections, seconds, subject.child.cpu)
    _, said = await sampling.communicate()
    if not file.exists():
        raise processes.BenchError(said.decode())
    return file.read_text(), span


async def run(folder, seconds):
    processes.raise_open_files()
    cpus, others = processes.shares()
    processes.pin(0, others)
    with ExitStack() as stack:
        running = processes.started(UPSTREAM, ["-m", "tests.bench.upstream"], folder, others)
        site, upstream = stack.enter_context(running)
        arguments = processes.Setup(upstream).arguments(Path(folder) / GATEWAY)
        child, url = stack.enter_context(processes.started(GATEWAY, arguments, folder, cpus))
        subject = Subject(GATEWAY, url, child)
        await load.one_by_one(subject.ask(answers.SHORT, stream=False), 200)
        stack.enter_context(processes.first(os.getpid(), site.pid, *child.pids()))
        ask = subject.ask(answers.SHORT, stream=False)
        text, span = await _sampled(subject, ask, 32, seconds, stack)
        print(table("One short chat", sorted_samples(text), 1e6 * span.processor / span.answers))
        text, span = await _sampled(subject, subject.ask(answers.PACED), 100, seconds, stack)
        print("\n" + table("One paced chunk", sorted_samples(text), 1e6 * span.processor / span.units))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.layers", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    with tempfile.TemporaryDirectory(prefix="gemini-gateway-layers-") as place:
        uvloop.run(run(place, parser.parse_args().seconds))
