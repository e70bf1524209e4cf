"""What an interaction does over time: its steps, each at its moment, and how it ends. No I/O.

Source: "Interactions", "Video".
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from transports.simulator.api import interaction_schema as schema
from transports.simulator.api import request_schema
from transports.simulator.api.api_models import SimulatedModel
from transports.simulator.api.simulated_model import ModelAnswer, ModelPart, answer, count_tokens
from transports.simulator.config import SimulatorConfig
from transports.simulator.prompt_directives import PromptScript, parse

Ending = Literal["completed", "failed", "incomplete", "budget_exceeded", "requires_action"]
TOKENS_OF_A_FILM = 46_000
_SHARE_OF_PLAN = 0.2
"""How much of the time of a research its plan takes."""
_PHASES = (
    "Reading the (simulated) question",
    "Researching websites",
    "Comparing what they say",
    "Writing the report",
)
_SOURCE = "https://example.com/simulated/{}"
_SOURCES = 3
_PLAN = """\
Here is my (simulated) plan for: {subject}

1. Find out what is known
2. Compare what the sources say
3. Write it down, with citations"""
_REPORT = """\
# {subject}

This report is **simulated**: nothing was researched.

## Findings

- The first finding: naïve, but cited.
- The second finding.

## Conclusion

All sources agree."""
_FAILURES = {
    "safety": ("content_filtered", "The request was blocked for safety reasons."),
    "video": ("video_generation_failed", "The video could not be generated."),
    "research": ("research_failed", "The research could not be completed."),
}


class TimedStep(msgspec.Struct, frozen=True):
    """A step, and when it is done, as a share of the whole time."""

    at: float
    step: dict[str, Any]


class InteractionWork(msgspec.Struct, frozen=True, kw_only=True):
    """All that an interaction will have done."""

    steps: tuple[TimedStep, ...]
    seconds: float
    ending: Ending = "completed"
    errors: tuple[dict[str, str], ...] = ()
    usage: dict[str, Any]
    script: PromptScript


def script_of(request: schema.InteractionRequest) -> PromptScript:
    """Return what the tags of the input order."""
    try:
        return parse(text_of(request))
    except ValueError as error:
        return PromptScript(text=f"The simulator cannot read the prompt: {error}")


def text_of(request: schema.InteractionRequest) -> str:
    """Return the text of the user's last message, with the system instruction before it."""
    users = [step for step in request.steps if isinstance(step, schema.UserStep)]
    content = users[-1].content if users else []
    texts = [request.system_instruction, *(one.text for one in content if isinstance(one, schema.TextInput))]
    return "\n".join(text for text in texts if text)


def ended(script: PromptScript, usual: Ending = "completed") -> dict[str, Any]:
    """Return how work ends, as fields of InteractionWork."""
    if script.refuse in _FAILURES:
        code, message = _FAILURES[script.refuse]
        return {"ending": "failed", "errors": ({"code": code, "message": message},)}
    return {"ending": script.ends or usual}


def usage_of(request: schema.InteractionRequest, made: str, thoughts: str, *, film: int = 0) -> dict[str, Any]:
    """Return the counts of an interaction."""
    sent = sum(count_tokens(msgspec.json.encode(step).decode()) for step in request.steps if _is_small(step))
    written, thought = count_tokens(made) + film, count_tokens(thoughts)
    return {
        "total_input_tokens": sent,
        "total_output_tokens": written,
        "total_thought_tokens": thought,
        "total_cached_tokens": 0,
        "total_tool_use_tokens": 0,
        "total_tokens": sent + written + thought,
        "output_tokens_by_modality": [{"modality": "video" if film else "text", "tokens": written}],
    }


def _is_small(step: schema.StepInput) -> bool:
    content = step.content if isinstance(step, schema.UserStep | schema.OutputStep) else []
    return all(isinstance(one, schema.TextInput) for one in content)


def film_work(
    request: schema.InteractionRequest, config: SimulatorConfig, film: Callable[[PromptScript], dict[str, Any]]
) -> InteractionWork:
    """Return the making of a film; `film` returns its content."""
    script = script_of(request)
    made = ended(script)
    steps = [thought_step(0.5, script.thoughts)] if script.thoughts else []
    if made["ending"] == "completed":
        text = [text_content(script.text)] if script.given else []
        steps.append(TimedStep(1.0, {"type": "model_output", "content": [*text, film(script)]}))
    seconds = config.video_seconds if script.ready is None else script.ready
    tokens = TOKENS_OF_A_FILM if made["ending"] == "completed" else 0
    usage = usage_of(request, script.text if script.given else "", script.thoughts, film=tokens)
    return InteractionWork(steps=tuple(steps), seconds=seconds, usage=usage, script=script, **made)


def research_work(
    request: schema.InteractionRequest, config: SimulatorConfig, asked: schema.InteractionRequest
) -> InteractionWork:
    """Return a plan, or the research that `asked` ordered."""
    options = request.agent_config or schema.ResearchOptions(type="deep-research")
    script = script_of(asked)
    seconds = config.research_seconds if script.ready is None else script.ready
    subject = " ".join(script.description.split())[:60] or "what was asked"
    if options.collaborative_planning:
        plan = _PLAN.format(subject=subject)
        step = TimedStep(1.0, {"type": "model_output", "content": [text_content(plan)]})
        usage = usage_of(request, plan, "")
        return InteractionWork(steps=(step,), seconds=seconds * _SHARE_OF_PLAN, usage=usage, script=script)
    text = script.text if script.given else _REPORT.format(subject=subject)
    made = ended(script)
    thoughts = [*_PHASES, *([script.thoughts] if script.thoughts else [])]
    shown = thoughts if options.thinking_summaries == "auto" else []
    steps = [thought_step((number + 1) / (len(shown) + 1), thought) for number, thought in enumerate(shown)]
    if made["ending"] in {"completed", "incomplete"}:
        sources = script.citations or (0 if script.given else _SOURCES)
        content = text_content(text, sources)
        steps.append(TimedStep(1.0, {"type": "model_output", "content": [content]}))
    usage = usage_of(asked, text, "".join(thoughts))
    return InteractionWork(steps=tuple(steps), seconds=seconds, usage=usage, script=script, **made)


def model_work(
    request: schema.InteractionRequest,
    before: list[schema.StepInput],
    model: SimulatedModel,
    config: SimulatorConfig,
    new_id: Callable[[], str],
) -> InteractionWork:
    """Return the answer of a model that writes text; `before` are the steps of the interactions before this one."""
    made = answer(as_generate_request(request, before), model)
    thinks = request.generation_config.thinking_summaries == "auto" or not made.thoughts
    steps = [TimedStep(1.0, step_of(part, made, new_id)) for part in made.parts if thinks or not part.thought]
    calls = any(part.call is not None for part in made.parts)
    pace, delay = config.pace, made.script.delay
    seconds = pace.first_token_seconds if delay is None else delay
    usage = usage_of(request, made.text, made.thoughts)
    if made.finish_reason == "SAFETY":
        refused = msgspec.structs.replace(made.script, refuse="safety")
        return InteractionWork(steps=(), seconds=seconds, usage=usage, script=made.script, **ended(refused))
    return InteractionWork(
        steps=tuple(steps),
        seconds=seconds if made.script.ready is None else made.script.ready,
        usage=usage,
        script=made.script,
        **ended(made.script, "requires_action" if calls else "completed"),
    )


def step_of(part: ModelPart, made: ModelAnswer, new_id: Callable[[], str]) -> dict[str, Any]:
    """Return a part of an answer as a step."""
    if part.thought:
        return thought_step(1.0, part.text).step
    if part.call is not None:
        name, arguments = part.call
        return {"type": "function_call", "id": new_id(), "name": name, "arguments": arguments}
    return {"type": "model_output", "content": [text_content(part.text, made.sources)]}


def as_generate_request(request: schema.InteractionRequest, before: list[schema.StepInput]) -> request_schema.Request:
    """Return the input as the simulated model reads it."""
    names: dict[str, str] = {}
    messages: list[request_schema.SentMessage] = []
    for step in [*before, *request.steps]:
        match step:
            case schema.UserStep() | schema.OutputStep():
                role = "user" if isinstance(step, schema.UserStep) else "model"
                messages.append(request_schema.SentMessage(parts=[part_of(one) for one in step.content], role=role))
            case schema.CallStep():
                names[step.id] = step.name
                call = request_schema.Called(name=step.name, args=step.arguments, id=step.id)
                messages.append(request_schema.SentMessage(parts=[_part(function_call=call)], role="model"))
            case schema.ResultStep():
                value = step.result if isinstance(step.result, dict) else {"result": step.result}
                result = request_schema.Result(name=names.get(step.call_id, step.name), response=value, id=step.call_id)
                messages.append(request_schema.SentMessage(parts=[_part(function_response=result)], role="user"))
            case _:
                pass
    functions = [
        request_schema.SentFunction(
            name=tool.name, description=tool.description, parameters_json_schema=tool.parameters
        )
        for tool in request.tools
        if isinstance(tool, schema.SentFunctionTool)
    ]
    return request_schema.Request(
        contents=messages,
        tools=[request_schema.SentTool(function_declarations=functions)] if functions else [],
        tool_config=request_schema.ToolOptions(function_calling_config=calling_of(request)),
        generation_config=request_schema.Options(
            thinking_config=request_schema.SentThinking(include_thoughts=True),
            **json_options(request),
        ),
    )


def calling_of(request: schema.InteractionRequest) -> request_schema.Calling:
    """Return how functions may be called."""
    modes: dict[object, request_schema.Mode] = {"any": "ANY", "none": "NONE", "validated": "VALIDATED"}
    choice = request.generation_config.tool_choice
    return request_schema.Calling(mode=modes.get(choice, "AUTO") if isinstance(choice, str) else "AUTO")


def json_options(request: schema.InteractionRequest) -> dict[str, Any]:
    """Return the options of an answer in JSON."""
    form = next((form for form in request.forms if isinstance(form, schema.TextForm)), None)
    if form is None or form.mime_type != "application/json":
        return {}
    return {"response_mime_type": form.mime_type, "response_json_schema": form.schema}


def part_of(content: schema.ContentInput) -> request_schema.SentPart:
    """Return a content as the simulated model reads it."""
    if isinstance(content, schema.TextInput):
        return _part(text=content.text)
    if content.uri:
        return _part(file_data=request_schema.FileReference(file_uri=content.uri, mime_type=content.mime_type))
    return _part(inline_data=request_schema.SentFile(mime_type=content.mime_type, data=content.data))


def _part(**fields: Any) -> request_schema.SentPart:
    return request_schema.SentPart(**fields)


def text_content(text: str, sources: int = 0) -> dict[str, Any]:
    """Return a text with sources for its sentences; the indexes count bytes."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")] or [text]
    notes: list[dict[str, Any]] = []
    for number in range(sources):
        line = lines[min(number, len(lines) - 1)]
        start = len(text[: text.find(line)].encode())
        notes.append(
            {
                "type": "url_citation",
                "url": _SOURCE.format(number + 1),
                "title": f"Simulated source {number + 1}",
                "start_index": start,
                "end_index": start + len(line.encode()),
            }
        )
    return {"type": "text", "text": text} | ({"annotations": notes} if notes else {})


def thought_step(at: float, text: str) -> TimedStep:
    """Return a summary of thoughts at a moment."""
    return TimedStep(at, {"type": "thought", "summary": [{"type": "text", "text": text}]})
