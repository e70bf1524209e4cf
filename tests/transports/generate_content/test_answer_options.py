"""The options of an answer, as the API has them."""

import msgspec
import pytest

from protocol.model import (
    SAMPLING,
    AnswerOptions,
    Caller,
    Capability,
    GenerationRequest,
    JsonOutput,
    Model,
    Selection,
    Tool,
    ToolChoice,
)
from transports.generate_content.answer_options import config_of, effective_options, options_applied, own_tools
from transports.generate_content.request_body import ModelTraits

NEW, PRO = ModelTraits(), ModelTraits(minimal=False)
OLD = ModelTraits(levels=False, mixed_tools=False)
OLD_PRO = ModelTraits(levels=False, minimal=False, mixed_tools=False)
CHAT = Selection(model=Model(id="m", family="pro"))
TOOLS = ToolChoice(tools=(Tool(name="clock"),))


def asked(selection=CHAT, tools=None, output=None, **options):
    return GenerationRequest(
        id="r",
        caller=Caller(id="l"),
        selection=selection,
        turns=(),
        tools=tools,
        output=output,
        options=AnswerOptions(**options),
    )


def thinking(traits, *, extended=False, **options):
    config = config_of(AnswerOptions(**options), traits, extended=extended).thinking_config
    return config and (config.thinking_level or config.thinking_budget, config.include_thoughts)


@pytest.mark.parametrize(
    ("options", "new", "pro", "old", "old_pro"),
    [
        ({}, None, None, None, None),
        ({"effort": "none"}, "MINIMAL", "LOW", 0, 512),
        ({"effort": "minimal"}, "MINIMAL", "LOW", 512, 512),
        ({"effort": "low"}, "LOW", "LOW", 1024, 1024),
        ({"effort": "medium"}, "MEDIUM", "MEDIUM", 8192, 8192),
        ({"effort": "xhigh"}, "HIGH", "HIGH", 24_576, 24_576),
        ({"effort": "low", "extended": True}, "HIGH", "HIGH", 24_576, 24_576),
        ({"thinking_tokens": 2000, "effort": "low", "extended": True}, 2000, 2000, 2000, 2000),
        ({"thinking_tokens": 0}, 0, 512, 0, 512),
        ({"thinking_tokens": 90_000}, 24_576, 24_576, 24_576, 24_576),
        ({"thinking_tokens": -1}, -1, -1, -1, -1),
    ],
)
def test_thinking_takes_the_nearest_that_the_model_has(options, new, pro, old, old_pro):
    found = [thinking(traits, **options) for traits in (NEW, PRO, OLD, OLD_PRO)]
    assert found == [(value, value != 0) for value in (new, pro, old, old_pro)]
    assert thinking(ModelTraits(thinking=False), **options) is None


def test_values_beyond_the_api_are_moved_into_its_limits():
    config = config_of(
        AnswerOptions(max_tokens=200_000, seed=-1, presence_penalty=2, frequency_penalty=-2), NEW, extended=False
    )
    assert (config.max_output_tokens, config.seed) == (65_536, 0x7FFF_FFFF)
    assert (config.presence_penalty, config.frequency_penalty) == (1.99, -2)


def test_a_picture_has_no_limit_of_words():
    drawing = msgspec.structs.replace(CHAT, capability=Capability.IMAGEN)
    kept, applied = effective_options(asked(drawing, temperature=0.5, max_tokens=5, stops=("a",), effort="low"), NEW)
    assert kept == AnswerOptions(temperature=0.5)
    assert applied == {"temperature"}
    assert options_applied(drawing, NEW) >= SAMPLING


@pytest.mark.parametrize(
    ("given", "sent", "applied"),
    [
        ({"stops": ("a",), "max_tokens": 5}, {"stops": ("a",), "max_tokens": 5}, {"stops", "max_tokens"}),
        ({"stops": tuple("abcdef")}, {"stops": tuple("abcde")}, set()),
        ({"max_tokens": 0, "seed": 1}, {"max_tokens": 1, "seed": 1}, {"seed"}),
        ({}, {}, set()),
    ],
)
def test_the_gateway_cuts_what_the_api_does_not(given, sent, applied):
    assert effective_options(asked(**given), NEW) == (AnswerOptions(**sent), applied)


@pytest.mark.parametrize("more", [{"tools": TOOLS}, {"output": JsonOutput()}])
def test_only_newer_models_search_in_addition_to_functions_and_json(more):
    for traits, searches in ((NEW, True), (OLD, False)):
        kept, applied = effective_options(asked(search=True, **more), traits)
        assert (kept.search, "search" in applied) == (searches, searches)
    assert effective_options(asked(search=True), OLD)[0].search


def test_tools_of_the_api_are_offered_by_an_empty_object():
    tools = own_tools(AnswerOptions(search=True, open_urls=True, run_code=True))
    assert msgspec.to_builtins(tools) == (
        {"googleSearch": {}},
        {"urlContext": {}},
        {"codeExecution": {}},
    )
    assert own_tools(AnswerOptions()) == ()
