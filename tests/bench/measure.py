"""What is measured, of whom, and in which order."""

import asyncio
import sys
from contextlib import ExitStack

from tests.bench import answers, load, processes, sampler
from tests.bench.load import Ask
from tests.bench.samples import GATEWAY, PASS, UPSTREAM, Samples, part
from transports.web import wire

_LOOK_SECONDS = 0.05


class Plan:
    """How much of everything."""

    rounds, seconds, settle_seconds, one_by_one = 5, 1.5, 0.15, 300
    whole_connections, stream_connections, paced_connections, held = 32, 16, 60, 1000
    profile_seconds = 5.0


class Quick(Plan):
    """Just enough to see that it works."""

    rounds, seconds, settle_seconds, one_by_one = 1, 0.25, 0.05, 20
    held = 50
    profile_seconds = 0.4


class Subject:
    """One that is measured: a child process, and the requests it is measured with."""

    def __init__(self, name, url, child):
        self.name, self.child = name, child
        self._url = url

    def ask(self, word, *, stream=True):
        if self.name == GATEWAY:
            unit, end = (b'"delta":{"content":', b"data: [DONE]") if stream else (None, b'"total_tokens"')
        else:
            unit, end = answers.UPSTREAM_FRAME, answers.UPSTREAM_END
        return Ask(self._url, word, stream=stream, unit=unit, end=end)


class Bench:
    """One run: `samples` holds what was measured, `profiles` where the gateway's time went."""

    def __init__(self, plan, folder):
        self.plan, self._folder = plan, folder
        self._cpus, self._others = processes.shares()
        self.samples = Samples()
        self.profiles = {}

    async def run(self):
        processes.raise_open_files()
        processes.pin(0, self._others)
        arguments = ["-m", "tests.bench.upstream"]
        with processes.started(UPSTREAM, arguments, self._folder, self._others) as (child, url):
            self._upstream = url
            await self._speed(Subject(UPSTREAM, url + wire.GENERATE_PATH, child))
            _say("memory")
            for name in (PASS, GATEWAY):
                await self._memory(name)
            _say("profiles")
            plan = self.plan
            await self._profile("requests", answers.SHORT, plan.whole_connections, stream=False)
            await self._profile("chunks", answers.PACED, plan.paced_connections, stream=True)

    def _start(self, stack, name, runner=("-m", "service")):
        arguments = (
            processes.passthrough(self._upstream)
            if name == PASS
            else processes.gateway(self._folder, self._upstream, runner)
        )
        child, url = stack.enter_context(processes.started(name, arguments, self._folder, self._cpus))
        return Subject(name, url, child)

    async def _speed(self, direct):
        with ExitStack() as stack:
            proxies = [self._start(stack, PASS), self._start(stack, GATEWAY)]
            for subject in proxies:
                await self._check(subject)
            for number in range(self.plan.rounds):
                _say(f"round {number + 1} of {self.plan.rounds}")
                for measure in (self._first_token, self._requests, self._chunks):
                    await self._each(measure, (direct, *proxies))
                await self._each(self._paced, proxies)

    async def _each(self, measure, subjects):
        for subject in subjects:
            await asyncio.sleep(self.plan.settle_seconds)
            await measure(subject)

    async def _check(self, subject):
        """See that answers are what is counted on; this warms up too."""
        await load.one_by_one(subject.ask(answers.SHORT, stream=False), 5)
        tally = await load.one_by_one(subject.ask(answers.LONG), 2)
        if tally.units != 2 * answers.FRAMES:
            raise processes.BenchError(f"{subject.name}: {tally.units} chunks instead of {2 * answers.FRAMES}")

    async def _first_token(self, subject):
        tally = await load.one_by_one(subject.ask(answers.SHORT), self.plan.one_by_one)
        self.samples.note("first p50", subject.name, part(tally.firsts, 0.5))
        self.samples.note("first p99", subject.name, part(tally.firsts, 0.99))

    async def _requests(self, subject):
        span = await self._steadily(subject, answers.SHORT, self.plan.whole_connections, stream=False)
        self.samples.note("requests", subject.name, span.answers / span.seconds)
        self.samples.note("requests busy", subject.name, span.processor / span.seconds)

    async def _chunks(self, subject):
        span = await self._steadily(subject, answers.LONG, self.plan.stream_connections)
        self.samples.note("chunks", subject.name, span.units / span.seconds)
        self.samples.note("chunks busy", subject.name, span.processor / span.seconds)

    async def _paced(self, subject):
        span = await self._steadily(subject, answers.PACED, self.plan.paced_connections)
        self.samples.note("paced", subject.name, span.units / span.processor)

    async def _steadily(self, subject, word, connections, *, stream=True):
        ask = subject.ask(word, stream=stream)
        return await load.steadily(ask, connections, self.plan.seconds, subject.child.cpu)

    async def _memory(self, name):
        with ExitStack() as stack:
            subject = self._start(stack, name)
            await load.one_by_one(subject.ask(answers.SHORT), 5)
            self.samples.note("idle", name, subject.child.memory())
            async with load.held(subject.ask(answers.HOLD), self.plan.held):
                most = 0
                for _ in range(10):
                    await asyncio.sleep(_LOOK_SECONDS)
                    most = max(most, subject.child.memory())
            self.samples.note("open", name, most)
            self.samples.note("each", name, (most - self.samples.middle("idle", name)) / self.plan.held)

    async def _profile(self, unit, word, connections, *, stream):
        file = self._folder / f"{unit}.json"
        with ExitStack() as stack:
            subject = self._start(stack, GATEWAY, ("-m", "tests.bench.sampler", str(file)))
            ask = subject.ask(word, stream=stream)
            span = await load.steadily(ask, connections, self.plan.profile_seconds, subject.child.cpu)
            subject.child.stop()
        done = span.units if stream else span.answers
        self.profiles[unit] = sampler.read(file, span.processor / done)


def _say(what):
    print(f"bench: {what}", file=sys.stderr, flush=True)
