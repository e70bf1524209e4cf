"""The simulated model of the API: reads a request as a model does, and returns the parts of its answer. No I/O.

The tags of docs/simulator.md count here as they do at the simulated site.

Source: "GenerateContentResponse".
"""

from typing import Any

import msgspec

from transports.simulator import prompt_tags
from transports.simulator.api import request_schema as schema
from transports.simulator.api.api_models import SimulatedModel
from transports.simulator.api.simulated_speech import tone, transcription_of, words_said
from transports.simulator.images import DrawnPicture
from transports.simulator.prompt_directives import PromptDocument, PromptScript, parse
from transports.simulator.schema_samples import sample

_REPAIR = "Your last answer cannot be used"
_DOCUMENT = '<document title="'
"""Instructions with this mark ask for a document between marks."""
_BOOK = '<book title="'
_PAGE = "\n\n---\n\n"
"""Instructions with this mark ask for a storybook; a break of pages in a text that a prompt orders."""
_BYTES_PER_TOKEN = 4
_TOKENS_PER_FILE = 258
_CODE = ("print(6 * 7)", "42\n")


class ModelPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the answer."""

    text: str = ""
    thought: bool = False
    call: tuple[str, dict[str, Any]] | None = None
    code: tuple[str, str] | None = None
    """Code that the model has run, and what it has printed."""
    picture: DrawnPicture | None = None
    sound: bytes = b""
    """What is spoken, as samples of 16 bits."""
    heard: dict[str, Any] | None = None
    """A transcript with the times of its words."""
    signed: bool = False
    """Whether the API signs it."""


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer."""

    parts: tuple[ModelPart, ...] = ()
    finish_reason: str = "STOP"
    finish_message: str = ""
    block_reason: str = ""
    sources: int = 0
    """Number of sources, one for each of as many sentences of the text."""
    addresses: int = 0
    """Number of addresses that were read."""
    hides_thoughts: bool = True
    """Whether the thoughts are counted only."""
    cached_tokens: int = 0
    """Tokens of the request that the API had already."""
    script: PromptScript

    @property
    def text(self) -> str:
        """The text without thoughts."""
        return "".join(part.text for part in self.parts if not part.thought)

    @property
    def thoughts(self) -> str:
        """The thoughts."""
        return "".join(part.text for part in self.parts if part.thought)


def answer(request: schema.Request, model: SimulatedModel) -> ModelAnswer:
    """Return the answer to a checked request."""
    return _Answering(request, model).answer()


class _Answering:
    def __init__(self, request: schema.Request, model: SimulatedModel) -> None:
        self._request, self._model = request, model
        users = [message for message in request.contents if message.role != "model" and texts(message)]
        self._repairs = bool(users) and texts(users[-1]).lstrip().startswith(_REPAIR)
        if self._repairs:
            users.pop()
        self._asked = users[-1] if users else schema.SentMessage()
        self._said = texts(self._asked)
        last = request.contents[-1]
        self._results = [part.function_response for part in last.parts if part.function_response is not None]
        self._functions = {one.name: one for tool in request.tools for one in tool.function_declarations}
        config = (request.tool_config or schema.ToolOptions()).function_calling_config or schema.Calling()
        self._mode = config.mode
        allowed = config.allowed_function_names
        self._callable = [name for name in self._functions if not allowed or name in allowed]

    def answer(self) -> ModelAnswer:
        script = script_of(self._said)
        if script.refuse == "safety":
            return ModelAnswer(finish_reason="IMAGE_SAFETY" if self.draws else "SAFETY", script=script)
        if script.refuse == "prompt":
            return ModelAnswer(block_reason="PROHIBITED_CONTENT", script=script)
        thinking = self._request.generation_config.thinking_config
        hides = thinking is None or not thinking.include_thoughts
        return msgspec.structs.replace(self.answer_to(script), script=script, hides_thoughts=hides)

    @property
    def draws(self) -> bool:
        return self._model.kind == "image" and self._request.generation_config.response_modalities != ["TEXT"]

    def answer_to(self, script: PromptScript) -> ModelAnswer:
        if self._model.kind in {"speech", "transcript"}:
            return ModelAnswer(parts=self.in_sound(script), script=script)
        calls = self.in_calls()
        if calls is not None:
            return msgspec.structs.replace(calls, parts=self.in_thoughts(script) + calls.parts)
        if self.draws and script.refuse == "image":
            parts = (ModelPart(text=script.text),) if script.given and script.text else ()
            return ModelAnswer(parts=parts, finish_reason="STOP" if parts else "NO_IMAGE", script=script)
        if self.draws:
            return ModelAnswer(parts=self.in_pictures(script), script=script)
        code = (ModelPart(code=_CODE),) if script.analysis else ()
        parts = (*self.in_thoughts(script), *code, ModelPart(text=self.in_words(script), signed=True))
        sources = script.citations or script.sources or 0
        return ModelAnswer(parts=parts, sources=sources, addresses=script.addresses or 0, script=script)

    def in_sound(self, script: PromptScript) -> tuple[ModelPart, ...]:
        options = self._request.generation_config
        if self._model.kind == "speech":
            said = script.text if script.given else self._said
            return (ModelPart(sound=tone(said, options.speech_config or schema.SpeechOptions())),)
        told = script_of(words_said(self._request))
        text = told.text if told.given else words_said(self._request)
        heard = options.audio_transcription_config
        return (ModelPart(text=text, heard=transcription_of(text, heard) if heard is not None else None),)

    def in_thoughts(self, script: PromptScript) -> tuple[ModelPart, ...]:
        config = self._request.generation_config.thinking_config
        if not script.thoughts or not self._model.thinks or (config is not None and config.thinking_budget == 0):
            return ()
        return (ModelPart(text=script.thoughts, thought=True),)

    def in_calls(self) -> ModelAnswer | None:
        """Return an answer that calls functions; None: it calls none."""
        if not self._callable or self._mode == "NONE" or self._results:
            return None
        wanted = prompt_tags.CALL.findall(self._said)
        if not wanted and self._mode == "ANY":
            name = self._callable[0]
            wanted = [(name, _shown(sample(self.schema_of(name))))]
        if not wanted:
            return None
        unknown = [name for name, _ in wanted if name not in self._callable]
        script = PromptScript(text="")
        if unknown:
            words = f"There is no tool with the name {unknown[0]}, so this (simulated) model cannot call it."
            return ModelAnswer(parts=(ModelPart(text=words),), script=script)
        if prompt_tags.MALFORMED in self._said and not self._repairs:
            message = f"Malformed function call: call:{wanted[0][0]}{{oops"
            return ModelAnswer(finish_reason="MALFORMED_FUNCTION_CALL", finish_message=message, script=script)
        prose = (ModelPart(text="I will call a tool now.\n\n"),) if prompt_tags.PROSE in self._said else ()
        parts = tuple(
            ModelPart(call=(name, _object(arguments)), signed=not number)
            for number, (name, arguments) in enumerate(wanted)
        )
        return ModelAnswer(parts=prose + parts, script=script)

    def schema_of(self, name: str) -> Any:
        function = self._functions[name]
        if function.parameters is not None:
            return _json_schema(function.parameters)
        return function.parameters_json_schema or {}

    def in_composition(self, script: PromptScript) -> str:
        """Return a document or a storybook between the marks of the instructions; empty: they ask for neither."""
        told = texts(self._request.system_instruction) if self._request.system_instruction is not None else ""
        if _DOCUMENT in told:
            made = script.document or PromptDocument(title="Simulated document", lang="html", body="<p>Simulated</p>")
            words = script.text if script.given and script.text else "Here is a (simulated) document."
            return f'{words}\n\n{_DOCUMENT}{made.title}">\n```{made.lang}\n{made.body}\n```\n</document>'
        if _BOOK not in told:
            return ""
        pages = script.text.split(_PAGE) if script.given else ["Page 1 of the (simulated) story.", "The end."]
        drawn = "\n\n".join(f"{page}\n<picture>A picture of: {page}</picture>" for page in pages)
        return f'Here is your (simulated) storybook.\n\n{_BOOK}A simulated story">\n{drawn}\n</book>'

    def in_words(self, script: PromptScript) -> str:
        composed = self.in_composition(script)
        if composed:
            return composed
        if self._said.lstrip().startswith("<echo>"):
            return script.text
        match self._request.generation_config.response_mime_type:
            case "application/json":
                return self.in_json()
            case "text/x.enum":
                return self.in_json().strip('"')
            case _:
                pass
        if self._results:
            return "The results are:\n\n" + "\n\n".join(result_text(one.response) for one in self._results)
        files = "\n".join(file_lines(self._asked))
        return f"{script.text}\n\nFiles seen:\n{files}" if files and not script.given else script.text

    def in_json(self) -> str:
        options = self._request.generation_config
        told = prompt_tags.JSON.findall(self._said)
        schema_ = options.response_json_schema
        if schema_ is None and options.response_schema is not None:
            schema_ = _json_schema(options.response_schema)
        value = told[-1].strip() if told else _shown(sample(schema_) if schema_ else {"answer": "simulated"})
        if prompt_tags.BAD_JSON in self._said and not self._repairs:
            return value[:-1].rstrip().rstrip(",") + ', "broken'
        return value

    def in_pictures(self, script: PromptScript) -> tuple[ModelPart, ...]:
        options = self._request.generation_config
        aspect = options.image_config.aspect_ratio if options.image_config is not None else None
        width, height = map(int, (aspect or "1:1").split(":"))
        source = next((part.inline_data.data for part in self._asked.parts if part.inline_data is not None), None)
        words = script.description or script.text
        drawn = tuple(
            ModelPart(
                picture=DrawnPicture(prompt=words, number=number, aspect=width / height, source=source),
                signed=number == 1,
            )
            for number in range(1, (script.images or 1) + 1)
        )
        if self._model.thinks:
            draft = DrawnPicture(prompt=f"draft: {words}", number=0, aspect=width / height)
            drawn = (ModelPart(text="I sketch it first.", thought=True), ModelPart(picture=draft, thought=True), *drawn)
        if "TEXT" not in (options.response_modalities or ["TEXT"]):
            return drawn
        text = script.text if script.given else "Here is what you asked for, as simulated."
        return (ModelPart(text=text), *drawn)


def script_of(said: str) -> PromptScript:
    """Return what the tags of a text order."""
    try:
        return parse(said)
    except ValueError as error:
        return PromptScript(text=f"The simulator cannot read the prompt: {error}")


def texts(message: schema.SentMessage) -> str:
    """Return the texts of a message, without thoughts, joined by line breaks."""
    return "\n".join(part.text for part in message.parts if part.text and not part.thought)


def count_tokens(text: str) -> int:
    """Return the tokens of a text, as the simulated API counts them."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // _BYTES_PER_TOKEN)


def prompt_tokens(messages: list[schema.SentMessage]) -> int:
    """Return the tokens of messages: 258 for each file."""
    parts = [part for message in messages for part in message.parts]
    files = sum(part.inline_data is not None or part.file_data is not None for part in parts)
    words = sum(count_tokens(part.text or "") for part in parts)
    calls = sum(count_tokens(one.name + _shown(one.args)) for part in parts if (one := part.function_call))
    results = sum(count_tokens(one.name + _shown(one.response)) for part in parts if (one := part.function_response))
    return words + calls + results + _TOKENS_PER_FILE * files


def image_tokens(messages: list[schema.SentMessage]) -> int:
    """Return the tokens of the images of messages, which `prompt_tokens` includes."""
    files = (part.inline_data or part.file_data for message in messages for part in message.parts)
    return _TOKENS_PER_FILE * sum(file is not None and (file.mime_type or "").startswith("image/") for file in files)


def file_lines(message: schema.SentMessage) -> list[str]:
    """Return a line for each file of a message."""
    found: list[str] = []
    for part in message.parts:
        if part.inline_data is not None:
            found.append(f"- {part.inline_data.mime_type}, {len(part.inline_data.data)} bytes")
        elif part.file_data is not None:
            found.append(f"- {part.file_data.mime_type}, by its address")
    return found


def result_text(response: dict[str, Any]) -> str:
    """Return a result as text: the text that the common wrappers hold, or the object as compact JSON."""
    if len(response) == 1:
        value = next(iter(response.values()))
        if response.keys() <= {"result", "output", "error"} and isinstance(value, str):
            return value
    return _shown(response)


def _json_schema(one: schema.ApiSchema) -> dict[str, Any]:
    """Return a schema of the API as JSON Schema, as far as a sample needs it."""
    found: dict[str, Any] = {}
    if one.type != "TYPE_UNSPECIFIED":
        found["type"] = one.type.lower()
    if one.enum:
        found["enum"] = one.enum
    if one.items is not None:
        found["items"] = _json_schema(one.items)
    if one.properties:
        found["properties"] = {name: _json_schema(value) for name, value in one.properties.items()}
    if one.required:
        found["required"] = one.required
    if one.any_of:
        found["anyOf"] = [_json_schema(value) for value in one.any_of]
    if one.minimum is not None:
        found["minimum"] = one.minimum
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text.strip() or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()
