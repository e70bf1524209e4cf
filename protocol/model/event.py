"""The steps of an answer. Text and thoughts are append-only: what was said is never taken back."""

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "content_filter"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, as far as they are known; an upstream that does not count gets estimates."""

    input_tokens: int
    output_tokens: int
    """Thoughts included."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that is thoughts."""


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """The upstream is alive and has nothing to say yet (queued, or working)."""


class Thought(msgspec.Struct, frozen=True, tag="thought"):
    """More of the model's thoughts."""

    text: str


class Text(msgspec.Struct, frozen=True, tag="text"):
    """More of the answer."""

    text: str


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """The last event of a whole answer; an exchange that ends without one has failed."""

    reason: FinishReason
    usage: Usage


Event = Waiting | Thought | Text | Finish
