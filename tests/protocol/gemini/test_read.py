import json

import pytest

from protocol.gemini import wire
from protocol.gemini.read import bounds, candidates, ignored_fields, read, read_pictures, select
from protocol.http.stop import Bounds
from protocol.model import BadRequest, Caller, Capability, Catalogue, Feature, Unsupported

CATALOGUE = Catalogue.build()
ALL, NO_PICTURES = Caller(id="all"), Caller(id="few", features=(Feature.CHAT,))


def config_of(**config):
    return wire.decode_generate(json.dumps({"generationConfig": config}).encode()).generation_config


@pytest.mark.parametrize(
    ("name", "modalities", "caller", "capability"),
    [
        ("gemini-3-pro", [], ALL, Capability.CHAT),
        ("models/gemini-3-pro", ["TEXT"], ALL, Capability.CHAT),
        ("gemini-3-pro", ["TEXT", "IMAGE"], ALL, Capability.IMAGEN),
        ("gemini-3-pro-extended", ["image"], ALL, Capability.IMAGEN),
        ("gemini-3-pro-canvas", ["TEXT", "IMAGE"], ALL, Capability.CANVAS),
        ("gemini-3-pro", ["TEXT", "IMAGE"], NO_PICTURES, Capability.CHAT),
        ("gemini-3-pro", ["IMAGE"], NO_PICTURES, Capability.IMAGEN),  # and its license is refused
        ("gemini-2.5-flash-free", ["TEXT", "IMAGE"], ALL, Capability.CHAT),
    ],
)
def test_pictures_are_drawn_by_the_drawing_form_of_a_model(name, modalities, caller, capability):
    selection = select(name, config_of(responseModalities=modalities), CATALOGUE, caller)
    assert selection.capability is capability


def test_a_model_without_pictures_cannot_draw_alone():
    with pytest.raises(Unsupported) as refused:
        select("gemini-2.5-flash-free", config_of(responseModalities=["IMAGE"]), CATALOGUE, ALL)
    assert refused.value.param == "generationConfig.responseModalities"


@pytest.mark.parametrize(
    ("thinking", "extended", "ignored"),
    [
        ({"thinking_level": "high"}, True, []),
        ({"thinkingBudget": 30000}, True, []),
        ({"thinkingBudget": -1}, False, []),
        ({"thinkingBudget": 0}, False, ["thinkingBudget"]),
        ({"thinkingLevel": "LOW"}, False, ["thinkingLevel"]),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, False, []),
    ],
)
def test_a_high_level_of_thinking_chooses_extended_thinking(thinking, extended, ignored):
    config = config_of(thinkingConfig=thinking)
    selection = select("gemini-3-pro", config, CATALOGUE, ALL)
    assert selection.extended is extended
    assert ignored_fields(config, selection) == [f"generationConfig.thinkingConfig.{name}" for name in ignored]


def test_the_number_of_candidates_is_bounded():
    chat, research = CATALOGUE.resolve("gemini-3-pro"), CATALOGUE.resolve("gemini-3-pro-deepsearch")
    assert [candidates(config, chat) for config in (config_of(), config_of(candidateCount=8))] == [1, 8]
    for count, selection in ((9, chat), (2, research)):
        with pytest.raises(BadRequest) as refused:
            candidates(config_of(candidateCount=count), selection)
        assert refused.value.param == "generationConfig.candidateCount"


def test_fields_without_effect_are_named():
    config = config_of(temperature=0.2, topP=1, top_k=40, seed=0, thinkingConfig={"includeThoughts": True})
    fields = ignored_fields(config, CATALOGUE.resolve("gemini-3-pro"))
    assert fields == ["generationConfig.temperature", "generationConfig.topK", "generationConfig.seed"]
    config = config_of(mediaResolution=3, imageConfig={"aspectRatio": "1:1"})
    named = ["generationConfig.mediaResolution", "generationConfig.imageConfig"]
    assert ignored_fields(config, CATALOGUE.resolve("gemini-3-pro")) == named
    assert ignored_fields(config, CATALOGUE.resolve("gemini-3-pro-imagen")) == named[:1]
    assert ignored_fields(config_of(mediaResolution=0), CATALOGUE.resolve("gemini-3-pro")) == []


def test_the_parameters_of_pictures_and_bounds():
    config = config_of(
        image_config={"aspectRatio": "16:9", "image_size": "2K"}, stop_sequences=["a", ""], maxOutputTokens=3
    )
    drawing = CATALOGUE.resolve("gemini-3-pro-imagen")
    pictures = read_pictures(config, drawing)
    assert (pictures.aspect, pictures.image_format.size) == ((16, 9), (2048, 1152))
    assert bounds(config) == Bounds(stops=("a",), tokens=3)
    with pytest.raises(BadRequest) as refused:
        read_pictures(config_of(imageConfig={"aspectRatio": "wide"}), drawing)
    assert refused.value.param == "generationConfig.imageConfig.aspectRatio"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "contents"),
        ({"contents": [{"parts": [{"text": ""}]}]}, "contents"),
        ({"contents": "x", "cachedContent": "cachedContents/1"}, "cachedContent"),
        (
            {"contents": "x", "generationConfig": {"response_modalities": ["AUDIO"]}},
            "generationConfig.responseModalities",
        ),
        (
            {"contents": "x", "generationConfig": {"speechConfig": {"a": 1}}},
            "generationConfig.speechConfig",
        ),
    ],
)
async def test_refusals_name_the_field(context, fields, param):
    body = wire.decode_generate(json.dumps(fields).encode())
    selection = CATALOGUE.resolve("gemini-3-pro")
    with pytest.raises(BadRequest) as refused:
        await read(
            body, selection, CATALOGUE, context, read_pictures(body.generation_config, selection), streamed=False
        )
    assert refused.value.param == param


async def test_a_request_is_read(context):
    fields = {
        "contents": [{"parts": [{"text": "hi"}, {"inlineData": {"mimeType": "text/plain", "data": "YWI_"}}]}],
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
        "safetySettings": [{"category": "x", "threshold": "OFF"}],
        "labels": {"a": "b"},
        "generationConfig": {"temperature": 0.1, "topK": 5, "thinkingConfig": {"thinkingBudget": 0}},
    }
    body = wire.decode_generate(json.dumps(fields).encode())
    selection = CATALOGUE.resolve("gemini-3-pro")
    request = await read(
        body, selection, CATALOGUE, context, read_pictures(body.generation_config, selection), streamed=True
    )
    assert request.turns[0].text == "hi"
    assert (request.turns[0].parts[1].data, request.turns[0].parts[1].mime) == (b"ab?", "text/plain")
    assert [tool.name for tool in request.tools.tools] == ["f"]
    assert request.streamed
