"""What an upstream drew, filmed or composed: where it is, for those who may fetch it, and its bytes as they come."""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

import msgspec


class MediaKind(StrEnum):
    """What sort of media."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class Rendition(StrEnum):
    """In which pixels a picture is wanted; other media have but one rendition."""

    USUAL = "usual"
    """About a thousand pixels along the longer side."""
    LARGE = "large"
    """About two thousand."""
    ORIGINAL = "original"
    """As the upstream keeps it, with whatever mark it puts on it."""


class MediaRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where an upstream keeps a piece of media. Clients never see it: they get a sealed link, or the bytes."""

    transport: str
    """The transport's name in the settings."""
    account: str
    """Whose it is: only this account can fetch it."""
    kind: MediaKind
    url: str
    """The upstream's own."""
    original: str = ""
    """What the transport needs to find the original pixels; empty: what `url` gives is all there is."""


class MediaStream(Protocol):
    """One piece of media, open; iterate it once."""

    @property
    def mime(self) -> str:
        """The media type, by the bytes themselves."""
        ...

    @property
    def length(self) -> int | None:
        """How many bytes come, where that is known."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes; raises GatewayError where they break off."""
        ...
