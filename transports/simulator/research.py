"""Deep research: a plan, its confirmation, phases, a report. Source: "Capabilities as turns"."""

import msgspec

from transports.simulator import encode, rich_content
from transports.simulator.answer import SimulatedAnswer
from transports.simulator.turn_context import TurnContext

CONFIRM = "Start research"
_PLACEHOLDER_TASK = "agency-placeholder-task-id"
_SOURCES = 3
_PHASES = (
    "Planning the (simulated) research",
    "Researching websites",
    "Comparing what they say",
    "Writing the report",
)
_LINK = "http://googleusercontent.com/deep_research_confirmation_content/0"
_STARTED = "I'm on it. I'll let you know when the (simulated) research is finished."
_FINISHED = "I've completed your (simulated) research."
_REPORT = """\
# {subject}

This report is **simulated**: nothing was researched.

## Findings

- The first finding [cite: 1].
- The second finding [cite: 2, 3].

## Conclusion

All sources agree [cite: 1, 2, 3].
"""
_REFUSAL = "I couldn't complete that (simulated) research."


class ResearchWork(msgspec.Struct, frozen=True, kw_only=True):
    """A running research."""

    report: encode.SiteDocument
    started: float
    seconds: float
    refused: bool

    def answer(self, now: float) -> SimulatedAnswer:
        """Return the turn's answer at this time: the phases so far, at the end the report."""
        passed = now - self.started
        done = passed >= self.seconds
        if done and self.refused:
            return SimulatedAnswer(text=_REFUSAL)
        reached = len(_PHASES) if done else 1 + int(len(_PHASES) * passed / self.seconds)
        phases: list[str] = [*_PHASES[:reached]]
        if done:
            return SimulatedAnswer(text=_FINISHED, thoughts="\n".join(phases), document=self.report)
        empty = encode.SiteDocument(id=self.report.id, title=self.report.title, task=_PLACEHOLDER_TASK)
        return SimulatedAnswer(
            text=_STARTED,
            thoughts="\n".join(phases),
            rich={rich_content.PROGRESS: rich_content.progress(phases)},
            document=empty,
            complete=False,
        )


class PlannedWork(msgspec.Struct, frozen=True, kw_only=True):
    """A plan, with the report of its research. The research starts when the plan is confirmed."""

    plan: SimulatedAnswer
    report: encode.SiteDocument
    seconds: float
    refused: bool

    def answer(self, now: float) -> SimulatedAnswer:
        """Return the plan."""
        _ = now
        return self.plan

    def confirmed(self, now: float) -> ResearchWork:
        """Start the research."""
        return ResearchWork(report=self.report, started=now, seconds=self.seconds, refused=self.refused)


def make_plan(context: TurnContext, identity: str) -> tuple[SimulatedAnswer, PlannedWork]:
    """Return the plan of a research."""
    script = context.script
    subject = " ".join(script.description.split())[:60] or "what was asked"
    title = f"Research: {subject}"
    steps = [
        ("Research Websites", f"(1) Find out what is known about: {subject}"),
        ("Analyze Results", "(2) Compare what the sources say"),
        ("Create Report", "(3) Write it down, with citations"),
    ]
    plan = SimulatedAnswer(
        text=f"Here is my (simulated) plan.\n\n{_LINK}",
        thoughts=script.thoughts,
        rich={rich_content.PLAN: rich_content.plan(title, steps, "Ready in a few seconds", CONFIRM)},
    )
    sources = script.citations or (0 if script.given else _SOURCES)
    text = script.text if script.given else _REPORT.format(subject=subject)
    body = rich_content.marked(text, sources)
    report = encode.SiteDocument(
        id=f"doc_{identity}",
        title=title,
        body=body,
        task=f"task-{identity}",
        citations=rich_content.citations(body, sources),
    )
    seconds = context.config.research_seconds if script.ready is None else script.ready
    return plan, PlannedWork(plan=plan, report=report, seconds=seconds, refused=script.refuse == "research")


def started(work: ResearchWork, now: float) -> SimulatedAnswer:
    """Return the answer to the confirmation, which ends without being complete."""
    return msgspec.structs.replace(work.answer(now), text=_STARTED, document=None, complete=False)
