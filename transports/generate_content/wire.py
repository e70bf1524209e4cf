"""Structs of the official API's `generateContent`, in Google's names; bytes are base64 in JSON.

The same structs encode requests and decode answers. Unknown fields of an answer are ignored, since the API gains new
ones all the time. A value that is not set is left out of a request.

Source: "GenerateContentRequest", "GenerateContentResponse".
"""

from typing import Any, Literal

import msgspec

SKIP_SIGNATURE = "skip_thought_signature_validator"
"""Signature of a call that another model or client has made: the API does not check it. Source: "Thinking"."""


class Blob(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A file within a message."""

    mime_type: str
    data: bytes = b""

    def __repr__(self) -> str:
        """Return a text without the content."""
        return f"Blob(mime_type={self.mime_type!r}, bytes={len(self.data)})"


class FileData(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A file that was uploaded before, or that has a public address."""

    file_uri: str
    mime_type: str = ""


class FunctionCall(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A call of a function by the model."""

    name: str
    args: dict[str, Any] = {}
    id: str = ""


class FunctionResponsePart(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A file in the result of a function."""

    inline_data: Blob


class FunctionResponse(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The result of a function: `response` is a JSON object."""

    name: str
    response: dict[str, Any]
    id: str = ""
    parts: tuple[FunctionResponsePart, ...] = ()


class ExecutableCode(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Code that the model has written and that the API runs."""

    language: str = "PYTHON"
    code: str = ""


class CodeExecutionResult(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the code has printed."""

    outcome: str = ""
    output: str = ""


class MediaResolution(msgspec.Struct, frozen=True):
    """How closely a file is read."""

    level: str


class VideoClipping(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Which part of a video is read."""

    start_offset: str = ""
    end_offset: str = ""
    fps: float | None = None


class SpeechStyle(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who speaks a text, and how."""

    speaker: str = ""
    style: str = ""


class WordInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A word that was heard; the offsets are texts such as `1.4s`."""

    word: str = ""
    start_offset: str = ""
    end_offset: str = ""


class AudioTranscription(msgspec.Struct, frozen=True, rename="camel"):
    """What was said in a part of a recording."""

    text: str = ""
    language_code: str = ""
    words: tuple[WordInfo, ...] = ()


class ContentPart(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """A part of a message: one of its fields has content, the others say something about it."""

    text: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: ExecutableCode | None = None
    code_execution_result: CodeExecutionResult | None = None
    media_resolution: MediaResolution | None = None
    video_metadata: VideoClipping | None = None
    thought: bool = False
    """Whether it belongs to the model's thoughts."""
    thought_signature: str = ""
    """Opaque; the API wants it back on the same part."""
    speech_metadata: SpeechStyle | None = None
    audio_transcription: AudioTranscription | None = None


class Content(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A message: its author is `user` or `model`; the system instruction has none."""

    parts: tuple[ContentPart, ...] = ()
    role: str = ""


class FunctionDeclaration(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A function that the model may call."""

    name: str
    description: str = ""
    parameters_json_schema: dict[str, Any] | None = None


class Tool(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Functions of the client, or one of the API's own tools, which is on if its field is `{}`."""

    function_declarations: tuple[FunctionDeclaration, ...] = ()
    google_search: dict[str, Any] | None = None
    url_context: dict[str, Any] | None = None
    code_execution: dict[str, Any] | None = None


class FunctionCallingConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the model may call functions; names are given in the modes ANY and VALIDATED only."""

    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"]
    allowed_function_names: tuple[str, ...] = ()


class ToolConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the model may use tools."""

    function_calling_config: FunctionCallingConfig | None = None
    include_server_side_tool_invocations: bool = False
    """Must be true if functions and tools of the API are offered together."""


class SafetySetting(msgspec.Struct, frozen=True, rename="camel"):
    """From which probability on a category of harm is blocked."""

    category: str
    threshold: str


class ThinkingConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """How much the model thinks: a level since Gemini 3, a budget of tokens before; never both."""

    include_thoughts: bool = False
    thinking_level: str = ""
    thinking_budget: int | None = None


class ImageConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The form of a picture; no other fields exist in this API. Source: "Images"."""

    aspect_ratio: str = ""
    image_size: str = ""


class PrebuiltVoiceConfig(msgspec.Struct, frozen=True, rename="camel"):
    """A voice of the API."""

    voice_name: str


class VoiceConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A voice of the API, or another one by its id."""

    prebuilt_voice_config: PrebuiltVoiceConfig | None = None
    voice: str = ""


class SpeakerVoiceConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The voice of a speaker."""

    speaker: str
    voice_config: VoiceConfig


class MultiSpeakerVoiceConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The voices of a dialogue."""

    speaker_voice_configs: tuple[SpeakerVoiceConfig, ...]


class SpeechConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How a text is spoken: by one voice or by several."""

    voice_config: VoiceConfig | None = None
    multi_speaker_voice_config: MultiSpeakerVoiceConfig | None = None
    language_code: str = ""


class AudioTranscriptionConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How speech is written down."""

    language_codes: tuple[str, ...] = ()
    custom_vocabulary: tuple[str, ...] = ()
    word_timestamp: bool = False


class GenerationConfig(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """Options of an answer."""

    stop_sequences: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_mime_type: str = ""
    response_json_schema: dict[str, Any] | bool | None = None
    response_modalities: tuple[str, ...] = ()
    thinking_config: ThinkingConfig | None = None
    image_config: ImageConfig | None = None
    speech_config: SpeechConfig | None = None
    audio_transcription_config: AudioTranscriptionConfig | None = None
    media_resolution: str = ""
    response_logprobs: bool = False
    logprobs: int | None = None


class GenerateContentRequest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The body of `:generateContent` and `:streamGenerateContent`."""

    contents: tuple[Content, ...]
    system_instruction: Content | None = None
    tools: tuple[Tool, ...] = ()
    tool_config: ToolConfig | None = None
    safety_settings: tuple[SafetySetting, ...] = ()
    generation_config: GenerationConfig | None = None
    cached_content: str = ""
    labels: dict[str, str] = {}
    """By which Google Cloud divides the bill."""


class CachedContent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The beginning of requests to a model that the API keeps. Source: "Context caching"."""

    name: str = ""
    model: str = ""
    contents: tuple[Content, ...] = ()
    system_instruction: Content | None = None
    tools: tuple[Tool, ...] = ()
    tool_config: ToolConfig | None = None
    ttl: str = ""
    """How long it is kept, as in `300s`."""


class Segment(msgspec.Struct, frozen=True, rename="camel"):
    """A section of the answer; the indexes count bytes of UTF-8."""

    start_index: int = 0
    end_index: int = 0
    text: str = ""


class GroundingSource(msgspec.Struct, frozen=True, rename="camel"):
    """A page on the web, a place, or a document."""

    uri: str = ""
    title: str = ""


class GroundingChunk(msgspec.Struct, frozen=True, rename="camel"):
    """A source of the answer, of one of three kinds."""

    web: GroundingSource | None = None
    maps: GroundingSource | None = None
    retrieved_context: GroundingSource | None = None

    @property
    def source(self) -> GroundingSource | None:
        """The source, of any kind."""
        return self.web or self.maps or self.retrieved_context


class GroundingSupport(msgspec.Struct, frozen=True, rename="camel"):
    """A section of the answer, and the indexes of its sources."""

    segment: Segment = Segment()
    grounding_chunk_indices: tuple[int, ...] = ()


class SearchEntryPoint(msgspec.Struct, frozen=True, rename="camel"):
    """HTML with which a search can be repeated."""

    rendered_content: str = ""


class GroundingMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """The sources of an answer, and the searches that found them."""

    web_search_queries: tuple[str, ...] = ()
    search_entry_point: SearchEntryPoint = SearchEntryPoint()
    grounding_chunks: tuple[GroundingChunk, ...] = ()
    grounding_supports: tuple[GroundingSupport, ...] = ()


class OpenedAddress(msgspec.Struct, frozen=True, rename="camel"):
    """An address that the API has opened."""

    retrieved_url: str = ""
    url_retrieval_status: str = ""


class UrlContextMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """The addresses that the API has opened."""

    url_metadata: tuple[OpenedAddress, ...] = ()


class LogprobsCandidate(msgspec.Struct, frozen=True, rename="camel"):
    """A token, and the logarithm of its probability."""

    token: str = ""
    token_id: int = 0
    log_probability: float = 0.0


class TopCandidates(msgspec.Struct, frozen=True):
    """The most probable tokens of one place."""

    candidates: tuple[LogprobsCandidate, ...] = ()


class LogprobsResult(msgspec.Struct, frozen=True, rename="camel"):
    """The tokens of an answer, or of a chunk."""

    chosen_candidates: tuple[LogprobsCandidate, ...] = ()
    top_candidates: tuple[TopCandidates, ...] = ()


class Candidate(msgspec.Struct, frozen=True, rename="camel"):
    """An answer; it may have no content."""

    content: Content | None = None
    finish_reason: str = ""
    finish_message: str = ""
    grounding_metadata: GroundingMetadata | None = None
    url_context_metadata: UrlContextMetadata | None = None
    logprobs_result: LogprobsResult | None = None


class PromptFeedback(msgspec.Struct, frozen=True, rename="camel"):
    """Why the API refused the prompt."""

    block_reason: str = ""


class ModalityTokens(msgspec.Struct, frozen=True, rename="camel"):
    """The tokens of one modality: `TEXT`, `IMAGE`, `AUDIO`, `VIDEO` or `DOCUMENT`."""

    modality: str = ""
    token_count: int = 0


class UsageMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """Counts of tokens; those of a stream grow from chunk to chunk."""

    prompt_token_count: int = 0
    """With the cached ones."""
    cached_content_token_count: int = 0
    candidates_token_count: int = 0
    """Without thoughts."""
    thoughts_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    prompt_tokens_details: tuple[ModalityTokens, ...] = ()
    candidates_tokens_details: tuple[ModalityTokens, ...] = ()


class RpcDetail(msgspec.Struct, frozen=True, rename="camel"):
    """A detail of an error: of the many types, the fields that decide something here. Source: "Errors"."""

    type_url: str = msgspec.field(default="", name="@type")
    reason: str = ""
    """Of an ErrorInfo."""
    retry_delay: str = ""
    """Of a RetryInfo: seconds, as in `26s`."""
    violations: tuple[dict[str, Any], ...] = ()
    """Of a QuotaFailure."""


_HTTP_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""As google/rpc/code.proto maps them; the others are 500."""


class RpcStatus(msgspec.Struct, frozen=True):
    """An error of the API."""

    code: int | str = 0
    """A number; a word in errors of interactions."""
    message: str = ""
    status: str = ""
    details: tuple[RpcDetail, ...] = ()

    @property
    def number(self) -> int:
        """The HTTP status: the code, or that of the status if the code is none."""
        if isinstance(self.code, int) and 400 <= self.code < 600:
            return self.code
        return _HTTP_STATUSES.get(self.status, 500)


class GenerateContentResponse(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """An answer, or a chunk of a streamed one."""

    candidates: tuple[Candidate, ...] = ()
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str = ""
    response_id: str = ""
    error: RpcStatus | None = None
    """An error that came after the answer had begun."""


class RpcBody(msgspec.Struct, frozen=True):
    """The body of an error; other answers have none."""

    error: RpcStatus | None = None


encode_request = msgspec.json.Encoder().encode
decode_response = msgspec.json.Decoder(GenerateContentResponse, strict=False).decode
decode_error = msgspec.json.Decoder(RpcBody | tuple[RpcBody, ...], strict=False).decode
