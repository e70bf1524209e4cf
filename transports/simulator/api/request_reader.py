"""Reads and checks a request as strictly as the API does.

Source: "GenerateContentRequest", "Thinking".
"""

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import msgspec

from transports.simulator.api import request_schema as schema
from transports.simulator.api.api_models import SimulatedModel
from transports.simulator.api.enum_values import named
from transports.simulator.api.rpc_errors import invalid
from transports.simulator.api.simulated_speech import check_speech, check_transcript

RequestT = TypeVar("RequestT")

_MOST_LOGPROBS = 20
_LITERAL = "skip_thought_signature_validator"
SKIPPED = frozenset({_LITERAL.encode(), base64.urlsafe_b64decode(_LITERAL)})
"""Signatures that are not checked: the literal, written as it is or in base64. Source: "Thinking"."""
_SNAKE = re.compile(r"(?<=[a-zA-Z0-9])_([a-z0-9])")
_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$\.?([^`]*)`)?")
_PLACE = re.compile(r"^(.*?)(?: - at `\$\.?([^`]*)`)?$", re.DOTALL)
_MOST_MESSAGES = 96
"""Messages within each other in a field of free form; the API reads 100 with those around it."""
_CONTENT = (
    "text", "inline_data", "file_data", "function_call", "function_response", "executable_code",
    "code_execution_result", "tool_call", "tool_response",
)  # fmt: skip


def decode(body: bytes, kind: type[RequestT]) -> RequestT:
    """Decode the body of a request.

    Raises:
        ApiRefusal: it is not JSON, or has an unknown field or a wrong value.

    """
    try:
        tree = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from None
    try:
        return msgspec.convert(_in_camel_case(tree), kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(_problem(str(error))) from None


def _problem(text: str) -> str:
    """Return msgspec's words in those of the API."""
    unknown = _UNKNOWN.match(text)
    if unknown:
        where = f" at '{_snake(unknown[2])}'" if unknown[2] else ""
        return f'Invalid JSON payload received. Unknown name "{unknown[1]}"{where}: Cannot find field.'
    found = cast("re.Match[str]", _PLACE.match(text))
    return f"Invalid value at '{_snake(found[2] or '')}': {found[1]}"


def _snake(path: str) -> str:
    return _CAMEL.sub(lambda found: f"_{found[1].lower()}", path)


def _in_camel_case(value: Any, *, names: bool = True, owner: str = "") -> Any:
    """Return decoded JSON with names in camel case, but for the objects whose names are the client's own.

    `owner` is the name of the field that has the value. Values of enums are returned by name.
    """
    if isinstance(value, list):
        return [_in_camel_case(one, owner=owner) for one in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return named(owner, value)
    found: dict[str, Any] = {}
    for written, one in cast("dict[str, Any]", value).items():
        name = _SNAKE.sub(lambda part: part[1].upper(), written) if names else written
        if names and name in schema.FREE_FORM and (owner, name) != schema.SCHEMA_OF_RESULT:
            if _messages(one) > _MOST_MESSAGES:
                words = "Message too deep. Max recursion depth reached for key"
                raise invalid(f"Invalid JSON payload received. {words} '{written}'")
            found[name] = one
        elif names and name in schema.BASE64 and isinstance(one, str):
            found[name] = one.replace("-", "+").replace("_", "/").rstrip("=") + "=" * (-len(one.rstrip("=")) % 4)
        else:
            found[name] = _in_camel_case(one, names=not names or name not in schema.NAMED, owner=name)
    return found


def _messages(value: Any) -> int:
    """Return how many messages lie within each other where a value is a `google.protobuf.Value`."""
    if isinstance(value, dict):
        return 3 + max(map(_messages, cast("dict[str, Any]", value).values()), default=0)
    if isinstance(value, list):
        return 2 + max(map(_messages, cast("list[Any]", value)), default=0)
    return 0


def check_messages(messages: Sequence[schema.SentMessage], owner: str) -> None:
    """Check the roles and the parts of messages; `owner` is the type that has them.

    Raises:
        ApiRefusal: one is wrong.

    """
    for place, message in enumerate(messages):
        at = f"contents[{place}]"
        if not message.role and len(messages) > 1:
            raise invalid("Please use a valid role: user, model.")
        if not message.parts:
            raise invalid(f"* {owner}.{at}.parts: contents.parts must not be empty.")
        for number, part in enumerate(message.parts):
            fields = [name for name in _CONTENT if getattr(part, name) is not None]
            if len(fields) > 1:
                raise invalid(f"Invalid value at '{at}.parts[{number}]' (oneof), oneof field 'data' is already set.")
            if not fields and not part.thought_signature:
                wanted = "required oneof field 'data' must have one initialized field"
                raise invalid(f"* {owner}.{at}.parts[{number}].data: {wanted}")
            inline = part.inline_data
            if inline is not None and (not inline.mime_type or not inline.data):
                raise invalid("Unable to process input file: it has no type or no data.")


class RequestCheck:
    """Checks a decoded request to one model."""

    def __init__(
        self,
        request: schema.Request,
        model: SimulatedModel,
        issued: Callable[[bytes], bool],
    ) -> None:
        """`issued` returns whether a signature is one that this API has issued."""
        self._request, self._model, self._issued = request, model, issued

    def run(self) -> None:
        """Check everything.

        Raises:
            ApiRefusal: the request is refused.

        """
        if not self._request.contents:
            raise invalid("* GenerateContentRequest.contents: contents is not specified")
        check_messages(self._request.contents, "GenerateContentRequest")
        self.check_turns()
        if self._model.since_3:
            self.check_signatures()
        self.check_tools()
        self.check_options()

    def check_turns(self) -> None:
        """Check that the results of calls follow them, as many as there are calls."""
        called, before = 0, "model"
        if [message.role for message in self._request.contents] == ["model"]:
            raise invalid("Please ensure that single turn requests end with a user role or the role field is empty.")
        for message in self._request.contents:
            results = sum(part.function_response is not None for part in message.parts)
            if results != called and (results or called):
                raise invalid(
                    "Please ensure that the number of function response parts is equal to the number of function call "
                    "parts of the function call turn."
                )
            called = sum(part.function_call is not None for part in message.parts)
            if called and message.role != "model":
                raise invalid("Please use a valid role for function calls: model.")
            if called and before == "model":
                raise invalid(
                    "Please ensure that function call turn comes immediately after a user turn or after a function "
                    "response turn."
                )
            before = message.role
        if called:
            raise invalid("Please ensure that function call turn is followed by a function response turn.")

    def check_signatures(self) -> None:
        """Check the first call of each step since the last message of the user's own."""
        for message in self.current_turn():
            calls = [part for part in message.parts if part.function_call is not None]
            for part in calls[:1]:
                name = part.function_call.name if part.function_call is not None else ""
                if not part.thought_signature:
                    missing = "Function call is missing a thought_signature in functionCall parts."
                    raise invalid(f"{missing} This is required for tools to work correctly. Function: {name}")
        for message in self._request.contents:
            for part in message.parts:
                signature = part.thought_signature
                if signature and signature not in SKIPPED and not self._issued(signature):
                    raise invalid("Corrupted thought signature.")

    def current_turn(self) -> Iterator[schema.SentMessage]:
        """Return the messages from the last one that is the own one of the user."""
        start = 0
        for number, message in enumerate(self._request.contents):
            if message.role != "model" and not any(part.function_response for part in message.parts):
                start = number
        return iter(self._request.contents[start:])

    def check_tools(self) -> None:
        """Check the functions."""
        functions = [one for tool in self._request.tools for one in tool.function_declarations]
        names = [one.name for one in functions]
        for name in names:
            if names.count(name) > 1:
                raise invalid(f"Duplicate function declaration found: {name}")
        for one in functions:
            form: Any = one.parameters_json_schema
            if one.parameters is not None and form is not None:
                raise invalid(f"Function {one.name}: only one of parameters and parameters_json_schema can be set.")
            if form is not None:
                check_references(form)
            if form is not None and not isinstance(form, dict):
                raise invalid(f"Function {one.name}: parameters_json_schema must be an object.")
        if any(tool.google_search_retrieval is not None for tool in self._request.tools):
            raise invalid("google_search_retrieval is not supported. Please use google_search tool instead.")
        self.check_calling(names)

    def check_calling(self, names: list[str]) -> None:
        """Check the mode of calling these functions."""
        config = self._request.tool_config or schema.ToolOptions()
        calling = config.function_calling_config or schema.Calling()
        if calling.allowed_function_names and calling.mode not in {"ANY", "VALIDATED"}:
            raise invalid("Allowed function names can be set only when the mode is ANY or VALIDATED.")
        for name in calling.allowed_function_names:
            if name not in names:
                raise invalid(f"Allowed function name {name} is not declared.")
        if calling.mode in {"ANY", "VALIDATED"} and not names:
            raise invalid("Function calling mode is set, but no function is declared.")
        built_in = any(tool.google_search or tool.url_context or tool.code_execution for tool in self._request.tools)
        if built_in and names and not config.include_server_side_tool_invocations:
            raise invalid("Tool use with function calling needs include_server_side_tool_invocations.")

    def check_options(self) -> None:
        """Check the options of the answer."""
        options, model = self._request.generation_config, self._model
        if options.response_schema is not None and options.response_json_schema is not None:
            raise invalid("Only one of response_schema and response_json_schema can be set.")
        formed = options.response_schema is not None or options.response_json_schema is not None
        if formed and options.response_mime_type not in {"application/json", "text/x.enum"}:
            raise invalid("Response schema needs response_mime_type application/json.")
        check_references(options.response_json_schema)
        functions = any(tool.function_declarations for tool in self._request.tools)
        if options.response_mime_type == "application/json" and functions and not model.since_3:
            raise invalid("Function calling with a response mime type: 'application/json' is unsupported")
        self.check_modalities()
        self.check_logprobs()
        if options.thinking_config is not None:
            self.check_thinking(options.thinking_config)

    def check_logprobs(self) -> None:
        """Check whether the model tells how probable tokens are, and of how many."""
        options, model = self._request.generation_config, self._model
        if options.logprobs is not None and not options.response_logprobs:
            raise invalid("Logprobs is only allowed when response_logprobs is true.")
        if options.response_logprobs and (model.kind != "text" or model.pro):
            raise invalid(f"Logprobs is not enabled for models/{model.id}")
        if options.logprobs is not None and not 1 <= options.logprobs <= _MOST_LOGPROBS:
            raise invalid(f"Logprobs must be in the range [1, {_MOST_LOGPROBS}].")

    def check_modalities(self) -> None:
        """Check that the model makes what is asked for."""
        options, model = self._request.generation_config, self._model
        if "IMAGE" in options.response_modalities and model.kind != "image":
            raise invalid("Model does not support the requested response modalities: image")
        if "AUDIO" in options.response_modalities and model.kind != "speech":
            raise invalid("Model does not support the requested response modalities: audio")
        if model.kind == "speech":
            check_speech(self._request, model.id)
        elif model.kind == "transcript":
            check_transcript(self._request, model.id)
        if options.image_config is not None and model.kind != "image":
            raise invalid("Image config is not supported by this model.")

    def check_thinking(self, thinking: schema.SentThinking) -> None:
        """Check how the model is to think."""
        level, budget = thinking.thinking_level, thinking.thinking_budget
        if level and budget is not None:
            raise invalid("You can only set only one of thinking budget and thinking level.")
        if not self._model.thinks:
            raise invalid("Thinking is not enabled for this model.")
        if level and not self._model.since_3:
            raise invalid("Thinking level is not supported for this model.")
        if level == "MINIMAL" and self._model.pro:
            raise invalid("Thinking level MINIMAL is not supported for this model.")
        if budget == 0 and self._model.pro:
            raise invalid("Budget 0 is invalid. This model only works in thinking mode.")


def check_references(schema_: Any) -> None:
    """Check the references of a JSON Schema: each leads to a definition, with few keywords next to it.

    Raises:
        ApiRefusal: a reference is refused.

    """
    root: Any = cast("dict[str, Any]", schema_) if isinstance(schema_, dict) else {}
    defined = root.get("$defs", {})
    nodes: list[tuple[Any, str]] = [(schema_, "")]
    for node, at in nodes:
        if isinstance(node, list):
            nodes += [(one, f"{at}.{number}") for number, one in enumerate(cast("list[Any]", node))]
        if not isinstance(node, dict):
            continue
        fields = cast("dict[str, Any]", node)
        nodes += [(one, f"{at}.{name}") for name, one in fields.items() if name not in {"default", "enum", "example"}]
        reference = fields.get("$ref")
        if not isinstance(reference, str):
            continue
        if reference.removeprefix("#/$defs/") not in defined:
            raise invalid(f"reference to undefined schema at {at.strip('.')}")
        if any(name not in {"description", "default"} and not name.startswith("$") for name in fields):
            raise invalid(f"Schema.ref '{reference}' was set alongside unsupported fields.")
