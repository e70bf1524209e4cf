"""OpenAI's images on the wire; names are OpenAI's."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Prompt = Annotated[str, Meta(min_length=1, max_length=32_000)]
Quality = Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A picture in a JSON body."""

    image_url: str | None = None
    """A data URL, a link of this gateway's, or a public address."""
    file_id: str | None = None
    """A file kept at OpenAI; not taken."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What both endpoints take."""

    prompt: Prompt
    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=4)] | None = None
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    quality: Quality | None = None
    """A wish: the site decides."""
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["low", "auto"] | None = None
    """Taken, without effect: the site has no such choice."""
    style: Literal["vivid", "natural"] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    """A wish: the site decides."""
    input_fidelity: Literal["high", "low"] | None = None
    """A wish: the site decides."""
    return_origin_image: bool | None = None
    """This gateway's own: the original instead of the 1K rendition."""
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: Any = None
    markup: Any = None


class Generation(Ask, frozen=True, kw_only=True):
    """A body of `/images/generations`; pictures are refused there."""

    image: Any = None
    images: Any = None
    mask: Any = None


class Edit(Ask, frozen=True, kw_only=True):
    """A body of `/images/edits` in JSON, or a form's fields."""

    image: str | Source | list[str | Source] | None = None
    images: list[str | Source] | None = None
    mask: str | Source | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A picture that was made."""

    url: str | UnsetType = UNSET
    b64_json: str | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET


class InputDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What the input tokens were."""

    text_tokens: int
    image_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What the output tokens were."""

    text_tokens: int
    image_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, as far as they are known; pictures are not counted by the site."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails
    output_tokens_details: OutputDetails


class Images(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A whole answer; what is not known is left out."""

    created: int
    data: list[Image]
    background: str | UnsetType = UNSET
    output_format: str | UnsetType = UNSET
    quality: str | UnsetType = UNSET
    size: str | UnsetType = UNSET
    usage: Usage


class Completed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One picture of a streamed answer."""

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


decode_generation = msgspec.json.Decoder(Generation).decode
decode_edit = msgspec.json.Decoder(Edit).decode
