"""Turns the options of a request into those of the API, as far as the model has them.

Source: "GenerateContentRequest", "Thinking".
"""

import msgspec

from protocol.model import (
    EVERY_OPTION,
    LOGPROBS,
    NO_OPTIONS,
    SAMPLING,
    AnswerOptions,
    Capability,
    GenerationRequest,
    Selection,
)
from transports.generate_content import canvas, storybook, wire
from transports.generate_content.request_body import ModelTraits
from transports.generate_content.request_contents import Inserts

_INSTRUCTIONS = {Capability.CANVAS: canvas.INSTRUCTIONS, Capability.STORYBOOK: storybook.INSTRUCTIONS}
_MOST_STOPS = 5
_MOST_TOKENS = 65_536
"""No model writes more; the API refuses a higher limit."""
_PENALTY_END = 1.99
"""The API excludes 2, which OpenAI's includes."""
_SEED_BITS = 0x7FFF_FFFF
_THINKING = frozenset({"effort", "thinking_tokens"})
_LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH"}
_BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}
"""Tokens of thoughts for models that have no levels."""
_LEAST_BUDGET, _MOST_BUDGET = 512, 24_576
"""All models accept budgets within these limits."""
_FEW_OPTIONS = {
    Capability.IMAGEN: SAMPLING | {"safety", "media_resolution"},
    Capability.SPEECH: SAMPLING | {"safety"},
    Capability.TRANSCRIPTION: SAMPLING | {"safety"},
}
"""The options of models that draw, speak or listen."""


def options_applied(selection: Selection, traits: ModelTraits) -> frozenset[str]:
    """Return the names of the options that a model applies.

    A limit of tokens would count the picture that is drawn, so it is left to the gateway, which cuts the words.
    """
    if selection.capability.long_running:
        return frozenset()
    if selection.capability in _FEW_OPTIONS:
        return _FEW_OPTIONS[selection.capability]
    left = frozenset[str]() if selection.capability is Capability.CHAT else LOGPROBS  # others change the words
    return EVERY_OPTION - left if traits.thinking else EVERY_OPTION - left - _THINKING


def effective_options(request: GenerationRequest, traits: ModelTraits) -> tuple[AnswerOptions, frozenset[str]]:
    """Return the options of a request without those that its model does not apply, and the names of those that it does.

    The API takes five stop sequences, and a limit of one token or more: the rest is left to the gateway.
    """
    given = request.options
    if given == NO_OPTIONS:
        return given, frozenset()
    left = EVERY_OPTION - options_applied(request.selection, traits)
    if not traits.mixed_tools and (request.tools is not None or request.output is not None):
        left |= {"search", "open_urls", "run_code"}
    kept = msgspec.structs.replace(given, **{name: getattr(NO_OPTIONS, name) for name in left})
    applied = frozenset(name for name in EVERY_OPTION if getattr(kept, name) != getattr(NO_OPTIONS, name))
    if len(kept.stops) > _MOST_STOPS:
        kept, applied = msgspec.structs.replace(kept, stops=kept.stops[:_MOST_STOPS]), applied - {"stops"}
    if kept.max_tokens == 0:
        kept, applied = msgspec.structs.replace(kept, max_tokens=1), applied - {"max_tokens"}
    return kept, applied


def thinking_of(options: AnswerOptions, traits: ModelTraits, *, extended: bool) -> wire.ThinkingConfig | None:
    """Return how much the model thinks; None: it does not think.

    A budget of the client's counts more than extended thinking, and that more than an effort. What the model lacks is
    replaced by the nearest that it has.
    """
    if not traits.thinking:
        return None
    effort = "high" if extended else options.effort
    if options.thinking_tokens is None and effort and traits.levels:
        level = _LEVELS[effort]
        return wire.ThinkingConfig(
            include_thoughts=True, thinking_level="LOW" if level == "MINIMAL" and not traits.minimal else level
        )
    budget = _BUDGETS.get(effort) if options.thinking_tokens is None else options.thinking_tokens
    if budget is None:
        return wire.ThinkingConfig(include_thoughts=True)
    if budget > 0 or (not budget and not traits.minimal):
        budget = min(max(budget, _LEAST_BUDGET), _MOST_BUDGET)
    return wire.ThinkingConfig(include_thoughts=budget != 0, thinking_budget=budget)


def config_of(options: AnswerOptions, traits: ModelTraits, *, extended: bool) -> wire.GenerationConfig:
    """Return the options of an answer as the API has them."""
    return wire.GenerationConfig(
        stop_sequences=options.stops,
        max_output_tokens=min(options.max_tokens, _MOST_TOKENS) if options.max_tokens is not None else None,
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        seed=options.seed & _SEED_BITS if options.seed is not None else None,
        presence_penalty=_penalty(options.presence_penalty),
        frequency_penalty=_penalty(options.frequency_penalty),
        thinking_config=thinking_of(options, traits, extended=extended),
        media_resolution=options.media_resolution,
        response_logprobs=options.logprobs,
        logprobs=options.top_logprobs or None,
    )


def _penalty(value: float | None) -> float | None:
    return min(value, _PENALTY_END) if value is not None else None


def fixed_inserts(capability: Capability, options: AnswerOptions) -> Inserts:
    """Return what a request contains besides its conversation, whichever account sends it."""
    told = _INSTRUCTIONS.get(capability, "")
    return Inserts(tools=own_tools(options), instructions=told)


def own_tools(options: AnswerOptions) -> tuple[wire.Tool, ...]:
    """Return the tools of the API that a request asks for."""
    wanted = (
        (options.search, wire.Tool(google_search={})),
        (options.open_urls, wire.Tool(url_context={})),
        (options.run_code, wire.Tool(code_execution={})),
    )
    return tuple(tool for is_wanted, tool in wanted if is_wanted)
