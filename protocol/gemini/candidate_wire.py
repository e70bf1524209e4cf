"""Wire structs of answers, with Google's names."""

from typing import Any, Self

import msgspec

from protocol.model import Heard


class InlineData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A file in base64."""

    mime_type: str
    data: str


class LinkedFile(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A file at a URL."""

    mime_type: str
    file_uri: str


class AnsweredFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a function."""

    id: str
    name: str
    args: dict[str, Any]


class RunCode(msgspec.Struct, frozen=True, kw_only=True):
    """Code that the model has run."""

    language: str
    code: str


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the code has printed."""

    outcome: str
    output: str


class AnsweredWord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A word that was heard; the offsets are texts such as `1.4s`."""

    word: str
    start_offset: str
    end_offset: str


class TranscriptTimes(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What was heard: its language, and the times of its words if they were asked for."""

    text: str
    language_code: str = ""
    words: list[AnsweredWord] = []

    @classmethod
    def of(cls, heard: Heard) -> Self:
        """Return what an event tells."""
        words = [
            AnsweredWord(word=one.text, start_offset=f"{one.start:.10g}s", end_offset=f"{one.end:.10g}s")
            for one in heard.words
        ]
        return cls(text=heard.text, language_code=heard.language, words=words)


class AnswerPart(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of the answer: one of its fields is set; `thought` marks a text as a thought.

    `thought_signature` goes with a call, or with the end of a text.
    """

    text: str | None = None
    thought: bool = False
    function_call: AnsweredFunction | None = None
    inline_data: InlineData | None = None
    file_data: LinkedFile | None = None
    executable_code: RunCode | None = None
    code_execution_result: RunResult | None = None
    thought_signature: str = ""
    audio_transcription: TranscriptTimes | None = None
    """About the text, or the texts before it."""


class AnswerContent(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the answer."""

    parts: list[AnswerPart]
    role: str = "model"


class WebSource(msgspec.Struct, frozen=True, kw_only=True):
    """A page on the web."""

    uri: str
    title: str


class GroundingChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A source of the answer."""

    web: WebSource


class Segment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A piece of the answer's text; its place is counted in bytes of UTF-8."""

    start_index: int
    end_index: int
    text: str


class GroundingSupport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The sources of a piece of text, by their index."""

    segment: Segment
    grounding_chunk_indices: list[int]


class EntryPoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """HTML with which a search can be repeated."""

    rendered_content: str


class GroundingMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The sources of the answer, and the searches that found them."""

    web_search_queries: tuple[str, ...] = ()
    grounding_chunks: list[GroundingChunk] = []
    grounding_supports: list[GroundingSupport] = []
    search_entry_point: EntryPoint | None = None


class OpenedPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An address that was opened for the answer."""

    retrieved_url: str
    url_retrieval_status: str


class UrlContext(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The addresses that were opened for the answer."""

    url_metadata: list[OpenedPage]


class ChosenToken(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token, and the logarithm of its probability."""

    token: str
    token_id: int
    log_probability: float


class TopTokens(msgspec.Struct, frozen=True):
    """The most probable tokens of one place."""

    candidates: list[ChosenToken]


class TokenProbabilities(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The tokens of an answer, or of its next part."""

    top_candidates: list[TopTokens] = []
    chosen_candidates: list[ChosenToken] = []


class AnswerCandidate(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An answer, or its next part."""

    content: AnswerContent | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    grounding_metadata: GroundingMetadata | None = None
    url_context_metadata: UrlContext | None = None
    logprobs_result: TokenProbabilities | None = None
    index: int | msgspec.UnsetType = msgspec.UNSET


class PromptFeedback(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Why a prompt is not answered."""

    block_reason: str
    block_reason_message: str = ""


class ModalityCount(msgspec.Struct, frozen=True, rename="camel"):
    """The tokens of one modality."""

    modality: str
    token_count: int


class UsageMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Token counts."""

    prompt_token_count: int | msgspec.UnsetType = msgspec.UNSET
    cached_content_token_count: int = 0
    candidates_token_count: int | msgspec.UnsetType = msgspec.UNSET
    thoughts_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    prompt_tokens_details: list[ModalityCount] = []
    candidates_tokens_details: list[ModalityCount] = []
    total_token_count: int | msgspec.UnsetType = msgspec.UNSET


class GenerateResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The answer to a request, or a chunk of its stream."""

    candidates: list[AnswerCandidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str = ""
    response_id: str = ""


class CountedTokens(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer of `:countTokens`."""

    total_tokens: int
