"""The internal request: independent of dialect and transport."""

import json
from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import blake2b

import msgspec

from protocol.model.errors import Forbidden
from protocol.model.features import FEATURE_OF, Feature
from protocol.model.media import MediaRef
from protocol.model.names import Selection
from protocol.model.request_options import NO_OPTIONS, AnswerOptions
from protocol.model.stored import Content, StoredFile
from protocol.model.tools import JsonOutput, ToolChoice

_ALL_FEATURES = frozenset(Feature)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The license that a request came with, without its key."""

    id: str
    """The id of the license, never its key. It may be logged."""
    serial: str | None = None
    """Tells a license of the store from earlier ones with the same id; None: a license of the settings."""

    models: tuple[str, ...] = ("*",)
    """Shell-style patterns of the model ids this license may call."""

    features: tuple[Feature, ...] = tuple(Feature)
    """The features that this license includes."""

    aliases: dict[str, str] = {}
    """Names of models, or patterns, that mean another model for this license (`protocol.model.aliases`)."""

    fallbacks: dict[str, tuple[str, ...]] = {}
    """Models that may answer in place of others for this license (`Catalogue.fallbacks_of`)."""

    def includes(self, feature: Feature) -> bool:
        """Return whether this license includes a feature."""
        return feature in self.features

    @property
    def owner(self) -> str:
        """What its media links, jobs and conversations belong to: never the same for two licenses."""
        return self.id if self.serial is None else f"{self.id}+{self.serial}"

    @property
    def includes_all(self) -> bool:
        """Whether this license includes every feature."""
        return _ALL_FEATURES.issubset(self.features)

    def may_use(self, selection: Selection) -> bool:
        """Return whether this license covers a selection, by its `id` or its `name`."""
        return self._refusal(selection) is None

    def permit(self, selection: Selection) -> None:
        """Check that this license covers a selection.

        Raises:
            Forbidden: the license does not cover the model or the feature; the message names it.

        """
        refusal = self._refusal(selection)
        if refusal is not None:
            raise refusal

    def permit_feature(self, feature: Feature) -> None:
        """Check that this license includes a feature.

        Raises:
            Forbidden: it does not; the message names the feature.

        """
        if feature not in self.features:
            raise Forbidden(f"This license does not include '{feature}'.", code="license_required")

    def _refusal(self, selection: Selection) -> Forbidden | None:
        names = (selection.id, selection.name)
        if not any(fnmatchcase(name, pattern) for name in names for pattern in self.models):
            return Forbidden(
                f"This license does not allow the model '{selection.id}': use a model that '/v1/models' lists."
            )
        feature = FEATURE_OF[selection.capability]
        if feature not in self.features:
            message = f"This license does not include '{feature}', which the model '{selection.id}' needs."
            return Forbidden(message, code="license_required")
        return None


class Role(StrEnum):
    """The author of a turn."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """A text in a turn."""

    text: str


class FileView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a file is read."""

    resolution: str = ""
    """How closely, in Google's name."""
    start: str = ""
    """Where the wanted part of a video begins: seconds, as in `1.5s`."""
    end: str = ""
    fps: float | None = None
    """How many frames per second of a video are read."""


class FilePart(msgspec.Struct, frozen=True, tag="file", kw_only=True, dict=True, omit_defaults=True):
    """A file in a turn: an image, a document, audio or video. Its content is in `data` or in `stored`."""

    data: bytes = b""
    """The content, in memory."""
    stored: StoredFile | None = None
    """The content, on disk."""
    mime: str
    """The media type, detected from the first bytes; the declared type is not trusted."""
    name: str
    view: FileView | None = None
    """How it is read; None: as usual."""

    @property
    def content(self) -> Content:
        """The content, in memory or on disk."""
        return self.data if self.stored is None else self.stored

    @property
    def size(self) -> int:
        """The size of the content in bytes."""
        return len(self.content)

    @cached_property
    def digest(self) -> bytes:
        """The digest of the content, computed once because a file may be long."""
        return blake2b(self.data, digest_size=32).digest() if self.stored is None else self.stored.digest

    def loaded(self) -> "FilePart":
        """Return this file with its content in memory."""
        if self.stored is None:
            return self
        return FilePart(data=self.stored.whole(), mime=self.mime, name=self.name, view=self.view)

    def __repr__(self) -> str:
        """Return a text without the content."""
        return f"FilePart(mime={self.mime!r}, bytes={self.size})"


class MediaPart(msgspec.Struct, frozen=True, tag="media"):
    """A media file of an earlier answer, which the upstream still has."""

    ref: MediaRef


Part = TextPart | FilePart | MediaPart


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call of an earlier turn; `arguments` is the original JSON text."""

    id: str
    name: str
    arguments: str
    signature: str = ""
    """The thought signature that belongs to the call, if its upstream signs and the client carries it; opaque."""

    @property
    def canonical_arguments(self) -> str:
        """The arguments, as `canonical_json`."""
        return canonical_json(self.arguments)


def canonical_json(text: str) -> str:
    """Return JSON in one layout, since clients send it back in another; unchanged if it is not JSON."""
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError):
        return text.encode("utf-8", "replace").decode()


class Turn(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One message of the conversation."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    signature: str = ""
    """The upstream's signature of an answer's text, if the client carries it; opaque."""

    @cached_property
    def text(self) -> str:
        """Its text parts, joined by line breaks."""
        return "\n".join([part.text for part in self.parts if isinstance(part, TextPart)])

    @cached_property
    def digests(self) -> dict[str, bytes]:
        """Digests of this turn by the name of the module that computed them; cached because a text may be long."""
        return {}


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """A reference to long-running work at an upstream, by which its result is fetched later."""

    transport: str
    account: str
    token: str
    """The transport's reference: an opaque text that may be stored."""


class EmbeddingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the embedding of one turn."""

    dimensions: int | None = None
    """The length of the vectors; None: that of the model."""
    task: str = ""
    """What they are for, as the upstream names it, such as `RETRIEVAL_QUERY`."""
    title: str = ""
    """The title of the text, if it is a document."""


class SpokenPart(msgspec.Struct, frozen=True, kw_only=True):
    """How one text is spoken."""

    speaker: str = ""
    """The speaker's name, if it is a dialogue."""
    style: str = ""
    """How it sounds, in words."""


class SpokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """How a text is spoken."""

    voice: str = ""
    """The name of the voice; empty: the upstream chooses."""
    speakers: tuple[tuple[str, str], ...] = ()
    """The names of the speakers of a dialogue, each with the name of its voice."""
    language: str = ""
    """A language code; empty: that of the text."""
    parts: tuple[SpokenPart, ...] = ()
    """How each text part of the request is spoken, in their order; those that follow have nothing of their own."""


class HeardForm(msgspec.Struct, frozen=True, kw_only=True):
    """How speech is written down."""

    languages: tuple[str, ...] = ()
    """Codes of the languages that are spoken; empty: unknown."""
    vocabulary: tuple[str, ...] = ()
    """Words that may occur."""
    times: bool = False
    """Whether the times of the words are wanted."""


class VideoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a video."""

    seconds: int | None = None
    """Its length; None: what is usual."""
    edits: MediaRef | None = None
    """A video to change; an upstream that cannot do so makes another one by the turns of the request."""
    change: str = ""
    """What is to be changed in it."""


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a model, with its caller."""

    id: str
    """The request's id, as in `x-request-id`."""
    caller: Caller
    selection: Selection
    turns: tuple[Turn, ...]
    """The conversation, oldest first; never empty."""
    attempts_before: int = 0
    """The number of earlier attempts, as the client's SDK reports it."""
    aspect: tuple[int, int] | None = None
    """The aspect ratio of the image or video, such as (16, 9)."""
    pixels: int | None = None
    """About how many pixels each image, or the video, should have; None: what is usual."""
    streamed: bool = False
    """Whether the caller receives the answer as a stream."""
    tools: ToolChoice | None = None
    """The tools that the model may call; None: none."""
    output: JsonOutput | None = None
    """The JSON that the answer must be; None: free text."""
    options: AnswerOptions = NO_OPTIONS
    counted: bool = False
    """Whether another request counts the prompt: this one asks for a further answer to it, or for a repair."""
    unseen: int = 0
    """The number of last turns that the client does not see: it will not send them back."""
    handle: Handle | None = None
    """Fetch the result of this work; nothing new is requested."""
    video: VideoOptions | None = None
    """Options of the video, if the model makes one."""
    embeddings: tuple[EmbeddingOptions, ...] = ()
    """Options of the embedding of each turn, if the model computes some."""
    speech: SpokenForm | None = None
    """How the answer is spoken, if the model speaks."""
    heard: HeardForm | None = None
    """How speech is written down, if the model does nothing else."""


def arranged(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return the turns with the results of each answer's tool calls in the order of the calls, and with their names.

    Clients send the results in any order, by the id of their call.
    """
    done: list[Turn] = []
    results: list[Turn] = []
    for turn in turns:
        if turn.role is Role.TOOL:
            results.append(turn)
            continue
        _add_results(done, results)
        results.clear()
        done.append(turn)
    _add_results(done, results)
    return tuple(done)


def _add_results(done: list[Turn], results: Sequence[Turn]) -> None:
    """Append the results of the last turn's calls to `done`."""
    calls = done[-1].tool_calls if done else ()
    places = {call.id: place for place, call in reversed(list(enumerate(calls))) if call.id}
    named: list[tuple[int, Turn]] = []
    for number, result in enumerate(results):
        place = places.get(result.tool_call_id or "", number)
        name = result.name or (calls[place].name if place < len(calls) else None)
        named.append((place, msgspec.structs.replace(result, name=name)))
    done += [result for _, result in sorted(named, key=lambda one: one[0])]
