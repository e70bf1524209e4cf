"""Structs of requests to the simulated API: other fields are refused, as the API does.

They are written from the protocol page and share nothing with the gateway's own structs.

Source: "GenerateContentRequest".
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MessageRole = Literal["user", "model"]
Mode = Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"]
Modality = Literal["TEXT", "IMAGE", "AUDIO", "VIDEO"]
Level = Literal["", "THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"]
Resolution = Literal[
    "", "MEDIA_RESOLUTION_UNSPECIFIED", "MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH"
]
PartResolution = Literal[Resolution, "MEDIA_RESOLUTION_ULTRA_HIGH"]
Processing = Literal["MEDIA_PROCESSING_UNSPECIFIED", "STATIC", "AGENTIC"]
BuiltInTool = Literal[
    "TOOL_TYPE_UNSPECIFIED", "GOOGLE_SEARCH_WEB", "GOOGLE_SEARCH_IMAGE", "URL_CONTEXT", "GOOGLE_MAPS", "FILE_SEARCH",
    "MEDIA_PROCESSING",
]  # fmt: skip
Category = Literal[
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
]
Threshold = Literal[
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
    "BLOCK_LOW_AND_ABOVE",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_NONE",
    "OFF",
]
Aspect = Literal[
    "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8", "8:1",
]  # fmt: skip
Duration = Annotated[str, Meta(pattern=r"\A-?\d{1,12}(\.\d{1,9})?s\Z")]
Timestamp = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z")]
LongInt = int | Annotated[str, Meta(pattern=r"\A-?\d{1,19}\Z")]
"""An integer of 64 bits, which JSON may have as a text."""
JsonType = Literal["TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"]
FREE_FORM = frozenset(
    {"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels", "example", "default", "partMetadata"}
)
"""Fields whose objects have names of the client's own."""
SCHEMA_OF_RESULT = ("functionDeclarations", "response")
"""The one place where a name of `FREE_FORM` has a schema."""
BASE64 = frozenset({"data", "thoughtSignature", "voiceSampleAudio", "consentAudio"})
"""Fields with bytes: in either alphabet of base64, with or without padding."""
NAMED = frozenset({"properties"})
"""Fields whose objects have names of the client's own, and structs as values."""


class Strict(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A message of the API; unknown fields are refused."""


class SentFile(Strict, frozen=True):
    """A file within the request."""

    mime_type: str = ""
    data: bytes = b""
    display_name: str = ""


class FileReference(Strict, frozen=True):
    """A file by its address."""

    file_uri: str
    mime_type: str = ""
    display_name: str = ""


class Called(Strict, frozen=True):
    """A call of a function."""

    name: str
    args: dict[str, Any] = {}
    id: str = ""


class VideoClip(Strict, frozen=True):
    """Which part of a video is meant."""

    start_offset: Duration | None = None
    end_offset: Duration | None = None
    fps: float = 1.0
    content_layers: list[Literal["CONTENT_LAYER_UNSPECIFIED", "AUDIO", "FRAMES", "TRANSCRIPT"]] = []


class SoundClip(Strict, frozen=True):
    """Which part of a sound is meant."""

    start_offset: Duration | None = None
    end_offset: Duration | None = None


class DocumentPages(Strict, frozen=True):
    """Which pages of a document are meant."""

    start_page: int = 0
    end_page: int = 0
    content_layers: list[Literal["CONTENT_LAYER_UNSPECIFIED", "PAGE_IMAGE", "PAGE_TEXT"]] = []


class SheetCells(Strict, frozen=True):
    """Which cells of a spreadsheet are meant."""

    visible_cells: str = ""
    sheet_index: int = 0
    content_layers: list[Literal["CONTENT_LAYER_UNSPECIFIED", "DATA", "FORMULAS", "VISUAL"]] = []


class PartDetail(Strict, frozen=True):
    """In which detail a file is read."""

    level: PartResolution = ""
    num_tokens: int = 0


class FileOptions(Strict, frozen=True):
    """How a file is read."""

    media_processing: Processing = "MEDIA_PROCESSING_UNSPECIFIED"
    media_resolution: PartDetail | None = None
    video_metadata: VideoClip | None = None
    audio_metadata: SoundClip | None = None
    document_metadata: DocumentPages | None = None
    spreadsheet_metadata: SheetCells | None = None


class ResultFile(FileOptions, frozen=True):
    """A file in a result."""

    inline_data: SentFile | None = None
    file_data: FileReference | None = None


class Result(Strict, frozen=True):
    """The result of a function."""

    name: str
    response: dict[str, Any]
    id: str = ""
    parts: list[ResultFile] = []
    will_continue: bool = False
    scheduling: Literal["SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT"] = "SCHEDULING_UNSPECIFIED"


class RanCode(Strict, frozen=True):
    """RanCode that the model has run."""

    language: Literal["LANGUAGE_UNSPECIFIED", "PYTHON"] = "PYTHON"
    code: str = ""
    id: str = ""


class CodeOutput(Strict, frozen=True):
    """What the code has printed."""

    outcome: Literal["OUTCOME_UNSPECIFIED", "OUTCOME_OK", "OUTCOME_FAILED", "OUTCOME_DEADLINE_EXCEEDED"]
    output: str = ""
    id: str = ""


class BuiltInCall(Strict, frozen=True):
    """A call of one of the API's tools."""

    id: str = ""
    tool_type: BuiltInTool = "TOOL_TYPE_UNSPECIFIED"
    args: dict[str, Any] = {}


class BuiltInResult(Strict, frozen=True):
    """The result of one of the API's tools."""

    id: str = ""
    tool_type: BuiltInTool = "TOOL_TYPE_UNSPECIFIED"
    response: dict[str, Any] = {}


class SpokenText(Strict, frozen=True):
    """Who speaks a text, and how."""

    speaker: str = ""
    style: str = ""


class TimedWord(Strict, frozen=True):
    """A word in a transcript."""

    word: str = ""
    start_offset: Duration | None = None
    end_offset: Duration | None = None


class SpokenTranscript(SoundClip, frozen=True):
    """Who says a text, and when."""

    text: str = ""
    finished: bool = False
    language_code: str = ""
    speaker_label: str = ""
    words: list[TimedWord] = []


class SentPart(FileOptions, frozen=True):
    """A part of a message; exactly one of the first fields is set."""

    text: str | None = None
    inline_data: SentFile | None = None
    file_data: FileReference | None = None
    function_call: Called | None = None
    function_response: Result | None = None
    executable_code: RanCode | None = None
    code_execution_result: CodeOutput | None = None
    tool_call: BuiltInCall | None = None
    tool_response: BuiltInResult | None = None
    thought: bool = False
    thought_signature: bytes = b""
    part_metadata: dict[str, Any] | None = None
    audio_transcription: SpokenTranscript | None = None
    speech_metadata: SpokenText | None = None


class SentMessage(Strict, frozen=True):
    """A message of the conversation."""

    parts: list[SentPart] = []
    role: MessageRole | Literal[""] = ""


class ApiSchema(Strict, frozen=True):
    """A schema in the API's own form."""

    type: JsonType = "TYPE_UNSPECIFIED"
    format: str = ""
    title: str = ""
    description: str = ""
    nullable: bool = False
    enum: list[str] = []
    items: "ApiSchema | None" = None
    min_items: LongInt = 0
    max_items: LongInt = 0
    properties: "dict[str, ApiSchema]" = {}
    required: list[str] = []
    min_properties: LongInt = 0
    max_properties: LongInt = 0
    minimum: float | None = None
    maximum: float | None = None
    min_length: LongInt = 0
    max_length: LongInt = 0
    pattern: str = ""
    example: Any = None
    any_of: "list[ApiSchema]" = []
    property_ordering: list[str] = []
    default: Any = None


class SentFunction(Strict, frozen=True):
    """A function that is offered."""

    name: Annotated[str, Meta(pattern=r"\A[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}\Z")]
    description: str = ""
    parameters: ApiSchema | None = None
    parameters_json_schema: Any = None
    response: ApiSchema | None = None
    response_json_schema: Any = None
    behavior: Literal["UNSPECIFIED", "BLOCKING", "NON_BLOCKING"] = "UNSPECIFIED"


class TimeRange(Strict, frozen=True):
    """The time that search results are of."""

    start_time: Timestamp | None = None
    end_time: Timestamp | None = None


class SearchTool(Strict, frozen=True):
    """The API's search."""

    time_range_filter: TimeRange | None = None
    search_types: dict[str, Any] | None = None


class Empty(Strict, frozen=True):
    """A tool without options."""


class FileSearchTool(Strict, frozen=True):
    """The search in files."""

    file_search_store_names: list[str]
    top_k: int = 0
    metadata_filter: str = ""


class SentTool(Strict, frozen=True):
    """Functions, or one of the API's tools."""

    function_declarations: list[SentFunction] = []
    google_search: SearchTool | None = None
    google_search_retrieval: dict[str, Any] | None = None
    url_context: Empty | None = None
    code_execution: Empty | None = None
    file_search: FileSearchTool | None = None
    google_maps: dict[str, Any] | None = None
    computer_use: dict[str, Any] | None = None
    mcp_servers: list[dict[str, Any]] | None = None


class Calling(Strict, frozen=True):
    """How functions may be called."""

    mode: Mode = "MODE_UNSPECIFIED"
    allowed_function_names: list[str] = []


class ToolOptions(Strict, frozen=True):
    """How tools may be used."""

    function_calling_config: Calling | None = None
    retrieval_config: dict[str, Any] | None = None
    include_server_side_tool_invocations: bool = False


class Safety(Strict, frozen=True):
    """A safety setting."""

    category: Category
    threshold: Threshold


class SentThinking(Strict, frozen=True):
    """How the model thinks."""

    include_thoughts: bool = False
    thinking_level: Level = ""
    thinking_budget: int | None = None


class PictureOptions(Strict, frozen=True):
    """The form of pictures."""

    aspect_ratio: Aspect | None = None
    image_size: Literal["512", "1K", "2K", "4K"] | None = None


class PrebuiltVoice(Strict, frozen=True):
    """A voice of the API."""

    voice_name: str = ""


class ConsentSignature(Strict, frozen=True):
    """What proves that a speaker has consented."""

    signature: str = ""


class ReplicatedVoice(Strict, frozen=True):
    """A voice like that of a sample."""

    mime_type: str = ""
    voice_sample_audio: bytes = b""
    consent_audio: bytes = b""
    voice_consent_signature: ConsentSignature | None = None


class Voice(Strict, frozen=True):
    """A voice."""

    replicated_voice_config: ReplicatedVoice | None = None

    prebuilt_voice_config: PrebuiltVoice | None = None
    voice: str = ""


class Speaker(Strict, frozen=True):
    """A speaker of a dialogue."""

    speaker: str
    voice_config: Voice


class Speakers(Strict, frozen=True):
    """The speakers of a dialogue."""

    speaker_voice_configs: list[Speaker]


class SpeechOptions(Strict, frozen=True):
    """How a text is spoken."""

    voice_config: Voice | None = None
    multi_speaker_voice_config: Speakers | None = None
    language_code: str = ""


class LanguageHints(Strict, frozen=True):
    """The languages that are likely to be spoken."""

    language_codes: list[str] = []


class TranscriptOptions(Strict, frozen=True):
    """How speech is written down."""

    language_codes: list[str] = []
    language_auto: Empty | None = None
    language_hints: LanguageHints | None = None
    adaptation_phrases: list[str] = []
    source_text: str = ""
    custom_vocabulary: Annotated[list[str], Meta(max_length=1000)] = []
    word_timestamp: bool = False
    diarization: bool = False
    mode: Literal["", "MODE_UNSPECIFIED", "VERBATIM", "SMART"] = ""


class Options(Strict, frozen=True):
    """Options of the answer."""

    candidate_count: Annotated[int, Meta(ge=1, le=8)] = 1
    stop_sequences: Annotated[list[str], Meta(max_length=5)] = []
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    seed: int | None = None
    response_mime_type: Literal["", "text/plain", "application/json", "text/x.enum"] = ""
    response_schema: ApiSchema | None = None
    response_json_schema: Any = None
    presence_penalty: Annotated[float, Meta(ge=-2, lt=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, lt=2)] | None = None
    response_logprobs: bool = False
    logprobs: int | None = None
    response_modalities: list[Modality] = []
    speech_config: SpeechOptions | None = None
    thinking_config: SentThinking | None = None
    image_config: PictureOptions | None = None
    media_resolution: Resolution = ""
    enable_enhanced_civic_answers: bool = False
    audio_transcription_config: TranscriptOptions | None = None


class Request(Strict, frozen=True):
    """The body of `:generateContent`."""

    contents: list[SentMessage] = []
    system_instruction: SentMessage | None = None
    tools: list[SentTool] = []
    tool_config: ToolOptions | None = None
    safety_settings: list[Safety] = []
    generation_config: Options = Options()
    cached_content: str = ""
    model: str = ""
    service_tier: Literal["", "unspecified", "flex", "standard", "priority"] = ""
    store: bool = True
    labels: dict[str, str] = {}
    continuation_token: str = ""


class CachedRequest(Strict, frozen=True):
    """The body of `POST cachedContents` and of `PATCH cachedContents/{name}`."""

    model: str = ""
    display_name: Annotated[str, Meta(max_length=128)] = ""
    contents: list[SentMessage] = []
    system_instruction: SentMessage | None = None
    tools: list[SentTool] = []
    tool_config: ToolOptions | None = None
    ttl: Duration | None = None
    expire_time: Timestamp | None = None


class CountedRequest(Strict, frozen=True):
    """The body of `:countTokens`: contents, or a whole request."""

    contents: list[SentMessage] = []
    generate_content_request: Request | None = None


class VertexCountedRequest(Strict, frozen=True):
    """The body of `:countTokens` on Vertex AI."""

    contents: list[SentMessage] = []
    system_instruction: SentMessage | None = None
    tools: list[SentTool] = []
    generation_config: Options = Options()
    model: str = ""
