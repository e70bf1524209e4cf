"""Media that an upstream made: references to them, and their bytes as a stream."""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

import msgspec

from protocol.model.features import Feature


class MediaKind(StrEnum):
    """The kind of media."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


_FEATURE_OF_KIND = {
    MediaKind.IMAGE: Feature.IMAGES,
    MediaKind.VIDEO: Feature.VIDEO,
    MediaKind.AUDIO: Feature.MUSIC,
}


class Rendition(StrEnum):
    """The resolution in which an image is fetched; other media have one rendition."""

    USUAL = "usual"
    """About a thousand pixels along the longer side."""
    LARGE = "large"
    """About two thousand pixels along the longer side."""
    ORIGINAL = "original"
    """The original file, which may carry a visible watermark."""


class MediaRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where an upstream keeps a media file. Clients never see it: they get a signed link or the bytes."""

    transport: str
    """The transport's name in the settings."""
    account: str
    """The id of the account that owns it; only this account can fetch it."""
    kind: MediaKind
    url: str
    """The upstream's URL."""
    original: str = ""
    """What the transport needs to fetch the original; empty if `url` is the only rendition."""
    part_of: Feature | None = None
    """The feature that it is a part of, if that is another than its kind's: a storybook's picture, a song's film."""

    @property
    def feature(self) -> Feature:
        """The feature that a license must include to get this media."""
        return self.part_of or _FEATURE_OF_KIND[self.kind]


class MediaStream(Protocol):
    """An open media file; iterate it once."""

    @property
    def mime(self) -> str:
        """The media type, detected from the bytes."""
        ...

    @property
    def length(self) -> int | None:
        """The number of bytes, or None if it is unknown."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the bytes; raises GatewayError if the stream breaks."""
        ...
