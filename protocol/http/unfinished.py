"""Counts the tokens of a stream, also of one that did not end: the client left, or the upstream broke off.

The usage of an answer comes with its last event. Without that event the prompt counts, and the text and thoughts that
were delivered until then.
"""

from typing import Any

from protocol.http.side_by_side import Numbered
from protocol.model import GenerationRequest, Thought, Usage, estimate_tokens, estimated_bytes

_NONE = Usage(input_tokens=0, output_tokens=0)


def prompt_usage(request: GenerationRequest) -> Usage:
    """Return the usage of a request that has no answer."""
    return Usage(input_tokens=sum(estimate_tokens(turn.text) for turn in request.turns), output_tokens=0)


class StreamUsage:
    """Counts the tokens of the delivered steps of one answer, or of several turns side by side."""

    def __init__(self) -> None:
        """Begin with no step."""
        self._ended = _NONE
        """The usage of what has ended."""
        self._open: dict[int, list[int]] = {}
        """The bytes of text and of thoughts of each turn that has not ended."""

    def add(self, step: Any) -> None:
        """Add a step that was delivered."""
        turn, event = (step.index, step.event) if isinstance(step, Numbered) else (0, step)
        usage: Usage | None = getattr(event, "usage", None)  # isinstance would cost six times as much
        if usage is not None:
            self._ended += usage
            self._open.pop(turn, None)
            return
        text: str = getattr(event, "text", "")
        if text:
            self._open.setdefault(turn, [0, 0])[isinstance(event, Thought)] += len(text.encode("utf-8", "replace"))

    def total(self, request: GenerationRequest | None) -> Usage:
        """Return the usage of all steps; turns that did not end count for `request`, if there is one."""
        total = self._ended
        if request is None:
            return total
        for text, thoughts in self._open.values():
            reasoning = _tokens(thoughts)
            delivered = Usage(input_tokens=0, output_tokens=_tokens(text) + reasoning, reasoning_tokens=reasoning)
            total += prompt_usage(request) + delivered
        return total


def _tokens(size: int) -> int:
    return -(-size // estimated_bytes(1))
