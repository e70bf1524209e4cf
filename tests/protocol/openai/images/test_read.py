import pytest

from protocol.model import BadRequest, Caller, Catalogue, Feature, FilePart, Forbidden, Rendition, Unsupported
from protocol.openai.images import wire
from protocol.openai.images.inputs import Inputs
from protocol.openai.images.read import admit_pictures, read_options, select
from tests.protocol.conftest import make_context

CATALOGUE = Catalogue.build(aliases={"gpt-image-1": "gemini-3-pro"})
ME = Caller(id="me")


def options_of(default_form="both", **fields):
    body = wire.ImageRequest(**{"prompt": "a fox", **fields})
    return read_options(body, select(body.model, CATALOGUE, ME), default_form=default_form)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (None, "gemini-2.5-flash-imagen"),
        ("gemini-3-pro", "gemini-3-pro-imagen"),
        ("gemini-3-pro-imagen", "gemini-3-pro-imagen"),
        ("gemini-2.5-pro", "gemini-3-pro-imagen"),
        ("gpt-image-1", "gemini-3-pro-imagen"),
    ],
)
def test_a_name_selects_a_model_that_draws(name, model):
    assert select(name, CATALOGUE, ME).id == model


def test_without_a_name_the_first_covered_model_is_selected():
    caller = Caller(id="me", models=("gemini-3-*",))
    assert select(None, CATALOGUE, caller).id == "gemini-3-pro-imagen"
    assert select(None, CATALOGUE, Caller(id="me", models=("other",))).id == "gemini-2.5-flash-imagen"


@pytest.mark.parametrize("name", [None, "gemini-3-pro", "gemini-3-pro-imagen"])
def test_images_require_the_feature_of_the_license(name):
    caller = Caller(id="me", features=(Feature.CHAT, Feature.VIDEO))
    with pytest.raises(Forbidden) as caught:
        caller.permit(select(name, CATALOGUE, caller))
    assert caught.value.code == "license_required"
    assert "'images'" in caught.value.message


@pytest.mark.parametrize("name", ["gemini-3-pro-video", "gemini-3-pro-extended"])
def test_a_model_that_cannot_draw_is_refused_with_those_that_can(name):
    with pytest.raises(BadRequest) as caught:
        select(name, CATALOGUE, ME)
    assert caught.value.param == "model"
    assert "gemini-3-pro-imagen" in caught.value.message
    assert "free" not in caught.value.message.partition("These do")[2]


def test_a_text_only_model_draws_but_cannot_edit_a_picture():
    selection = select("gemini-2.5-flash-free", CATALOGUE, ME)
    assert selection.id == "gemini-2.5-flash-free-imagen"
    with pytest.raises(Unsupported, match="gemini-3-pro-imagen") as caught:
        admit_pictures(selection, CATALOGUE)
    assert caught.value.param == "model"
    admit_pictures(select("gemini-3-pro", CATALOGUE, ME), CATALOGUE)


@pytest.mark.parametrize(
    ("size", "aspect"),
    [
        ("1024x1024", (1, 1)),
        ("1792x1024", (16, 9)),
        ("1024x1792", (9, 16)),
        ("1536x1024", (3, 2)),
        ("1024x1536", (2, 3)),
        ("640x480", (4, 3)),
        ("4096x64", (8, 1)),
        ("64x4096", (1, 8)),
        ("auto", None),
        (None, None),
    ],
)
def test_the_aspect_ratio_nearest_to_the_size_is_requested(size, aspect):
    assert options_of(size=size).request(make_context(), Inputs(pictures=())).aspect == aspect


@pytest.mark.parametrize(
    ("fields", "rendition"),
    [
        ({}, Rendition.USUAL),
        ({"return_origin_image": True}, Rendition.ORIGINAL),
        ({"return_origin_image": True, "size": "64x64"}, Rendition.ORIGINAL),
        ({"return_origin_image": False, "size": "1024x1024"}, Rendition.USUAL),
        ({"size": "1025x64"}, Rendition.LARGE),
    ],
)
def test_the_rendition_follows_the_request_and_the_size(fields, rendition):
    assert options_of(**fields).image_format.rendition is rendition


def test_pictures_come_before_the_prompt_and_instructions_after_it():
    picture = FilePart(data=b"x", mime="image/png", name="x.png")
    inputs = Inputs(pictures=(picture,), sentence="The mask says so.")
    [turn] = options_of(style="vivid").request(make_context(), inputs).turns
    assert turn.parts[0] is picture
    assert turn.text == "a fox\n\nStyle: vivid, hyper-real and dramatic.\n\nThe mask says so."


@pytest.mark.parametrize(
    ("fields", "linked", "inline"),
    [
        ({}, True, True),
        ({"default_form": "url"}, True, False),
        ({"default_form": "b64_json"}, False, True),
        ({"default_form": "url", "model": "gpt-image-1"}, False, True),
        ({"default_form": "b64_json", "response_format": "url"}, True, False),
        ({"response_format": "b64_json"}, False, True),
        ({"stream": True}, False, True),
        ({"stream": True, "response_format": "url"}, True, False),
    ],
)
def test_the_form_is_chosen_by_the_request_and_else_by_the_settings(fields, linked, inline):
    options = options_of(**fields)
    assert (options.linked, options.inline) == (linked, inline)


def test_fields_without_effect_are_named():
    assert options_of(quality="auto", partial_images=0, stream=True).ignored == ()
    assert options_of(quality="xhigh", moderation="low", input_fidelity="high").ignored == (
        "input_fidelity",
        "moderation",
        "quality",
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": " "}, "prompt"),
        ({"size": "1024"}, "size"),
        ({"size": "1024x1024x1"}, "size"),
        ({"size": "0064x64"}, "size"),
        ({"size": "x" * 100_000}, "size"),
        ({"background": "transparent"}, "background"),
        ({"output_compression": 9}, "output_compression"),
        ({"output_compression": 9, "output_format": "png"}, "output_compression"),
        ({"partial_images": 2}, "partial_images"),
        ({"frame_count": 4}, "frame_count"),
        ({"svg": "x"}, "svg"),
        ({"markup": "x"}, "markup"),
    ],
)
def test_an_unsupported_field_is_named(fields, param):
    with pytest.raises(BadRequest) as caught:
        options_of(**fields)
    assert caught.value.param == param
    assert len(caught.value.message) < 300
