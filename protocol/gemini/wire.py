"""Wire structs of requests, with Google's names; fields that have no effect are left out.

Clients write names in camel case or in snake case, and mix both in one body: `inlineData{mime_type}`. So every name
becomes camel case before a body is converted, but for the objects whose names are the client's own (`_OWN_NAMES`).
Google's older SDK writes the values of enums as numbers; these become names, too.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from protocol.gemini import sound_wire
from protocol.http.lenient import LenientDecoder
from protocol.structured.tool_checks import MOST_TOOLS

_OWN_NAMES = frozenset(
    {
        *("args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"),
        *("_responseJsonSchema", "labels", "partMetadata"),
    }
)
"""Fields whose value has names that Google does not define."""
PART_RESOLUTIONS = frozenset(f"MEDIA_RESOLUTION_{name}" for name in ("LOW", "MEDIUM", "HIGH", "ULTRA_HIGH"))
RESOLUTIONS = tuple(f"MEDIA_RESOLUTION_{name}" for name in ("UNSPECIFIED", "LOW", "MEDIUM", "HIGH"))
_CATEGORIES = (
    *(f"HARM_CATEGORY_{name}" for name in ("UNSPECIFIED", "DEROGATORY", "TOXICITY", "VIOLENCE", "SEXUAL", "MEDICAL")),
    *(f"HARM_CATEGORY_{name}" for name in ("DANGEROUS", "HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT")),
    *(f"HARM_CATEGORY_{name}" for name in ("DANGEROUS_CONTENT", "CIVIC_INTEGRITY")),
)
_THRESHOLDS = (
    *("HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH"),
    *("BLOCK_NONE", "OFF"),
)
TASK_TYPES = (
    *("TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION"),
    *("CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY"),
)
"""What an embedding is for."""
_ENUMS = {
    "mode": ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"),
    "mediaResolution": RESOLUTIONS,
    "category": _CATEGORIES,
    "threshold": _THRESHOLDS,
    "responseModalities": ("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO"),
    "language": ("LANGUAGE_UNSPECIFIED", "PYTHON"),
    "taskType": TASK_TYPES,
}
"""The names of Google's enums, in the order of their numbers, by the fields that have them."""
_SNAKE = re.compile(r"(?<=[a-zA-Z0-9])_([a-z0-9])")
_MOST_STOPS = 16


class Blob(msgspec.Struct, frozen=True, rename="camel"):
    """A file in base64; its type is detected."""

    data: str = ""
    display_name: str | None = None


class FileData(msgspec.Struct, frozen=True, rename="camel"):
    """A file at a URL."""

    file_uri: str = ""
    display_name: str | None = None


class FunctionCall(msgspec.Struct, frozen=True, rename="camel"):
    """A call of a function by the model."""

    name: str
    args: dict[str, Any] | None = None
    id: str | None = None


class ResponsePart(msgspec.Struct, frozen=True, rename="camel"):
    """A file in the result of a function."""

    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(msgspec.Struct, frozen=True, rename="camel"):
    """The result of a function."""

    name: str
    response: Any = None
    id: str | None = None
    parts: list[ResponsePart] = []


class ExecutableCode(msgspec.Struct, frozen=True, rename="camel"):
    """Code that the model ran."""

    code: str = ""
    language: str = ""


class CodeExecutionResult(msgspec.Struct, frozen=True, rename="camel"):
    """The output of the model's code."""

    output: str = ""


class PartResolution(msgspec.Struct, frozen=True):
    """How closely a file is read."""

    level: str = ""


class VideoMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """Which part of a video is read."""

    start_offset: str = ""
    end_offset: str = ""
    fps: float | None = None


class ContentPart(msgspec.Struct, frozen=True, rename="camel"):
    """A part of a message: one of its fields is set."""

    text: str | None = None
    thought: bool | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: ExecutableCode | None = None
    code_execution_result: CodeExecutionResult | None = None
    thought_signature: Any = None
    media_resolution: PartResolution | None = None
    video_metadata: VideoMetadata | None = None
    speech_metadata: sound_wire.SpeechText | None = None


Parts = list[ContentPart | str]


class GeminiContent(msgspec.Struct, frozen=True, rename="camel"):
    """A message of the conversation."""

    parts: Parts = []
    role: str = "user"
    text: str | None = None
    """Some clients send a part in place of a message."""


class FunctionDeclaration(msgspec.Struct, frozen=True, rename="camel"):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | bool | None = None


class ToolEntry(msgspec.Struct, frozen=True, rename="camel"):
    """Functions; or tools of Google's, of which the site has some and others do not exist here.

    A tool of Google's is often an empty object.
    """

    function_declarations: list[FunctionDeclaration] = []
    google_search: Any = msgspec.UNSET
    google_search_retrieval: Any = msgspec.UNSET
    """The older form of `google_search`."""
    url_context: Any = msgspec.UNSET
    code_execution: Any = msgspec.UNSET
    file_search: Any = msgspec.UNSET
    computer_use: Any = msgspec.UNSET
    mcp_servers: Any = msgspec.UNSET
    retrieval: Any = msgspec.UNSET
    enterprise_web_search: Any = msgspec.UNSET
    parallel_ai_search: Any = msgspec.UNSET
    google_maps: Any = msgspec.UNSET


class FunctionCallingConfig(msgspec.Struct, frozen=True, rename="camel"):
    """How the model may use the functions."""

    mode: str = "AUTO"
    allowed_function_names: list[str] = []


class ToolConfig(msgspec.Struct, frozen=True, rename="camel"):
    """How the model may use the tools."""

    function_calling_config: FunctionCallingConfig = FunctionCallingConfig()


class ThinkingConfig(msgspec.Struct, frozen=True, rename="camel"):
    """How the model thinks."""

    include_thoughts: bool | None = None
    thinking_level: str = ""
    thinking_budget: int | None = None


class GenerationConfig(msgspec.Struct, frozen=True, rename="camel"):
    """The options of an answer; the last ones have no effect at the site, which does not have them."""

    stop_sequences: Annotated[list[str], Meta(max_length=_MOST_STOPS)] = []
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    response_mime_type: str = ""
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | bool | None = None
    private_json_schema: dict[str, Any] | bool | None = msgspec.field(default=None, name="_responseJsonSchema")
    """An older name of `responseJsonSchema`, which some clients send."""
    candidate_count: Annotated[int, Meta(ge=1)] | None = None
    thinking_config: ThinkingConfig = ThinkingConfig()
    response_modalities: list[str] = []
    image_config: dict[str, Any] | None = None
    speech_config: sound_wire.SpeechFields | None = None
    audio_transcription_config: sound_wire.TranscriptFields | None = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    seed: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    media_resolution: Any = None
    response_logprobs: Any = None
    logprobs: Any = None


HARM_CATEGORIES = tuple(
    f"HARM_CATEGORY_{name}"
    for name in (
        *("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY", "JAILBREAK"),
        *("IMAGE_HATE", "IMAGE_DANGEROUS_CONTENT", "IMAGE_HARASSMENT", "IMAGE_SEXUALLY_EXPLICIT"),
    )
)
"""The last five only Vertex AI has."""
HARM_THRESHOLDS = (
    *("HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH"),
    *("BLOCK_NONE", "OFF"),
)


class SafetyField(msgspec.Struct, frozen=True):
    """From which probability on a category of harm is blocked."""

    category: Any = None
    threshold: Any = None


class GenerateRequest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The body of `:generateContent`, `:streamGenerateContent` and, in part, `:countTokens`."""

    contents: Annotated[list[GeminiContent | str], Meta(max_length=2000)] = []
    system_instruction: GeminiContent | Parts | str | None = None
    tools: Annotated[list[ToolEntry], Meta(max_length=MOST_TOOLS)] = []
    tool_config: ToolConfig = ToolConfig()
    generation_config: GenerationConfig = GenerationConfig()
    cached_content: str | None = None
    safety_settings: list[SafetyField] = []


class CountRequest(GenerateRequest, frozen=True, rename="camel", kw_only=True):
    """The body of `:countTokens`: the contents, or all of a request."""

    generate_content_request: GenerateRequest | None = None

    @property
    def counted(self) -> GenerateRequest:
        """The request whose tokens are counted."""
        return self.generate_content_request or self


_generate_request, _count_request = LenientDecoder(GenerateRequest), LenientDecoder(CountRequest)


def decode_generate(body: bytes) -> GenerateRequest:
    """Decode the body of a request to generate; raises the errors of `LenientDecoder.decode`."""
    return _generate_request.convert(in_camel_case(msgspec.json.decode(body)))


def decode_count(body: bytes) -> CountRequest:
    """Decode the body of a request to count tokens; raises the errors of `LenientDecoder.decode`."""
    return _count_request.convert(in_camel_case(msgspec.json.decode(body)))


def in_camel_case(value: Any) -> Any:
    """Return decoded JSON with the names of fields in camel case, but for those of the client's own objects.

    Numbers of enums become names.
    """
    if isinstance(value, list):
        return [in_camel_case(one) for one in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields: dict[str, Any] = {}
    for written, one in cast("dict[str, Any]", value).items():
        name = camel(written) if "_" in written else written
        fields[name] = one if name in _OWN_NAMES else in_camel_case(one)
        if name in _ENUMS:
            fields[name] = _named(fields[name], _ENUMS[name])
    return fields


def _named(value: Any, names: Sequence[str]) -> Any:
    """Return the names of an enum's numbers; other values stay as they are."""
    if isinstance(value, list):
        return [_named(one, names) for one in cast("list[Any]", value)]
    return names[value] if value.__class__ is int and 0 <= value < len(names) else value


def camel(name: str) -> str:
    """Return a name in camel case."""
    return _SNAKE.sub(lambda found: found[1].upper(), name)
