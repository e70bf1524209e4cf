"""Runs deep research: a plan, its confirmation and, minutes later, a report. Source: "Capabilities as turns".

The state is read from the saved conversation, so that any process can resume it.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from protocol.model import Document, Event, Text, Thought, Waiting, WorkStarted
from transports.web import wire
from transports.web.codec.candidate import Candidate, Opened, read_candidate
from transports.web.codec.markup import clean
from transports.web.codec.text import Prose
from transports.web.long_running.work import FRESH, LongRunningWork, Phase, Prompt
from transports.web.turns.saved import SavedTurn

_CONFIRM = "Start research"
"""Confirms a plan that names no confirmation text."""
_REPORT_SECONDS = 60.0
"""Seconds between two progress messages while the site reports none."""


async def begin(work: LongRunningWork, prompt: Prompt) -> AsyncGenerator[Event]:
    """Request a plan; yield `WorkStarted` and `Waiting`. The plan itself is read from the conversation.

    Raises:
        GatewayError: the site refused, or the outcome is not known.

    """
    slots = {wire.SLOT_TOOL: work.tools.research, **wire.RESEARCH_SLOTS}
    async with aclosing(work.begin(prompt, slots, Phase.PLAN)) as events:
        async for event in events:
            yield event if isinstance(event, WorkStarted) else Waiting()


async def confirm_plan(work: LongRunningWork) -> AsyncGenerator[Event]:
    """Wait for the plan, yield it, confirm it; do nothing if it was confirmed before.

    Raises:
        GatewayError: the account cannot read the conversation any more, or the outcome is unknown.

    """
    assert work.location is not None, "a plan needs a location"  # noqa: S101
    if work.location.phase is not Phase.PLAN:
        return
    while True:
        turns = await work.read_turns()
        candidate = _newest(turns)
        if candidate is not None and (candidate.plan is not None or candidate.complete):
            break
        yield Waiting()
        await work.wait_to_poll()
    work.reset_misses()
    if candidate.plan is None:
        text = clean(candidate.text or "").strip()
        yield Text(text=text)
        yield work.finish(text)
        return
    plan = candidate.plan
    lines = [f"Research plan: {plan.title}"]
    for number, step in enumerate(plan.steps, 1):
        lines.append(f"{number}. {step.label or step.body}")
        if step.label and step.body:
            lines.append(f"   {step.body}")
    if plan.estimate:
        lines.append(plan.estimate)
    yield Thought(text="\n".join(lines) + "\n\n")
    yield _set_phase(work, Phase.CONFIRMING)
    await work.send_next(turns[0], plan.confirm or _CONFIRM, FRESH)
    yield _set_phase(work, Phase.REPORT)


async def read_report(work: LongRunningWork) -> AsyncGenerator[Event]:
    """Wait for the report, yield progress, then the report; do nothing if the site sent text instead of a plan.

    Raises:
        GatewayError: the account cannot read the conversation any more, or the outcome is unknown.

    """
    assert work.location is not None, "a report needs a location"  # noqa: S101
    if work.location.phase is Phase.PLAN:
        return
    progress = _Progress(work.clock.monotonic())
    while True:
        turns = await work.read_turns()
        candidate = _newest(turns)
        if candidate is not None and candidate.plan is not None and len(turns) == 1:
            work.note_miss()  # the confirmation is missing; it is not sent again
        elif candidate is not None:
            work.reset_misses()
        report = _finished(turns)
        if report is not None or (
            candidate is not None
            and candidate.complete
            and not (candidate.document or candidate.plan)
            and candidate.text
        ):
            break
        message = progress.report(candidate.progress if candidate else (), work.clock.monotonic())
        yield Thought(text=message) if message else Waiting()
        await work.wait_to_poll()
    if report is None:
        text = clean(candidate.text or "").strip() if candidate is not None else ""
        yield Text(text=text)
        yield work.finish(text)
        return
    yield Document(title=report.title, kind="markdown")
    prose = Prose()
    prose.learn(report.citations)
    for event in [*prose.push(clean(report.body)), *prose.flush()]:
        yield event
    yield work.finish(report.body)


def _newest(turns: list[SavedTurn]) -> Candidate | None:
    return read_candidate(turns[0].candidates[0]) if turns and turns[0].candidates else None


def _set_phase(work: LongRunningWork, phase: Phase) -> WorkStarted:
    assert work.location is not None, "a phase needs a location"  # noqa: S101
    return work.move_to(msgspec.structs.replace(work.location, phase=phase))


def _finished(turns: list[SavedTurn]) -> Opened | None:
    """Return the report: a document with a body, and a task id or a complete answer; None if there is none yet."""
    for turn in turns:
        for candidate in map(read_candidate, turn.candidates):
            document = candidate.document
            ready = document is not None and document.body and (document.task_id or candidate.complete)
            if ready and candidate.plan is None:
                return document
    return None


class _Progress:
    """Tracks which progress messages were reported."""

    def __init__(self, now: float) -> None:
        self._began = self._reported_at = now
        self._reported: set[str] = set()

    def report(self, lines: tuple[str, ...], now: float) -> str:
        """Return new progress lines, or a sign of life once a minute; else an empty text."""
        lines_added = [line for line in dict.fromkeys(lines) if line not in self._reported]
        self._reported.update(lines_added)
        if not lines_added and now - self._reported_at >= _REPORT_SECONDS:
            lines_added = [f"Research in progress… {now - self._began:.0f} s"]
        if not lines_added:
            return ""
        self._reported_at = now
        return "\n".join(lines_added) + "\n"
