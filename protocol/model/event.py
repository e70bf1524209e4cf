"""The events of an answer. Text and thoughts are append-only: an event never removes earlier text.

An upstream may still rewrite its text. Then the streamed text stops where the rewritten text differs, and `Finish`
carries the whole final answer. Example: the upstream sends "Paris is big" and later "Paris is the capital". The events
are `Text("Paris is ")`, `Text("big")` and `Finish(rewritten=...)` with "Paris is the capital".
"""

from typing import Literal

import msgspec

from protocol.model.media import MediaRef
from protocol.model.request import Handle

FinishReason = Literal["stop", "length", "content_filter"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts; estimates if the upstream does not count."""

    input_tokens: int
    output_tokens: int
    """Including thoughts."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that is thoughts."""


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """A sign of life: the upstream has queued the request or works on it."""


class Thought(msgspec.Struct, frozen=True, tag="thought"):
    """The next part of the model's thoughts."""

    text: str


class Text(msgspec.Struct, frozen=True, tag="text"):
    """The next part of the answer's text."""

    text: str


class Media(msgspec.Struct, frozen=True, tag="media", kw_only=True):
    """An image, a video or music, placed after the text so far."""

    ref: MediaRef
    alt: str = ""
    """The upstream's description of it."""
    revised_prompt: str = ""
    """The prompt as sent to the upstream, or as the upstream reports that it changed it."""


class WebImage(msgspec.Struct, frozen=True, tag="web_image", kw_only=True):
    """An image that the upstream found on the public web."""

    url: str
    alt: str = ""


class Citation(msgspec.Struct, frozen=True, tag="citation", kw_only=True):
    """A source of the text; `start` and `end` are character offsets into all `Text` so far."""

    start: int
    end: int
    url: str
    title: str


class Document(msgspec.Struct, frozen=True, tag="document", kw_only=True):
    """The title and kind of the answer's document. Its body is part of the text, fenced if it is code."""

    title: str
    kind: str
    """The language, such as `html` or `python`; `markdown` for prose."""


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """Long-running work has begun; its result can be fetched by this handle. A later handle replaces it."""

    handle: Handle
    settled: bool = True
    """False: the request is still being sent, and the work may be lost if the connection breaks."""


Piece = Text | Media | WebImage | Citation | Document
"""An event that is content of the answer."""


class Rewritten(msgspec.Struct, frozen=True, kw_only=True):
    """The whole final answer, if the upstream has rewritten what was streamed."""

    pieces: tuple[Piece, ...]
    """The content in order; it replaces all pieces so far."""
    thoughts: str
    reason: FinishReason = "stop"
    usage: Usage


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """The last event of a complete answer. An exchange that ends without it has failed."""

    reason: FinishReason
    usage: Usage
    """The usage of what was streamed."""
    rewritten: Rewritten | None = None
    """None: the answer is what was streamed."""


Event = Waiting | Thought | Text | Media | WebImage | Citation | Document | Begun | Finish
