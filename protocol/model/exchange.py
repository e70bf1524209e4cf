"""The answer to a request: its events, and the exchange that carries them.

Text and thoughts are append-only: an event never removes earlier text. An upstream may still rewrite its text. Then the
streamed text stops where the rewritten text differs, and `Finish` carries the whole final answer. Example: the upstream
sends "Paris is big" and later "Paris is the capital". The events are `Text("Paris is ")`, `Text("big")` and
`Finish(rewritten=...)` with "Paris is the capital".
"""

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Literal, Protocol

import msgspec

from protocol.model.features import Feature
from protocol.model.media import MediaRef
from protocol.model.request import Handle
from protocol.model.tokens import estimate_tokens
from protocol.model.usage_counts import NO_USAGE, Usage

_SHOWN = 64
_INVISIBLE = re.compile(r"[^ -~]+")

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


def estimated_usage(text: str, thoughts: str, prompt: Usage = NO_USAGE) -> Usage:
    """Return the usage of an answer's text and thoughts, which is estimated, and of its prompt."""
    reasoning = estimate_tokens(thoughts) if thoughts else 0
    return Usage(
        input_tokens=prompt.input_tokens,
        output_tokens=estimate_tokens(text) + reasoning,
        reasoning_tokens=reasoning,
        cached_tokens=prompt.cached_tokens,
    )


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """A sign of life: the upstream has queued the request or works on it."""


class Thought(msgspec.Struct, frozen=True, tag="thought"):
    """The next part of the model's thoughts."""

    text: str


class Text(msgspec.Struct, frozen=True, tag="text"):
    """The next part of the answer's text."""

    text: str


class CodeText(Text, frozen=True, tag="code_text", kw_only=True):
    """Code that the upstream has run, or what it has printed; `text` shows it in Markdown."""

    code: str = ""
    """The code; empty: this is what it has printed."""
    language: str = ""
    output: str = ""
    outcome: str = ""
    """How it ended, in Google's name."""


class Consulted(msgspec.Struct, frozen=True, tag="consulted", kw_only=True):
    """What the upstream's own tools have searched and opened for the answer."""

    queries: tuple[str, ...] = ()
    entry_point: str = ""
    """HTML with which the search can be repeated."""
    pages: tuple[tuple[str, str], ...] = ()
    """The addresses that were opened, each with its status, in Google's names."""


class Signed(msgspec.Struct, frozen=True, tag="signed"):
    """The upstream's signature of the text so far; opaque. A client may send it back with the text."""

    signature: str


class WeighedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the text, and how probable the model held it."""

    text: str
    logprob: float
    number: int = 0
    """The number of the token in the model's vocabulary; 0: unknown."""
    others: tuple["WeighedToken", ...] = ()
    """The most probable tokens at its place."""


class Weighed(msgspec.Struct, frozen=True, tag="weighed"):
    """The tokens of the next `Text`."""

    tokens: tuple[WeighedToken, ...]


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


class Withheld(msgspec.Struct, frozen=True, tag="withheld"):
    """Something that the upstream made, and that the license does not include; it was left out here."""

    feature: Feature


class CallStarted(msgspec.Struct, frozen=True, tag="call_started", kw_only=True):
    """A tool call begins. It ends at the next event that is text, another call, or the end of the answer."""

    id: str
    """Unique, assigned by the gateway or the upstream."""
    name: str
    signature: str = ""
    """The upstream's signature of the thoughts before the call; opaque."""


class CallArguments(msgspec.Struct, frozen=True, tag="call_arguments"):
    """The next part of the arguments of the last call that began: all parts together are a JSON object."""

    text: str


class CallMalformed(msgspec.Struct, frozen=True, tag="call_malformed", kw_only=True):
    """The model tried to call a tool, in a form that cannot be read; `protocol.structured` asks it to repeat."""

    text: str
    """The text of the call, as the model wrote it."""
    problem: str
    """What is wrong, in words for the model."""


class Declined(msgspec.Struct, frozen=True, tag="declined"):
    """The model declines, in words, to answer in the form that the client requires."""

    text: str
    reason: str = ""
    """The upstream's name of the reason, as in `Refused`."""
    withheld: bool = False
    """Whether it is an answer that is withheld, and not the prompt that is refused."""


class WorkStarted(msgspec.Struct, frozen=True, tag="work_started"):
    """Long-running work has begun; its result can be fetched by this handle. A later handle replaces it."""

    handle: Handle
    settled: bool = True
    """False: the request is still being sent, and the work may be lost if the connection breaks."""


class Vector(msgspec.Struct, frozen=True, tag="vector"):
    """The embedding of the next turn, as the upstream computes it: numbers as float32 in little-endian order."""

    data: bytes


class Sound(msgspec.Struct, frozen=True, tag="sound"):
    """The next part of what is spoken: samples of 16 bits in little-endian order, one channel."""

    content: bytes
    rate: int = 24_000
    """Samples per second."""

    @property
    def mime(self) -> str:
        """The media type, as Google names it."""
        return f"audio/L16;codec=pcm;rate={self.rate}"


class HeardWord(msgspec.Struct, frozen=True, kw_only=True):
    """A word that was heard, and the seconds at which it begins and ends."""

    text: str
    start: float
    end: float


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """The times of the next words of a transcript, whose text comes in `Text`."""

    words: tuple[HeardWord, ...]
    language: str = ""
    """The language code; empty: unknown."""
    text: str = ""
    """The text that they are of."""


Piece = Text | CodeText | Media | WebImage | Citation | Document | Withheld
"""An event that is content of the answer."""


class Rewritten(msgspec.Struct, frozen=True, kw_only=True):
    """The whole final answer, if the upstream has rewritten what was streamed."""

    pieces: tuple[Piece, ...]
    """The content in order; it replaces all pieces so far."""
    thoughts: str
    reason: FinishReason = "stop"
    usage: Usage
    stop_sequence: str = ""
    """The stop sequence of the client that ended the text; empty: none did."""


class UpstreamEnd(msgspec.Struct, frozen=True):
    """How the upstream describes the end of an answer, in its own words."""

    reason: str = ""
    """Empty: the usual name of the reason."""
    message: str = ""


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """The last event of a complete answer. An exchange that ends without it has failed."""

    reason: FinishReason
    usage: Usage
    """The usage of what was streamed."""
    rewritten: Rewritten | None = None
    """None: the answer is what was streamed."""
    stop_sequence: str = ""
    """The stop sequence of the client that ended the streamed text; empty: none did."""
    upstream: UpstreamEnd = UpstreamEnd()


Event = (
    Waiting
    | Thought
    | Text
    | CodeText
    | Consulted
    | Signed
    | Weighed
    | Media
    | WebImage
    | Citation
    | Document
    | Withheld
    | CallStarted
    | CallArguments
    | CallMalformed
    | Declined
    | WorkStarted
    | Vector
    | Sound
    | Heard
    | Finish
)


class UpstreamModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as an upstream names it; unknown fields are empty."""

    id: str = ""
    name: str = ""
    """The display name, such as `3.7 Flash`."""
    family: str = ""

    @property
    def label(self) -> str:
        """The name or else the id, in visible ASCII: safe in a header and a metric label."""
        return _visible(self.name) or _visible(self.id)


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The transport, account and model that serve a request; no field is secret."""

    transport: str
    account: str
    requested: UpstreamModel = UpstreamModel()
    """The requested upstream model."""
    answered: UpstreamModel | None = None
    """The model that answered, as the upstream reports it; None until it does."""
    applied: frozenset[str] = frozenset()
    """The names of the `AnswerOptions` that the request sets and the upstream applies."""
    counts: bool = False
    """Whether the upstream counts tokens."""

    @property
    def model(self) -> str:
        """The label of the model that answered; empty while it is unknown."""
        return self.answered.label if self.answered is not None else ""

    @property
    def mismatch(self) -> tuple[str, str] | None:
        """The requested family and the one that answered, if both are known and differ."""
        asked, answered = self.requested, self.answered
        if answered is None or not asked.family or not answered.family:
            return None
        same = asked.family == answered.family or (asked.id and asked.id == answered.id)
        return None if same else (asked.family, answered.family)


def _visible(text: str) -> str:
    return " ".join(_INVISIBLE.sub("", text).split())[:_SHOWN].strip()


class Exchange:
    """The answer to one request: its events, and the account and model that serve it.

    A transformation of an answer is an async generator over `events`; `over` returns the exchange with its events.
    """

    __slots__ = ("_served", "events")

    def __init__(self, served: Callable[[], Served], events: AsyncIterator[Event]) -> None:
        """Set the events, and a function that returns what is known about the serving account and model."""
        self._served = served
        self.events = events
        """Read them once, until `Finish`. Reading raises GatewayError if the answer breaks off."""

    @property
    def served(self) -> Served:
        """The transport, account and model that serve the request."""
        return self._served()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Return the events."""
        return self.events

    def over(self, events: AsyncIterator[Event]) -> "Exchange":
        """Return this exchange with other events."""
        return Exchange(self._served, events)


class Returnable(Protocol):
    """An iterator of events to which events can be put back."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events."""
        ...

    def put_back(self, events: Iterable[Event]) -> None:
        """Yield these events before all others."""
        ...


class PutBack:
    """Wraps an iterator so that events can be put back."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        """Read `events`."""
        self._events = events
        self._first: deque[Event] = deque()

    def __aiter__(self) -> AsyncIterator[Event]:
        """Yield the events."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event."""
        return self._first.popleft() if self._first else await anext(self._events)

    def put_back(self, events: Iterable[Event]) -> None:
        """Put events back, as `Returnable.put_back`."""
        self._first.extend(events)


async def peek(events: Returnable, enough: Callable[[Event], bool] = lambda _: True) -> Event | None:
    """Return the first event for which `enough` is true, or None if the events end before.

    All events can still be read afterwards, except each `Waiting` before that event.
    """
    first: list[Event] = []
    found: Event | None = None
    async for event in events:
        if isinstance(event, Waiting):
            continue
        first.append(event)
        if enough(event):
            found = event
            break
    events.put_back(first)
    return found
