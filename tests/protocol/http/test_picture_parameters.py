import json
from urllib.parse import urlencode

import msgspec
import pytest

from protocol.http.context import UNCHANGED
from protocol.http.picture_parameters import (
    PictureFields,
    PictureParameters,
    read_picture_parameters,
    refuse_for_films,
)
from protocol.model import BadRequest, Rendition, Unsupported

decode = msgspec.json.Decoder(PictureFields).decode


def read(fields=None, query="", *, draws=True):
    return read_picture_parameters(decode(json.dumps(fields or {})), query.encode(), draws=draws)


def within(*containers):
    def place(name, value):
        fields = {name: value}
        for container in reversed(containers):
            fields = {container: fields}
        return {"fields": fields}, ".".join((*containers, name))

    return place


PLACES = {
    "body": within(),
    "google": within("google"),
    "extra_body": within("extra_body"),
    "extra_body.google": within("extra_body", "google"),
    "extraBody": within("extraBody"),
    "image_config": within("image_config"),
    "imageConfig": within("imageConfig"),
    "generation_config": within("generation_config"),
    "generationConfig.imageConfig": within("generationConfig", "imageConfig"),
    "extra_body.google.image_config": within("extra_body", "google", "image_config"),
    "extra_body.google.generationConfig.imageConfig": within("extra_body", "google", "generationConfig", "imageConfig"),
    "query": lambda name, value: ({"query": urlencode({name: value})}, f"?{name}"),
    "query in brackets": lambda name, value: ({"query": urlencode({f"google[{name}]": value})}, f"?google.{name}"),
    "query in JSON": lambda name, value: (
        {"query": urlencode({"image_config": json.dumps({name: value})})},
        f"?image_config.{name}",
    ),
}
PARAMETERS = {
    ("size", "1536x1024"): lambda made: (made.image_format.size, made.aspect) == ((1536, 1024), (3, 2)),
    ("aspect_ratio", "16:9"): lambda made: (made.image_format.aspect, made.aspect) == ((16, 9), (16, 9)),
    ("aspectRatio", "9:16"): lambda made: (made.image_format.aspect, made.aspect) == ((9, 16), (9, 16)),
    ("image_size", "2K"): lambda made: (
        (made.image_format.longest, made.image_format.rendition) == (2048, Rendition.LARGE)
    ),
    ("imageSize", "1K"): lambda made: (
        (made.image_format.longest, made.image_format.rendition) == (1024, Rendition.USUAL)
    ),
    ("resolution", "4k"): lambda made: made.image_format.longest == 4096,
    ("output_format", "webp"): lambda made: made.image_format.format == "webp",
    ("outputMimeType", "image/jpg"): lambda made: made.image_format.format == "jpeg",
    ("return_origin_image", True): lambda made: made.image_format.rendition is Rendition.ORIGINAL,
    ("returnOriginImage", "true"): lambda made: made.image_format.rendition is Rendition.ORIGINAL,
    ("return_origin_image", "false"): lambda made: made.image_format.rendition is Rendition.USUAL,
    ("style", "vivid"): lambda made: made.sentences == ("Style: vivid, hyper-real and dramatic.",),
    ("style", "Ukiyo-e"): lambda made: made.sentences == ("Style: Ukiyo-e.",),
    ("negativePrompt", "Snow"): lambda made: made.sentences == ("Avoid: Snow",),
    ("numberOfImages", 3): lambda made: made.n == 3,
    ("background", "opaque"): lambda made: made.image_format == UNCHANGED,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("parameter", PARAMETERS, ids=str)
def test_every_parameter_is_done_in_every_place(place, parameter):
    sent, _ = PLACES[place](*parameter)
    assert PARAMETERS[parameter](read(**sent))


REFUSED = [
    ("size", "1024"),
    ("size", "63x64"),
    ("size", "64x4097"),
    ("size", "1024x1024x1"),
    ("size", "big"),
    ("size", True),
    ("aspect_ratio", "wide"),
    ("aspectRatio", "0:1"),
    ("aspect_ratio", "9:1"),
    ("image_size", "3K"),
    ("imageSize", "99999"),
    ("output_format", "gif"),
    ("outputMimeType", "image/tiff"),
    ("output_compression", 101),
    ("output_compression", 50),
    ("return_origin_image", "perhaps"),
    ("background", "transparent"),
    ("background", "white"),
    ("width", 640),
    ("height", 480),
    ("number_of_images", 11),
    ("style", "x" * 1001),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("parameter", REFUSED, ids=lambda parameter: f"{parameter[0]}={str(parameter[1])[:20]}")
def test_what_cannot_be_done_is_refused_by_its_path(place, parameter):
    sent, path = PLACES[place](*parameter)
    with pytest.raises(BadRequest) as caught:
        read(**sent)
    assert caught.value.param == path
    assert f"'{path}'" in caught.value.message
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["size", "aspectRatio", "image_size", "output_format", "style", "return_origin_image"])
@pytest.mark.parametrize("value", ["", "auto", " "])
def test_an_empty_value_is_unset(place, name, value):
    sent, _ = PLACES[place](name, value)
    assert read(**sent) == PictureParameters()


@pytest.mark.parametrize(
    ("fields", "query", "paths"),
    [
        ({"size": "1024x1024", "aspect_ratio": "16:9"}, "", ("size", "aspect_ratio")),
        ({"size": "1024x1024", "google": {"aspectRatio": "3:2"}}, "", ("size", "google.aspectRatio")),
        ({"size": "1024x1024", "image_config": {"image_size": "2K"}}, "", ("size", "image_config.image_size")),
        ({"size": "1024x1024"}, "size=512x512", ("size", "?size")),
        ({"size": "1:1", "aspect_ratio": "16:9"}, "", ("size", "aspect_ratio")),
        ({"size": "1024x1024", "image_size": "512x512"}, "", ("size", "image_size")),
        ({}, "size=64x64&size=128x128", ("?size", "?size")),
        ({"aspect_ratio": "1:1"}, "image_config[aspect_ratio]=2:1", ("aspect_ratio", "?image_config.aspect_ratio")),
        ({"extra_body": {"n": 2}, "numberOfImages": 3}, "", ("numberOfImages", "extra_body.n")),
    ],
)
def test_what_contradicts_is_refused_by_both_paths(fields, query, paths):
    with pytest.raises(BadRequest) as caught:
        read(fields, query)
    assert all(f"'{path}'" in caught.value.message for path in paths)
    assert caught.value.param in paths


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"size": "1344x768", "aspect_ratio": "16:9"}, (1344, 768)),
        ({"size": "1792x1024", "aspectRatio": "16:9", "image_size": "2K"}, (1792, 1024)),
        ({"size": "1536 x 1024", "aspect_ratio": "3:2"}, (1536, 1024)),
        ({"size": "640*480"}, (640, 480)),
        ({"size": "640\u00d7480"}, (640, 480)),
        ({"image_size": "1024X576"}, (1024, 576)),
        ({"width": 640, "height": "480"}, (640, 480)),
        ({"aspect_ratio": "16:9", "image_size": "1K"}, (1024, 576)),
        ({"aspect_ratio": "9/16", "image_size": "2k"}, (1152, 2048)),
        ({"size": "16:9", "image_size": "4K"}, (4096, 2304)),
        ({"size": "2K", "aspect_ratio": "1x1"}, (2048, 2048)),
        ({"aspect_ratio": "1.91:1", "image_size": 764}, (764, 400)),
        ({"aspect_ratio": "16:9", "extra_body": {"google": {"aspect_ratio": "16:9"}}, "image_size": 512}, (512, 288)),
    ],
)
def test_what_agrees_gives_one_size(fields, size):
    assert read(fields).image_format.size == size


def test_words_with_other_meanings_are_ignored_where_no_picture_is_asked_for():
    fields = {"style": 5, "background": True, "google": {"n": 9}, "resolution": "low", "image_config": {"x": {}}}
    assert read(fields, draws=False) == PictureParameters()
    assert read({"return_origin_image": True}, draws=False).image_format.rendition is Rendition.ORIGINAL
    with pytest.raises(BadRequest):
        read({"size": "huge"}, draws=False)


def test_parameters_of_other_services_have_no_effect_and_are_named():
    fields = {
        "seed": 4,
        "guidance_scale": 7.5,
        "watermark": False,
        "transparent_background": "false",
        "ratio": "16:9",
        "image_config": {"personGeneration": "ALLOW_ALL", "num_images": 2},
    }
    found = read(fields, "watermark=true&guidanceScale=")
    assert found.image_format == UNCHANGED
    named = {
        "seed",
        "guidance_scale",
        "ratio",
        "image_config.personGeneration",
        "image_config.num_images",
        "?watermark",
    }
    assert (set(found.ignored), len(found.ignored)) == (named, len(named))
    assert read(fields, draws=False).ignored == ()


def test_unknown_fields_of_containers_are_ignored():
    fields = {"extra_body": {"google": {"thinking_config": {"include_thoughts": True}, "other": 5}}}
    assert read(fields, "key=sk-x&alt=sse") == PictureParameters()
    assert read().image_format == UNCHANGED


@pytest.mark.parametrize("value", ["no", 5, [1], "[1]", True])
def test_a_container_must_be_an_object(value):
    with pytest.raises(BadRequest) as caught:
        read({"extra_body": {"google": value}})
    assert caught.value.param == "extra_body.google"


def test_a_transparent_background_says_what_goes():
    with pytest.raises(Unsupported, match="'opaque' or 'auto'"):
        read({"background": "transparent"})


def test_the_quality_100_goes_with_any_format():
    assert read({"output_compression": 100}).image_format == UNCHANGED
    assert read({"output_compression": 100, "output_format": "jpeg"}).image_format.quality == 100


@pytest.mark.parametrize(
    ("fields", "aspect"),
    [
        ({}, None),
        ({"size": "1280x720"}, (16, 9)),
        ({"size": "1024x1792"}, (9, 16)),
        ({"google": {"aspectRatio": "9:16"}}, (9, 16)),
        ({"background": "transparent"}, None),
    ],
)
def test_a_film_has_a_shape(fields, aspect):
    parameters = read(fields, draws=False)
    refuse_for_films(parameters)
    assert parameters.aspect == aspect


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"size": "1024x1024"}, "size"),
        ({"width": 640, "height": 480}, "width"),
        ({"google": {"aspectRatio": "21:9"}}, "google.aspectRatio"),
        ({"imageSize": "2K"}, "imageSize"),
        ({"output_format": "png"}, "output_format"),
        ({"returnOriginImage": True}, "returnOriginImage"),
    ],
)
def test_what_a_film_lacks_is_refused_by_its_path(fields, path):
    with pytest.raises(BadRequest) as caught:
        refuse_for_films(read(fields, draws=False))
    assert caught.value.param == path
