"""Wire structs of the images API, with OpenAI's names."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from protocol.http.lenient import LenientDecoder
from protocol.http.picture_parameters import PictureFields

Text = Annotated[str, Meta(min_length=1)]
"""A text that is unset if it is empty."""
Prompt = Annotated[str, Meta(min_length=1, max_length=32_000)]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """An image in a JSON body."""

    image_url: Text | None = None
    """A data URL, a link of this gateway, or a public URL."""
    file_id: Text | None = None
    """The id of an uploaded file."""


class ImageRequest(PictureFields, frozen=True, kw_only=True):
    """The fields of both endpoints, without those that are ignored: the site has no such options."""

    prompt: Prompt
    model: Text | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    quality: Any = None
    """Repeated in the answer; the site decides."""
    complexity: Any = None
    input_fidelity: Any = None
    moderation: Any = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: Any = None
    markup: Any = None


class Generation(ImageRequest, frozen=True, kw_only=True):
    """A body of `/images/generations`; images in it are refused."""

    image: Any = None
    images: Any = None
    mask: Any = None


class Edit(ImageRequest, frozen=True, kw_only=True):
    """A body of `/images/edits`: JSON, or the fields of a form."""

    image: Text | Source | list[str | Source] | None = None
    images: list[str | Source] | None = None
    mask: Text | Source | None = None


class Variation(Edit, frozen=True, kw_only=True):
    """A body of `/images/variations`: an edit with a prompt of this gateway's."""

    prompt: Prompt = "Draw a variation of this image: the same subject and style, in another composition."


class Image(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image of the response."""

    url: str | UnsetType = UNSET
    b64_json: str | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET


class InputDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Input tokens by kind."""

    text_tokens: int
    image_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Output tokens by kind."""

    text_tokens: int
    image_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token counts; estimates without images where the upstream does not count, as the site."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails
    output_tokens_details: OutputDetails


class Images(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole response; unknown fields are omitted."""

    created: int
    data: list[Image]
    background: str | UnsetType = UNSET
    output_format: str | UnsetType = UNSET
    quality: str | UnsetType = UNSET
    size: str | UnsetType = UNSET
    usage: Usage


class Completed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The event of one image in a streamed response."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    created_at: int
    b64_json: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET
    background: str | UnsetType = UNSET
    output_format: str | UnsetType = UNSET
    quality: str | UnsetType = UNSET
    size: str | UnsetType = UNSET
    usage: Usage


GENERATIONS, EDITS, VARIATIONS = LenientDecoder(Generation), LenientDecoder(Edit), LenientDecoder(Variation)
