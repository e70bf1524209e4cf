"""Counts the tokens of a stream, also of one that did not end: the client left, or the upstream broke off.

The usage of an answer comes with its last event. Without that event the prompt counts, and the text and thoughts that
were delivered until then.
"""

from typing import Any

from protocol.http.context import RequestContext
from protocol.http.side_by_side import Numbered
from protocol.model import NO_USAGE, GenerationRequest, Thought, Usage, estimated_usage, prompt_tokens


def prompt_usage(request: GenerationRequest) -> Usage:
    """Return the usage of a request that has no answer."""
    return Usage(input_tokens=prompt_tokens(request), output_tokens=0)


class StreamUsage:
    """Counts the tokens of the delivered steps of one answer, or of several turns side by side."""

    def __init__(self) -> None:
        """Begin with no step."""
        self._ended = NO_USAGE
        """The usage of what has ended."""
        self._unended = True
        """Whether no turn has ended; false for an answer that failed before its first step."""
        self._media: list[Any] = []
        self._noted = False
        self._open: dict[int, tuple[list[str], list[str]]] = {}
        """The texts and the thoughts of each turn that has not ended."""

    def add(self, step: Any) -> None:
        """Add a step that was delivered: an event, or one that has its event as `event`."""
        turn, event = (step.index, step.event) if isinstance(step, Numbered) else (0, getattr(step, "event", step))
        usage: Usage | None = getattr(event, "usage", None)  # isinstance would cost six times as much
        if usage is not None:
            self._ended, self._unended = self._ended + usage, False
            self._open.pop(turn, None)
            self._media += getattr(event, "media", ())
            return
        text: str = getattr(event, "text", "")
        if text:
            delivered = self._open.get(turn)
            if delivered is None:
                delivered = self._open[turn] = ([], [])
            delivered[isinstance(event, Thought)].append(text)
        elif hasattr(event, "ref"):
            self._media.append(event)

    def note(self, context: RequestContext) -> None:
        """Record the usage of a request; later calls change nothing."""
        if not self._noted:
            self._noted = True
            context.record.note_usage(self.total(context.request))
            context.record.note_media(self._media)

    def fail(self) -> None:
        """Note that the answer broke off: if it did before its first step, the prompt is not counted."""
        self._unended = False

    def total(self, request: GenerationRequest | None) -> Usage:
        """Return the usage of all steps, and of the prompt of `request` if the turn that counts it has not ended."""
        total = self._ended
        if request is None:
            return total
        for texts, thoughts in self._open.values():
            total += estimated_usage("".join(texts), "".join(thoughts))
        unfinished = self._unended or bool(self._open)
        return total + prompt_usage(request) if unfinished and not total.input_tokens else total
