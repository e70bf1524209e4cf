"""The steps of an answer. Text and thoughts are append-only: what was said is never taken back.

An upstream may rewrite its text all the same. Then the text stops where the rewritten one departs from it, and `Finish`
carries the whole answer as it is in the end.
"""

from typing import Literal

import msgspec

from protocol.model.media import MediaRef
from protocol.model.request import Handle

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


class Media(msgspec.Struct, frozen=True, tag="media", kw_only=True):
    """A picture, a video or music, where it stands in the answer: behind the text so far."""

    ref: MediaRef
    alt: str = ""
    """What it shows, in the upstream's words."""
    revised_prompt: str = ""
    """The prompt as the upstream got it, or as the upstream says that it changed it."""


class WebImage(msgspec.Struct, frozen=True, tag="web_image", kw_only=True):
    """A picture that the upstream found on the public web."""

    url: str
    alt: str = ""


class Citation(msgspec.Struct, frozen=True, tag="citation", kw_only=True):
    """A source of what was said: `start` and `end` index all `Text` so far, in characters."""

    start: int
    end: int
    url: str
    title: str


class Document(msgspec.Struct, frozen=True, tag="document", kw_only=True):
    """What the answer's document is called and is; its body is text of the answer, in a fence where it is code."""

    title: str
    kind: str
    """Its language, as `html` or `python`; `markdown` for prose."""


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """Work that takes minutes has begun, and can be picked up by this handle; a later one replaces it."""

    handle: Handle
    settled: bool = True
    """False: what asks for it is still being said, and the work may be lost if that breaks off."""


Piece = Text | Media | WebImage | Citation | Document
"""What is said or shown."""


class Rewritten(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer, where the upstream has rewritten what was streamed."""

    pieces: tuple[Piece, ...]
    """What is said and shown, in order, in place of all pieces so far."""
    thoughts: str
    reason: FinishReason = "stop"
    usage: Usage


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """The last event of a whole answer; an exchange that ends without one has failed."""

    reason: FinishReason
    usage: Usage
    """Of what was streamed."""
    rewritten: Rewritten | None = None
    """None: it is what was streamed."""


Event = Waiting | Thought | Text | Media | WebImage | Citation | Document | Begun | Finish
