"""The measurements, their subjects and their order."""

import asyncio
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench import answers, load, processes, sampler
from tests.bench.samples import GATEWAY, OFFICIAL, PASS, UPSTREAM, VALKEY, Samples, part
from tests.bench.scale import compared
from tests.bench.subjects import Subject
from tests.servers import programs, servers_of
from transports.web import wire

_LOOK_SECONDS = 0.05


class Plan:
    """The amounts to measure."""

    rounds, seconds, settle_seconds, one_by_one = 4, 0.7, 0.1, 80
    least_answers, least_hundreds = 200, 24
    """The least number of answers; a busy machine takes longer for them."""
    whole_connections, stream_connections, paced_connections, held = 32, 8, 100, 1000
    crowd, crowd_seconds, crowd_rounds = 500, 5.0, 1
    large_rounds, large_frames, pictures, histories = 2, answers.THOUSAND, 3, 10
    fine_frames = 2500
    """Of an answer in small pieces; it is compared with one of half as many."""
    scale_rounds = 8
    kept, licenses, accounts = 100_000, 5000, 200
    profile_seconds = 3.0
    stage_seconds = 60.0
    """A stage that has taken longer begins no further round."""


class Long(Plan):
    """More of what takes long."""

    fine_frames = 10_000


class Quick(Plan):
    """Just enough to test the benchmark."""

    rounds, seconds, settle_seconds, one_by_one = 1, 0.2, 0.05, 10
    least_answers, least_hundreds = 10, 2
    crowd, crowd_seconds, crowd_rounds = 20, 0.6, 1
    large_rounds, large_frames, pictures, histories = 1, 100, 1, 2
    fine_frames = 100
    scale_rounds = 1
    kept, licenses, accounts = 200, 20, 5
    held = 50
    profile_seconds = 0.4


class Bench:
    """One run: `samples` holds what was measured, `profiles` where the gateway's time went."""

    def __init__(self, plan, folder):
        self.plan, self.folder = plan, Path(folder)
        self._cpus, self._others = processes.shares()
        self.samples = Samples()
        self.profiles = {}

    async def run(self):
        processes.raise_open_files()
        processes.pin(0, self._others)
        with ExitStack() as stack:
            arguments = ["-m", "tests.bench.upstream"]
            running = processes.started(UPSTREAM, arguments, self.folder, self._others)
            self._upstream, self.upstream = stack.enter_context(running)
            server = stack.enter_context(servers_of(programs()["valkey"]))()
            processes.pin(server.pid, self._others)
            self._valkey = server.url
            direct = Subject(UPSTREAM, self.upstream + wire.GENERATE_PATH, self._upstream)
            await self._speed(direct)
            await self._official()
            await compared(self)
            say("memory")
            for name in (PASS, GATEWAY, OFFICIAL):
                await self._memory(name)
            await self._profiles()

    def start(self, stack, name, *, everywhere=False, **setup):
        """Start a pass-through or a gateway; `everywhere`: on all processors."""
        if name == PASS:
            arguments = processes.passthrough(self.upstream + wire.GENERATE_PATH)
        else:
            if name == VALKEY:
                setup["store"] = f'url = "{self._valkey}"'
            setup["official"] = name == OFFICIAL
            folder = setup.pop("folder", None) or self.folder / f"gateway-{time.monotonic_ns()}"
            arguments = processes.Setup(self.upstream, **setup).arguments(folder)
        cpus = self._cpus | self._others if everywhere else self._cpus
        child, url = stack.enter_context(processes.started(name, arguments, self.folder, cpus))
        return Subject(name, url, child)

    async def _profiles(self):
        say("profiles")
        await self.profile("requests", answers.SHORT, self.plan.whole_connections, stream=False)
        await self.profile("chunks", answers.PACED, self.plan.paced_connections, stream=True)

    async def _speed(self, direct):
        with ExitStack() as stack:
            subjects = [self.start(stack, name) for name in (PASS, GATEWAY, VALKEY, OFFICIAL)]
            for subject in subjects:
                await self.warm(subject)
            for _ in self.rounds(self.plan.rounds, "round"):
                await self._each((self._first_token, self._requests, self._hundred), (direct, *subjects))
                await self._each((self._paced, self._talk, self._history), subjects)
            for _ in self.rounds(self.plan.large_rounds, "large answers and pictures, round"):
                await self._each((self._megabytes, self._pictures), subjects[:2])
            for _ in self.rounds(self.plan.crowd_rounds, f"{self.plan.crowd} paced streams, round"):
                await self._each((self._crowd,), subjects[:2])

    async def _official(self):
        """Measure what only the comparison of the ways needs, in rounds of its own."""
        with ExitStack() as stack:
            subjects = [self.start(stack, name) for name in (PASS, GATEWAY, OFFICIAL)]
            for subject in subjects:
                await self.warm(subject)
            for _ in self.rounds(self.plan.rounds, "two ways, round"):
                await self._each((self._few, self._tools, self._uploaded), subjects)
                await self._each((self._embeddings,), (subjects[0], subjects[2]))

    def rounds(self, count, what):
        """Count rounds, at least one, until there are enough or the stage has taken too long."""
        until = time.monotonic() + self.plan.stage_seconds
        for number in range(1, count + 1):
            say(f"{what} {number} of {count}")
            yield number
            if time.monotonic() > until:
                return

    async def _each(self, measures, subjects):
        for measure in measures:
            for subject in subjects:
                await asyncio.sleep(self.plan.settle_seconds)
                with self.first(subject):
                    await measure(subject)

    def first(self, subject):
        """Let what is measured, the upstream and the load run before all else on the machine."""
        return processes.first(os.getpid(), self._upstream.pid, *subject.child.pids())

    async def warm(self, subject):
        """See that answers are what is counted on; this warms up too."""
        subject.check()
        await load.one_by_one(subject.ask(answers.SHORT, stream=False), 5)

    async def _first_token(self, subject):
        span = await load.one_by_one(subject.ask(answers.SHORT), self.plan.one_by_one)
        self.samples.note("first p50", subject.name, part(span.firsts, 0.5))
        self.samples.note("first p99", subject.name, part(span.firsts, 0.99))

    async def _requests(self, subject):
        plan = self.plan
        span = await self.steadily(subject, answers.SHORT, plan.whole_connections, plan.least_answers, stream=False)
        self.samples.note("short", subject.name, span.processor / span.answers)
        self.samples.note("requests", subject.name, span.answers / span.seconds)
        self.samples.note("p99", subject.name, part(span.wholes, 0.99))

    async def _hundred(self, subject):
        span = await self.steadily(subject, answers.LONG, self.plan.stream_connections, self.plan.least_hundreds)
        self.samples.note("hundred", subject.name, span.processor / span.units * answers.FRAMES)
        self.samples.note("chunks", subject.name, span.units / span.seconds)

    async def _few(self, subject):
        plan = self.plan
        span = await self.steadily(subject, answers.SHORT, plan.whole_connections, plan.least_answers)
        self.samples.note("few", subject.name, span.processor / span.answers)

    async def _tools(self, subject):
        await self._asked("tools", subject, subject.tools())

    async def _embeddings(self, subject):
        await self._asked("embeddings", subject, subject.embeddings())

    async def _asked(self, measure, subject, ask):
        plan, meter = self.plan, subject.child.cpu
        span = await load.steadily(ask, plan.stream_connections, plan.seconds, meter, plan.least_answers)
        self.samples.note(measure, subject.name, span.processor / span.answers)

    async def _uploaded(self, subject):
        span = await load.one_by_one(subject.picture(), self.plan.pictures, subject.child.cpu)
        self.samples.note("sent picture", subject.name, span.processor / span.answers)

    async def _paced(self, subject):
        span = await self.steadily(subject, answers.PACED, self.plan.paced_connections)
        self.samples.note("paced", subject.name, span.processor / span.units)

    async def _talk(self, subject):
        await self._asked("talk", subject, subject.talk())

    async def _history(self, subject):
        span = await load.one_by_one(subject.history(), self.plan.histories, subject.child.cpu)
        self.samples.note("history", subject.name, span.processor / span.answers)

    async def _megabytes(self, subject):
        """Measure large answers, and one in many small pieces against one of half the size in half as many."""
        large = [(kind, word, self.plan.large_frames) for kind, word in answers.MEGABYTE.items()]
        fine = [(name, answers.FINE, self.plan.fine_frames // part) for name, part in (("half fine", 2), ("fine", 1))]
        for name, word, count in (*large, *fine):
            span = await load.one_by_one(subject.ask(f"{word}-{count}"), 1, subject.child.cpu)
            self.samples.note(name, subject.name, span.processor)

    async def _pictures(self, subject):
        count = self.plan.pictures
        span = await load.one_by_one(subject.picture(), count, subject.child.cpu)
        self.samples.note("picture in", subject.name, span.processor / count)
        span = await load.one_by_one(subject.drawn(), count, subject.child.cpu)
        self.samples.note("picture out", subject.name, span.processor / count)

    async def _crowd(self, subject):
        plan = self.plan
        ask = subject.ask(answers.PACED)
        span = await load.crowd(ask, plan.crowd, plan.crowd_seconds, subject.child.cpu)
        self.samples.note("crowd p50", subject.name, part(span.firsts, 0.5))
        self.samples.note("crowd p99", subject.name, part(span.firsts, 0.99))
        rate = plan.crowd / answers.PACE_SECONDS
        self.samples.note("crowd busy", subject.name, span.processor / span.units * rate)

    async def steadily(self, subject, word, connections, least=0, *, stream=True):
        ask = subject.ask(word, stream=stream)
        return await load.steadily(ask, connections, self.plan.seconds, subject.child.cpu, least)

    async def _memory(self, name):
        with ExitStack() as stack:
            subject = self.start(stack, name)
            self.samples.note("start", name, subject.child.cpu())
            await load.one_by_one(subject.ask(answers.SHORT), 5)
            self.samples.note("idle", name, subject.child.memory())
            async with load.held(subject.ask(answers.HOLD), self.plan.held):
                most = 0
                for _ in range(10):
                    await asyncio.sleep(_LOOK_SECONDS)
                    most = max(most, subject.child.memory())
            self.samples.note("each", name, (most - self.samples.middle("idle", name)) / self.plan.held)

    async def profile(self, unit, word, connections, *, stream):
        file = self.folder / f"{unit}.json"
        with ExitStack() as stack:
            subject = self.start(stack, GATEWAY, runner=("-m", "tests.bench.sampler", str(file)))
            ask = subject.ask(word, stream=stream)
            await load.one_by_one(subject.ask(answers.SHORT), 20)
            os.kill(subject.child.pid, sampler.BEGIN)
            with self.first(subject):
                span = await load.steadily(ask, connections, self.plan.profile_seconds, subject.child.cpu)
            subject.child.stop()
        done = span.units if stream else span.answers
        self.profiles[unit] = sampler.read(file, span.processor / done)


def say(what):
    print(f"bench: {what}", file=sys.stderr, flush=True)
