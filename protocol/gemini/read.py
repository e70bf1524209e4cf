"""Converts a request to a `GenerationRequest`; refuses unsupported fields that would change the answer."""

from collections.abc import Sequence

import msgspec

from protocol.gemini import wire
from protocol.gemini.functions import function_choice, json_output
from protocol.gemini.read_contents import messages_of
from protocol.gemini.sound_fields import heard_form, spoken_form
from protocol.http.context import RequestContext, caller_of
from protocol.http.conversation import read_turns
from protocol.http.ignored import IgnoredFields
from protocol.http.option_fields import (
    HIGH_BUDGET,
    bounded_options,
    effort_of,
    thinking_tokens_of,
    with_logprobs,
    with_sampling,
)
from protocol.http.picture_parameters import (
    PictureFields,
    PictureParameters,
    read_picture_parameters,
    refuse_for_films,
)
from protocol.http.stop import Bounds
from protocol.http.thinking import think_longer
from protocol.model import (
    AnswerOptions,
    BadRequest,
    Caller,
    Capability,
    Catalogue,
    GenerationRequest,
    Selection,
    Unsupported,
)

_DRAWING = frozenset({Capability.IMAGEN, Capability.STORYBOOK})
_HIGH = frozenset({"HIGH", "XHIGH"})
_NO_LEVEL = frozenset({"", "THINKING_LEVEL_UNSPECIFIED"})
_NO_BUDGET = frozenset({None, -1})
"""Values that let the model decide how long it thinks."""
_IGNORED = IgnoredFields(
    {
        "temperature": (1,),
        "top_p": (1,),
        "top_k": (),
        "seed": (),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "media_resolution": ("MEDIA_RESOLUTION_UNSPECIFIED",),
        "response_logprobs": (),
        "logprobs": (),
    }
)
"""Options that the website does not have."""
_MOST_CANDIDATES = 8
_MODALITIES = {"TEXT", "IMAGE", "MODALITY_UNSPECIFIED"}
_BUDGET_FIELD = "generationConfig.thinkingConfig.thinkingBudget"
_MODALITY_FIELD = "generationConfig.responseModalities"


def select(name: str, config: wire.GenerationConfig, catalogue: Catalogue, caller: Caller) -> Selection:
    """Return the requested model; a chat model that may answer with pictures is its `-imagen` form.

    If text will do as well, a model or a license without pictures answers with text; thinking at a high level chooses
    extended thinking, if there is one and the license covers it.

    Raises:
        ModelUnknown: the model does not exist.
        Unsupported: only a picture will do, and the model draws none.

    """
    selection = catalogue.resolve(name)
    thinking = config.thinking_config
    if thinking.thinking_level.upper() in _HIGH or (thinking.thinking_budget or 0) >= HIGH_BUDGET:
        selection = think_longer(selection, caller)
    wanted = {modality.upper() for modality in config.response_modalities}
    if "IMAGE" not in wanted or selection.capability is not Capability.CHAT:
        return selection
    drawing = msgspec.structs.replace(selection, capability=Capability.IMAGEN, extended=False)
    draws = Capability.IMAGEN in selection.model.capabilities and not selection.model.guest
    if "TEXT" in wanted and not (draws and caller.may_use(drawing)):
        return selection
    if not draws:
        raise Unsupported(f"The model '{selection.id}' draws no pictures.", param=_MODALITY_FIELD)
    return drawing


def read_pictures(config: wire.GenerationConfig, selection: Selection, query: bytes = b"") -> PictureParameters:
    """Return the parameters of the pictures; `query` is that of the URL.

    Raises:
        BadRequest: one is invalid or not supported; `param` is its path.

    """
    fields = PictureFields(
        generation_config_camel={"imageConfig": config.image_config} if config.image_config else None
    )
    pictures = read_picture_parameters(fields, query, draws=selection.capability in _DRAWING)
    if selection.capability is Capability.VIDEO:
        refuse_for_films(pictures)
    return pictures


def read_options(body: wire.GenerateRequest, selection: Selection, applied: frozenset[str]) -> AnswerOptions:
    """Return the options of a request; `applied` are those that some upstream of the model applies.

    Raises:
        BadRequest: a field that is applied has a wrong value; `param` is its path.

    """
    config, thinking = body.generation_config, body.generation_config.thinking_config
    options = with_sampling(bounded_options(bounds(config)), config, applied, _path)
    asked = (config.response_logprobs, config.logprobs)
    options = with_logprobs(options, asked, applied, (_path("response_logprobs"), _path("logprobs")))
    return msgspec.structs.replace(
        options,
        effort=effort_of(thinking.thinking_level.lower(), selection, applied),
        thinking_tokens=thinking_tokens_of(thinking.thinking_budget, selection, applied, _BUDGET_FIELD),
        search=any(
            msgspec.UNSET is not one.google_search or msgspec.UNSET is not one.google_search_retrieval
            for one in body.tools
        ),
        open_urls=any(one.url_context is not msgspec.UNSET for one in body.tools),
        run_code=any(one.code_execution is not msgspec.UNSET for one in body.tools),
        safety=_safety(body.safety_settings) if "safety" in applied else (),
        media_resolution=_resolution(config.media_resolution) if "media_resolution" in applied else "",
    )


def _path(name: str) -> str:
    return f"generationConfig.{wire.camel(name)}"


def _safety(settings: Sequence[wire.SafetyField]) -> tuple[tuple[str, str], ...]:
    """Return categories with their thresholds.

    Raises:
        BadRequest: one is none of Google's.

    """
    for place, one in enumerate(settings):
        for field, value, known in (
            ("category", one.category, wire.HARM_CATEGORIES),
            ("threshold", one.threshold, wire.HARM_THRESHOLDS),
        ):
            if value not in known:
                param = f"safetySettings[{place}].{field}"
                raise BadRequest(f"'{param}' must be one of: {', '.join(known)}.", param=param)
    return tuple((one.category, one.threshold) for one in settings)


def _resolution(value: object) -> str:
    if not value or value == wire.RESOLUTIONS[0]:
        return ""
    if value not in wire.RESOLUTIONS:
        param = "generationConfig.mediaResolution"
        raise BadRequest(f"'{param}' must be one of: {', '.join(wire.RESOLUTIONS[1:])}.", param=param)
    return str(value)


def ignored_fields(
    config: wire.GenerationConfig, selection: Selection, applied: frozenset[str] = frozenset()
) -> list[str]:
    """Return the paths of the fields that would change the answer, and have no effect with this model.

    `applied` are the options that the upstream of the model applies.
    """
    known = applied | {"response_logprobs"} if "logprobs" in applied else applied
    fields = [wire.camel(name) for name in _IGNORED.sent(config, known)]
    thinking = config.thinking_config
    if not selection.extended:
        level, budget = thinking.thinking_level, thinking.thinking_budget
        if level.upper() not in _NO_LEVEL and not effort_of(level.lower(), selection, applied):
            fields.append("thinkingConfig.thinkingLevel")
        if budget not in _NO_BUDGET and thinking_tokens_of(budget, selection, applied, _BUDGET_FIELD) is None:
            fields.append("thinkingConfig.thinkingBudget")
    if config.image_config and selection.capability is Capability.CHAT:
        fields.append("imageConfig")
    return [f"generationConfig.{field}" for field in fields]


async def read(  # noqa: PLR0913 -- the parts of one request
    body: wire.GenerateRequest,
    selection: Selection,
    catalogue: Catalogue,
    context: RequestContext,
    pictures: PictureParameters,
    *,
    streamed: bool,
) -> GenerationRequest:
    """Convert a request to a selected model, and read its files; `pictures` are its parameters of pictures.

    Raises:
        BadRequest: a field is invalid or not supported; `param` is its path.

    """
    refuse_unsupported(body, selection)
    chat = selection.capability is Capability.CHAT  # the others answer with what they make, and call nothing
    messages = messages_of(body)
    if not any(part for message in messages for part in message.parts):
        raise BadRequest("'contents' is empty: send at least one message with text or a file.", param="contents")
    return GenerationRequest(
        id=context.id,
        caller=caller_of(context),
        selection=selection,
        turns=await read_turns(messages, selection, catalogue, context),
        streamed=streamed,
        tools=function_choice(body) if chat else None,
        output=json_output(body.generation_config) if chat else None,
        attempts_before=context.attempts_before,
        aspect=pictures.aspect,
        pixels=pictures.image_format.pixels,
        speech=spoken_form(body, selection),
        heard=heard_form(body.generation_config, selection),
    )


def refuse_unsupported(body: wire.GenerateRequest, selection: Selection) -> None:
    """Raise BadRequest for the first unsupported field that would change the answer."""
    config, speaks = body.generation_config, selection.capability is Capability.SPEECH
    other = not speaks and not _MODALITIES.issuperset(one.upper() for one in config.response_modalities)
    refused = {
        "cachedContent": (bool(body.cached_content), "send the contents themselves"),
        "generationConfig.speechConfig": (config.speech_config is not None and not speaks, "ask a model that speaks"),
        _MODALITY_FIELD: (other, "choose 'TEXT', 'IMAGE' or both, or a model that speaks"),
    }
    for field, (is_set, advice) in refused.items():
        if is_set:
            message = f"'{field}' is not supported by this gateway with this value: {advice}."
            raise BadRequest(message, param=field, code="unsupported_parameter")


def candidates(config: wire.GenerationConfig, selection: Selection) -> int:
    """Return the number of candidates of the answer.

    Raises:
        BadRequest: it is too high, or more than one although the work takes minutes.

    """
    count, param = config.candidate_count or 1, "generationConfig.candidateCount"
    if count > _MOST_CANDIDATES:
        raise BadRequest(f"'{param}' must be a number from 1 to {_MOST_CANDIDATES}.", param=param)
    if count > 1 and selection.capability.long_running:
        message = f"'{param}' above 1 is not supported for '{selection.id}': send one request for each answer."
        raise BadRequest(message, param=param, code="unsupported_parameter")
    return count


def bounds(config: wire.GenerationConfig) -> Bounds:
    """Return the stop sequences and the token limit of a request; an empty sequence counts as none."""
    return Bounds(stops=tuple(filter(None, config.stop_sequences)), tokens=config.max_output_tokens)
