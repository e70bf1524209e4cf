"""Wire structs of chat responses, whole and in chunks, with OpenAI's names.

`images`, `videos`, `audios` and `document` are extensions; other gateways use `images` too.
"""

from typing import Literal

import msgspec


class PromptDetails(msgspec.Struct, frozen=True):
    """Prompt tokens by kind."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct, frozen=True):
    """Completion tokens by kind."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Token counts; estimates, since the website does not count."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Link(msgspec.Struct, frozen=True):
    """The URL of a media file."""

    url: str


class ImageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An image of the answer."""

    type: Literal["image_url"] = "image_url"
    image_url: Link
    index: int


class VideoEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A video of the answer."""

    type: Literal["video_url"] = "video_url"
    video_url: Link
    index: int


class AudioEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Music of the answer."""

    type: Literal["audio_url"] = "audio_url"
    audio_url: Link
    index: int


class UrlCitation(msgspec.Struct, frozen=True, kw_only=True):
    """A source, with the range of `content` that cites it."""

    start_index: int
    end_index: int
    url: str
    title: str


class Annotation(msgspec.Struct, frozen=True, kw_only=True):
    """An annotation of a part of the answer."""

    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class DocumentEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The title of the answer's document, and its language or `markdown`; the body is in `content`."""

    title: str
    kind: str


class CalledFunction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The function of a tool call: in a stream, its name comes first, and the arguments in parts."""

    name: str | None = None
    arguments: str = msgspec.field(default_factory=str)


class GoogleContent(msgspec.Struct, frozen=True):
    """What Google's API has in addition to OpenAI's."""

    thought_signature: str


class ExtraContent(msgspec.Struct, frozen=True):
    """Google's extension of a tool call, or of a text."""

    google: GoogleContent

    @classmethod
    def of(cls, signature: str) -> "ExtraContent":
        """Return the extension with a thought signature."""
        return cls(GoogleContent(signature))


class AnsweredCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call of a whole answer."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    extra_content: ExtraContent | msgspec.UnsetType = msgspec.UNSET


class StreamedCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a tool call in a stream; id and type come in its first part only."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledFunction
    extra_content: ExtraContent | None = None


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The message of a whole answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    annotations: list[Annotation] = []
    tool_calls: list[AnsweredCall] | msgspec.UnsetType = msgspec.UNSET
    function_call: CalledFunction | msgspec.UnsetType = msgspec.UNSET
    """The call, for clients that use the older form of tools."""
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    extra_content: ExtraContent | msgspec.UnsetType = msgspec.UNSET
    images: list[ImageEntry] | msgspec.UnsetType = msgspec.UNSET
    videos: list[VideoEntry] | msgspec.UnsetType = msgspec.UNSET
    audios: list[AudioEntry] | msgspec.UnsetType = msgspec.UNSET
    document: DocumentEntry | msgspec.UnsetType = msgspec.UNSET


class TopLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """A token that could stand at a place of the answer, and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob, frozen=True, kw_only=True):
    """A token of the answer."""

    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of the answer, or of a chunk."""

    content: list[TokenLogprob]
    refusal: None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The choice of a whole answer."""

    index: int = 0
    message: AnswerMessage
    logprobs: Logprobs | None = None
    finish_reason: str


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The content that a chunk adds."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[StreamedCall] | None = None
    function_call: CalledFunction | None = None
    images: list[ImageEntry] | None = None
    videos: list[VideoEntry] | None = None
    audios: list[AudioEntry] | None = None
    annotations: list[Annotation] | None = None
    document: DocumentEntry | None = None
    extra_content: ExtraContent | None = None


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The choice of a chunk."""

    index: int = 0
    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a streamed answer."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET
    """Null in every chunk but the last, if usage was requested."""
