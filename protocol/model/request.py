"""What is asked: one internal request, owned by nobody's vendor."""

from enum import StrEnum
from functools import cached_property
from hashlib import blake2b

import msgspec

from protocol.model.caller import Caller
from protocol.model.media import MediaRef
from protocol.model.names import Selection
from protocol.model.stored import Content, StoredFile


class Role(StrEnum):
    """Who speaks a turn."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """A piece of text in a turn."""

    text: str


class FilePart(msgspec.Struct, frozen=True, tag="file", kw_only=True, dict=True, omit_defaults=True):
    """A file in a turn, whole: a picture, a document, sound or film. Its content is in `data` or in `stored`."""

    data: bytes = b""
    """The content, in memory."""
    stored: StoredFile | None = None
    """The content, on disk."""
    mime: str
    """By its own first bytes, not by what the caller said."""
    name: str

    @property
    def content(self) -> Content:
        """The content, wherever it is."""
        return self.data if self.stored is None else self.stored

    @property
    def size(self) -> int:
        """The number of bytes of the content."""
        return len(self.content)

    @cached_property
    def digest(self) -> bytes:
        """The digest of the content; worked out once, since a file may be long."""
        return blake2b(self.data, digest_size=32).digest() if self.stored is None else self.stored.digest

    def loaded(self) -> "FilePart":
        """Return the same file with its content in memory."""
        if self.stored is None:
            return self
        return FilePart(data=self.stored.whole(), mime=self.mime, name=self.name)

    def __repr__(self) -> str:
        """Show no content."""
        return f"FilePart(mime={self.mime!r}, bytes={self.size})"


class MediaPart(msgspec.Struct, frozen=True, tag="media"):
    """Something that this gateway handed out in an earlier turn, and that the upstream still has."""

    ref: MediaRef


Part = TextPart | FilePart | MediaPart


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that the assistant made in an earlier turn; `arguments` is JSON text, as it was given."""

    id: str
    name: str
    arguments: str


class Turn(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One message of the conversation."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """Its text parts, a line between them."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))

    @cached_property
    def digests(self) -> dict[str, bytes]:
        """Digests of this turn, by the module that has worked one out; kept since a text may be long."""
        return {}


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """Where work that takes minutes is going on at an upstream, so that its answer can be picked up later."""

    transport: str
    account: str
    token: str
    """The transport's own words for it: opaque, fit for the store."""


class GenerationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a model, by whom."""

    id: str
    """The request's id, as in `x-request-id`."""
    caller: Caller
    selection: Selection
    turns: tuple[Turn, ...]
    """The conversation, oldest first; never empty."""
    attempts_before: int = 0
    """How often the client's SDK says it tried already."""
    aspect: tuple[int, int] | None = None
    """The shape wanted of a picture or video, as (16, 9)."""
    streamed: bool = False
    """The caller gets the answer while it comes; else only once it is whole."""
    handle: Handle | None = None
    """Nothing is asked anew: pick up the answer of the work that this names."""
