"""Converts images to OpenAI's form: one object, or one event per image."""

from collections.abc import AsyncIterable
from typing import Literal

import msgspec
from msgspec import UNSET

from protocol.http.body import encode_json
from protocol.http.embed import Embedding, Pieces
from protocol.model import NO_USAGE, Content, GatewayError, MediaRef, Usage
from protocol.openai.errors import in_stream
from protocol.openai.images import wire
from protocol.openai.images.read import ImageOptions

_BACKGROUND = "opaque"
"""The only background that the models draw."""
_AUTO = "auto"
_SIZES = ((1024, 1024), (1024, 1536), (1536, 1024))

EventType = Literal["image_generation.completed", "image_edit.completed"]


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is ready for the response; unknown fields are None."""

    url: str | None = None
    content: Content | None = None
    """The image, if the response contains it."""
    size: tuple[int, int] | None
    format: str | None
    revised_prompt: str
    usage: Usage
    ref: MediaRef

    @property
    def media(self) -> tuple["Delivered"]:
        """The image itself, for the count of media."""
        return (self,)

    def __repr__(self) -> str:
        """Return a text without link and content."""
        return f"Delivered(size={self.size}, format={self.format})"


class Pictures(msgspec.Struct, frozen=True):
    """All images of an answer."""

    images: list[Delivered]

    @property
    def media(self) -> list[Delivered]:
        """The images."""
        return self.images

    @property
    def usage(self) -> Usage:
        """The usage of all images together."""
        return sum((one.usage for one in self.images), NO_USAGE)


async def collect_pictures(steps: AsyncIterable[Delivered]) -> Pictures:
    """Return all images, once every turn has ended."""
    return Pictures([one async for one in steps])


def usage_of(usage: Usage) -> wire.Usage:
    """Return token counts in OpenAI's form."""
    seen, drawn = dict(usage.input_modalities).get("IMAGE", 0), dict(usage.output_modalities).get("IMAGE", 0)
    return wire.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_tokens_details=wire.InputDetails(text_tokens=usage.input_tokens - seen, image_tokens=seen),
        output_tokens_details=wire.OutputDetails(text_tokens=usage.output_tokens - drawn, image_tokens=drawn),
    )


class PictureWriter:
    """Writes one answer, streamed or whole (an `AnswerWriter` of `protocol.http.operation`)."""

    def __init__(self, kind: EventType, options: ImageOptions, created: float) -> None:
        """Write images of the kind that a stream's events have."""
        self._kind: EventType = kind
        self._options, self._created = options, int(created)
        self._left = options.n

    def whole(self, reply: Pictures) -> Pieces:
        """Return the body of a whole answer."""
        embedding = Embedding()
        formats, sizes = {one.format for one in reply.images}, {one.size for one in reply.images}
        text = encode_json(
            wire.Images(
                created=self._created,
                data=[
                    wire.Image(
                        url=one.url or UNSET,
                        b64_json=embedding.placeholder(one.content) if one.content is not None else UNSET,
                        revised_prompt=one.revised_prompt or UNSET,
                    )
                    for one in reply.images
                ],
                background=_BACKGROUND,
                output_format=(formats.pop() if len(formats) == 1 else None) or UNSET,
                quality=self._options.quality or UNSET,
                size=_size(sizes.pop() if len(sizes) == 1 else None) or UNSET,
                usage=usage_of(reply.usage),
            ),
        )
        return embedding.fill(text)

    def opened(self) -> bytes:
        """Return no bytes: the first event comes with the first image."""
        return b""

    def event(self, event: Delivered) -> Pieces:
        """Return the event of an image."""
        self._left -= 1
        embedding = Embedding()
        completed = wire.Completed(
            type=self._kind,
            created_at=self._created,
            b64_json=embedding.placeholder(event.content) if event.content is not None else UNSET,
            url=event.url or UNSET,
            revised_prompt=event.revised_prompt or UNSET,
            background=_BACKGROUND,
            output_format=event.format or UNSET,
            quality=self._options.quality or _AUTO,
            size=_size(event.size) or _AUTO,
            usage=usage_of(event.usage),
        )
        return embedding.fill(b"event: " + self._kind.encode() + b"\ndata: " + encode_json(completed) + b"\n\n")

    @property
    def finished(self) -> bool:
        """Whether all images are written."""
        return self._left <= 0

    def error(self, error: GatewayError) -> bytes:
        """Return the error that ends the stream."""
        return in_stream(error)


def _size(size: tuple[int, int] | None) -> str | None:
    """Return a size as OpenAI's responses show it, or None for others: they have three sizes only."""
    return f"{size[0]}x{size[1]}" if size in _SIZES else None
