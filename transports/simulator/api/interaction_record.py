"""One interaction of the simulated API: its state at a time, as JSON and as the events of a stream. No I/O.

Source: "Interactions".
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from transports.simulator.api import interaction_schema as schema
from transports.simulator.api.interaction_work import InteractionWork

_SHARE_QUEUED = 0.1
"""How much of the time of work in the background it is queued."""
_CHARACTERS_PER_DELTA = 48
_MOST_DELTAS = 200


class StreamedEvent(msgspec.Struct, frozen=True):
    """An event, and when it comes, in seconds from the start."""

    at: float
    event: dict[str, Any]


class InteractionRecord:
    """An interaction, as the API stores it."""

    def __init__(
        self, identity: str, key: str, request: schema.InteractionRequest, work: InteractionWork, begun: float
    ) -> None:
        """Begin an interaction at a time in epoch seconds."""
        self.id, self.key, self.request, self.work, self.begun = identity, key, request, work, begun
        self.cancelled: float | None = None
        """When it was cancelled."""
        self.errors_left = work.script.poll_errors
        """How many more polls fail."""

    @property
    def end(self) -> float:
        """When it ends or was cancelled."""
        return self.begun + self.work.seconds if self.cancelled is None else self.cancelled

    def status(self, now: float) -> str:
        """Return the status at a time."""
        if self.cancelled is not None:
            return "cancelled"
        if now >= self.end:
            return self.work.ending
        queued = self.request.background and now - self.begun < self.work.seconds * _SHARE_QUEUED
        return "queued" if queued else "in_progress"

    def is_over(self, now: float) -> bool:
        """Return whether it has ended."""
        return self.status(now) not in {"queued", "in_progress"}

    def steps(self, now: float) -> list[dict[str, Any]]:
        """Return the steps that are done at a time."""
        if self.cancelled is None and now >= self.end:
            return [one.step for one in self.work.steps]
        passed = min(now, self.end) - self.begun
        return [one.step for one in self.work.steps if one.at * self.work.seconds <= passed]

    def json(self, now: float, *, with_input: bool = False) -> dict[str, Any]:
        """Return it as JSON."""
        status = self.status(now)
        sent: list[Any] = msgspec.to_builtins(self.request.steps) if with_input else []
        found = self.head(now, status) | {"steps": [*sent, *self.steps(now)]}
        if self.request.previous_interaction_id:
            found["previous_interaction_id"] = self.request.previous_interaction_id
        if self.is_over(now) and status != "cancelled":
            found["usage"] = self.work.usage
        if status == self.work.ending and self.work.errors:
            found["errors"] = list(self.work.errors)
        return found

    def head(self, now: float, status: str) -> dict[str, Any]:
        """Return what the events of a stream say of it."""
        names = {"model": self.request.model, "agent": self.request.agent}
        return {name: value for name, value in names.items() if value} | {
            "id": self.id,
            "object": "interaction",
            "status": status,
            "created": _shown(self.begun),
            "updated": _shown(min(now, self.end)),
        }

    def events(self) -> list[StreamedEvent]:
        """Return all events, as if it is never cancelled."""
        seconds = self.work.seconds
        first = "queued" if self.request.background else "in_progress"
        created = {"event_type": "interaction.created", "interaction": self.head(self.begun, first)}
        found = [StreamedEvent(0.0, created)]
        if self.request.background:
            found.append(StreamedEvent(seconds * _SHARE_QUEUED, self.status_event("in_progress")))
        for index, timed in enumerate(self.work.steps):
            found += [StreamedEvent(timed.at * seconds, event) for event in step_events(index, timed.step)]
        if self.work.errors:
            found.append(StreamedEvent(seconds, {"event_type": "error", "error": self.work.errors[0]}))
        last = self.head(self.end, self.work.ending) | {"usage": self.work.usage}
        found.append(StreamedEvent(seconds, {"event_type": "interaction.completed", "interaction": last}))
        return found

    def status_event(self, status: str) -> dict[str, Any]:
        """Return the event of a new status."""
        return {"event_type": "interaction.status_update", "interaction_id": self.id, "status": status}


def step_events(index: int, step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a step."""
    kind = step["type"]
    nothing: dict[str, Any] = {}
    empty = step | {"arguments": nothing} if kind == "function_call" else {"type": kind}
    yield {"event_type": "step.start", "index": index, "step": {"type": kind} | empty}
    for delta in deltas_of(step):
        yield {"event_type": "step.delta", "index": index, "delta": delta}
    yield {"event_type": "step.stop", "index": index}


def deltas_of(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the deltas of a step."""
    if step["type"] == "function_call":
        yield {"type": "arguments_delta", "arguments": msgspec.json.encode(step["arguments"]).decode()}
        return
    if step["type"] == "thought":
        for content in step["summary"]:
            yield {"type": "thought_summary", "content": content}
        return
    for content in step["content"]:
        if content["type"] != "text":
            yield content
            continue
        size = max(_CHARACTERS_PER_DELTA, -(-len(content["text"]) // _MOST_DELTAS))
        for start in range(0, len(content["text"]), size):
            yield {"type": "text", "text": content["text"][start : start + size]}
        if "annotations" in content:
            yield {"type": "text_annotation_delta", "annotations": content["annotations"]}


def _shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
