"""Reads the parameters of pictures, in every place and spelling in which clients send them, into one normal form.

OpenAI has `size` and `output_format`; Google has `aspect_ratio` and `image_size`, in camel case or not, within
`image_config`, `generation_config`, `google` and `extra_body`; forms and queries send texts. A parameter is done or is
refused by the path under which it stands. Two places that contradict each other are refused with both paths.

Example: `{"size": "auto", "extra_body": {"google": {"imageConfig": {"aspectRatio": "16:9"}}}}` and the query
`?aspect_ratio=16:9` mean the same: a picture of this shape, whose longer side keeps its length.
"""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from operator import attrgetter
from typing import Annotated, Any, Literal, cast
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, field

from protocol.http.context import ImageFormat
from protocol.http.form import nested
from protocol.model import BadRequest, Rendition, Unsupported

Pair = tuple[int, int]
Fields = Mapping[str, object]

_CONTAINERS = frozenset(
    {
        "extra_body", "google", "generation_config", "image_config", "image_generation_config", "image_output_options",
        "output_options", "config", "parameters",
    }
)  # fmt: skip
_COMMON = frozenset({"config", "parameters"})
"""Containers that count only as objects: other clients use these names differently."""
_DEEPEST = 6
_ALIASES = {
    "number_of_images": "n",
    "sample_count": "n",
    "resolution": "image_size",
    "sample_image_size": "image_size",
    "mime_type": "output_format",
    "output_mime_type": "output_format",
    "compression_quality": "output_compression",
    "output_compression_quality": "output_compression",
}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_UNSET: tuple[object, ...] = (None, "", "auto", [], {})

_LEAST_SIDE = 64
_MOST_SIDE = 4096
_USUAL_SIDE = 1024
"""The longer side of an image in the usual rendition."""
_WIDEST = 8
_PIXELS = re.compile(r"([1-9]\d{0,4}) ?[x*\u00d7] ?([1-9]\d{0,4})")
_RATIO = re.compile(r"(\d{1,4}(?:\.\d{1,4})?) ?[:/] ?(\d{1,4}(?:\.\d{1,4})?)")
_SIDE = re.compile(r"([1-9]\d{0,4})(?:px)?")
_LONGEST = {"0.5k": 512, "1k": 1024, "2k": 2048, "4k": 4096}
_NEAR = math.log(1.05)
"""Sizes such as 1344x768 count as 16:9."""
_SAME_CLASS = math.log(2) / 2
"""A size belongs to the nearest of 1K, 2K and 4K."""
_ASPECTS = (
    *((1, 1), (5, 4), (4, 3), (3, 2), (16, 9), (21, 9), (4, 1), (8, 1)),
    *((4, 5), (3, 4), (2, 3), (9, 16), (1, 4), (1, 8)),
)
"""The aspect ratios that the models draw."""

_FILMS = ((16, 9), (9, 16))
"""The aspect ratios of films."""
_SHAPES = ("size", "width", "aspect_ratio", "image_size")
_OF_PICTURES = ("image_size", "output_format", "output_compression", "return_origin_image")

_STYLES = {"vivid": "vivid, hyper-real and dramatic", "natural": "natural, nothing hyper-real"}
_WORDS = frozenset({"style", "negative_prompt"})
_OF_DRAWING = frozenset({"style", "negative_prompt", "background", "n", "resolution"})
"""These have other meanings where no picture is asked for, and are ignored there."""
_WITHOUT_EFFECT = frozenset(
    {
        "seed", "guidance_scale", "person_generation", "watermark", "add_watermark", "ratio", "num_images",
        "transparent_background",
    }
)  # fmt: skip
"""Parameters of other services, which the website does not have."""
_LOSSY = ("jpeg", "webp")
_BEST = 100
"""The default of `output_compression`, which clients send with any format."""

_TYPES: dict[str, tuple[Any, str]] = {
    "size": (str, f"'auto' or '<width>x<height>', each from {_LEAST_SIDE} to {_MOST_SIDE} pixels"),
    "aspect_ratio": (str, f"'auto' or '<width>:<height>' such as '16:9', at most {_WIDEST}:1 or 1:{_WIDEST}"),
    "image_size": (str | int, f"'auto', '1K', '2K', '4K' or a longer side from {_LEAST_SIDE} to {_MOST_SIDE}"),
    "width": (int, "a number of pixels, sent with 'height'"),
    "height": (int, "a number of pixels, sent with 'width'"),
    "style": (Annotated[str, Meta(max_length=1000)], "a text of at most 1000 characters"),
    "negative_prompt": (Annotated[str, Meta(max_length=4000)], "a text of at most 4000 characters"),
    "background": (Literal["transparent", "opaque"], "'opaque' or 'auto'"),
    "output_format": (Literal["png", "jpeg", "webp"], "'jpeg', 'png' or 'webp'"),
    "output_compression": (Annotated[int, Meta(ge=0, le=100)], "a number from 0 to 100"),
    "n": (Annotated[int, Meta(ge=1, le=10)], "a number from 1 to 10"),
    "return_origin_image": (bool, "true or false"),
}
"""The type of each parameter, and what an error says about it."""


class PictureFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a body that are parameters of pictures, or hold such; `read_picture_parameters` checks them."""

    size: Any = None
    width: Any = None
    height: Any = None
    aspect_ratio: Any = None
    aspect_ratio_camel: Any = field(default=None, name="aspectRatio")
    image_size: Any = None
    image_size_camel: Any = field(default=None, name="imageSize")
    resolution: Any = None
    sample_image_size: Any = None
    sample_image_size_camel: Any = field(default=None, name="sampleImageSize")
    style: Any = None
    negative_prompt: Any = None
    negative_prompt_camel: Any = field(default=None, name="negativePrompt")
    number_of_images: Any = None
    number_of_images_camel: Any = field(default=None, name="numberOfImages")
    sample_count: Any = None
    sample_count_camel: Any = field(default=None, name="sampleCount")
    background: Any = None
    output_format: Any = None
    output_format_camel: Any = field(default=None, name="outputFormat")
    output_mime_type: Any = None
    output_mime_type_camel: Any = field(default=None, name="outputMimeType")
    output_compression: Any = None
    output_compression_camel: Any = field(default=None, name="outputCompression")
    output_compression_quality: Any = None
    output_compression_quality_camel: Any = field(default=None, name="outputCompressionQuality")
    return_origin_image: Any = None
    """An extension: return the original instead of the 1K rendition."""
    return_origin_image_camel: Any = field(default=None, name="returnOriginImage")
    seed: Any = None
    guidance_scale: Any = None
    guidance_scale_camel: Any = field(default=None, name="guidanceScale")
    person_generation: Any = None
    person_generation_camel: Any = field(default=None, name="personGeneration")
    watermark: Any = None
    add_watermark: Any = None
    ratio: Any = None
    num_images: Any = None
    transparent_background: Any = None
    google: Any = None
    extra_body: Any = None
    extra_body_camel: Any = field(default=None, name="extraBody")
    image_config: Any = None
    image_config_camel: Any = field(default=None, name="imageConfig")
    generation_config: Any = None
    generation_config_camel: Any = field(default=None, name="generationConfig")
    image_generation_config: Any = None
    image_generation_config_camel: Any = field(default=None, name="imageGenerationConfig")
    image_output_options: Any = None
    image_output_options_camel: Any = field(default=None, name="imageOutputOptions")
    output_options: Any = None
    output_options_camel: Any = field(default=None, name="outputOptions")
    config: Any = None
    parameters: Any = None


_FIELDS = msgspec.structs.fields(PictureFields)
_NAMES = [one.encode_name for one in _FIELDS]
_values_of = attrgetter(*(one.name for one in _FIELDS))
_NO_VALUES = (None,) * len(_FIELDS)


class PictureParameters(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of the pictures of one request."""

    image_format: ImageFormat = ImageFormat()
    aspect: Pair | None = None
    """The aspect ratio to request: the nearest that the models draw."""
    n: int | None = None
    paths: Mapping[str, str] = {}
    """The path of each parameter that is set, by its name."""
    sentences: tuple[str, ...] = ()
    """What the prompt says of style and of what to avoid."""
    ignored: tuple[str, ...] = ()
    """The paths of the parameters that have no effect."""


_NONE = PictureParameters()


def read_picture_parameters(body: PictureFields, query: bytes, *, draws: bool) -> PictureParameters:
    """Return the parameters of a body and of the query; `draws`: the model draws, so that all of them count.

    Raises:
        BadRequest: one is invalid, or two contradict each other; `param` is its path.
        Unsupported: the models cannot do it.

    """
    values = _values_of(body)
    if values == _NO_VALUES and not query:
        return _NONE
    gathered = _Gathered(draws=draws)
    gathered.add(dict(zip(_NAMES, values, strict=True)))
    for pair in parse_qsl(query.decode("latin-1")):  # one by one, since two values of one name may contradict
        gathered.add(nested([pair]), "?")
    return gathered.parameters() if gathered.found or gathered.ignored else _NONE


def refuse_for_films(parameters: PictureParameters) -> None:
    """Check the parameters of a request for a film: it has an aspect ratio only.

    Raises:
        BadRequest: another parameter is set, or films have no such aspect ratio; `param` is its path.

    """
    paths, image_format = parameters.paths, parameters.image_format
    for name in _OF_PICTURES:
        if name in paths:
            message = f"'{paths[name]}' is not supported for videos: their shape alone can be chosen."
            raise BadRequest(message, param=paths[name], code="unsupported_parameter")
    shape = image_format.size or image_format.aspect
    if shape is not None and all(abs(_log_ratio(shape) - _log_ratio(film)) > _NEAR for film in _FILMS):
        where = next(paths[name] for name in _SHAPES if name in paths)
        raise BadRequest(f"'{where}' must be 16:9 or 9:16 for videos.", param=where)


def closest(size: Pair) -> Pair:
    """Return the aspect ratio of the models that is closest to a size."""
    return min(_ASPECTS, key=lambda shape: abs(_log_ratio(shape) - _log_ratio(size)))


def _log_ratio(pair: Pair) -> float:
    return math.log(pair[0] / pair[1])


def _snake(key: str) -> str:
    return _CAMEL.sub("_", key).lower()


def _contradict(one: str, other: str) -> BadRequest:
    return BadRequest(f"'{one}' and '{other}' contradict each other: send one of them.", param=other)


class _Gathered:
    """The values of one request, by the name of the parameter, each with its path."""

    def __init__(self, *, draws: bool) -> None:
        self._draws = draws
        self.found: dict[str, tuple[str, Any]] = {}
        self.ignored: list[str] = []

    def add(self, fields: Fields, path: str = "", depth: int = 0) -> None:
        """Add the parameters of an object and of the objects in it; empty values and 'auto' are unset."""
        for key, sent in fields.items():
            snake, where = _snake(key), f"{path}{key}"
            name = _ALIASES.get(snake, snake)
            value = sent.strip() if isinstance(sent, str) else sent
            if value in _UNSET or (snake in _COMMON and sent.__class__ is not dict):
                continue
            if snake in _CONTAINERS and depth < _DEEPEST:
                self.add(_object(value, where), f"{where}.", depth + 1)
            elif name in _TYPES and (self._draws or snake not in _OF_DRAWING):
                value = value.lower() if isinstance(value, str) and name not in _WORDS else value
                earlier, known = self.found.setdefault(name, (where, value))
                if str(known).lower() != str(value).lower():
                    raise _contradict(earlier, where)
            elif name in _WITHOUT_EFFECT and self._draws and str(value).lower() != "false":
                self.ignored.append(where)

    def _take(self, name: str) -> tuple[str, Any]:
        """Return the path and the converted value of a parameter; the value is None if it is unset."""
        where, value = self.found.get(name, (name, None))
        if value is None:
            return where, None
        if name == "output_format" and isinstance(value, str):
            value = value.removeprefix("image/").replace("jpg", "jpeg")
        try:
            return where, msgspec.convert(value, _TYPES[name][0], strict=False)
        except msgspec.ValidationError:
            raise self._invalid(name, where) from None

    def _invalid(self, name: str, where: str) -> BadRequest:
        return BadRequest(f"'{where}' must be {_TYPES[name][1]}.", param=where)

    def parameters(self) -> PictureParameters:
        """Return the normal form."""
        where, background = self._take("background")
        if background == "transparent":
            message = f"The models draw no transparent background: set '{where}' to 'opaque' or 'auto'."
            raise Unsupported(message, param=where)
        output = self._take("output_format")[1]
        where, quality = self._take("output_compression")
        if quality == _BEST and output not in _LOSSY:
            quality = None
        if quality is not None and output not in _LOSSY:
            raise BadRequest(f"'{where}' requires an 'output_format' of 'jpeg' or 'webp'.", param=where)
        geometry = self._geometry()
        size, aspect, longest = geometry.get("size"), geometry.get("aspect"), geometry.get("longest")
        shape = size or aspect
        if size is None and aspect is not None and longest is not None:
            size = ImageFormat(longest=longest).size_for(*aspect)
        rendition = Rendition.USUAL if max(size or (longest or 0,)) <= _USUAL_SIDE else Rendition.LARGE
        if self._take("return_origin_image")[1]:  # only on request, since the original may carry a watermark
            rendition = Rendition.ORIGINAL
        exact = ImageFormat(rendition=rendition, size=size, format=output, quality=quality)
        if size is None:
            exact = msgspec.structs.replace(exact, aspect=aspect, longest=longest)
        style, avoid = self._take("style")[1], self._take("negative_prompt")[1]
        sentences = f"Style: {_STYLES.get(style.lower(), style)}." if style else "", f"Avoid: {avoid}" if avoid else ""
        return PictureParameters(
            image_format=exact,
            aspect=closest(shape) if shape is not None else None,
            n=self._take("n")[1],
            paths={name: where for name, (where, _) in self.found.items()},
            sentences=tuple(filter(None, sentences)),
            ignored=tuple(self.ignored),
        )

    def _geometry(self) -> dict[str, Any]:
        """Return `size`, `aspect` and `longest`, as far as they are set.

        Raises:
            BadRequest: a value is invalid, or two contradict each other.

        """
        read: dict[str, tuple[str, Any]] = {}
        for name in _SHAPES:
            where, value = self._take(name)
            if value is None:
                continue
            if name == "width":
                value = f"{value}x{self._take('height')[1]}"
            kind, parsed = read_geometry(name, str(value)) or (None, None)
            if kind is None:
                raise self._invalid(name, where)
            earlier, known = read.setdefault(kind, (where, parsed))
            if known != parsed:
                raise _contradict(earlier, where)
        if "height" in self.found and "width" not in self.found:
            raise self._invalid("height", self.found["height"][0])
        _check_agreement(read)
        return {kind: parsed for kind, (_, parsed) in read.items()}


def _object(value: object, where: str) -> Fields:
    """Return an object, which a form or query sends as JSON."""
    try:
        found: object = msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        found = None
    if not isinstance(found, dict):
        raise BadRequest(f"'{where}' must be an object.", param=where)
    return cast("dict[str, object]", found)


def _check_agreement(read: Mapping[str, tuple[str, Any]]) -> None:
    """Raise BadRequest if an exact size has another aspect ratio, or belongs to another of 1K, 2K and 4K."""
    if "size" not in read:
        return
    where, size = read["size"]
    if "aspect" in read and abs(_log_ratio(size) - _log_ratio(read["aspect"][1])) > _NEAR:
        raise _contradict(where, read["aspect"][0])
    if "longest" in read and abs(_log_ratio((max(size), read["longest"][1]))) > _SAME_CLASS:
        raise _contradict(where, read["longest"][0])


def read_geometry(name: str, text: str) -> tuple[str, Any] | None:
    """Return what the text of a parameter says: `size`, `aspect` or `longest`, and its value; None if it is invalid.

    Example: the `image_size` "2K" says `longest`, 2048; the `size` "1024x512" says `size`, (1024, 512).
    """
    if name != "aspect_ratio" and (pixels := _PIXELS.fullmatch(text)):
        size = int(pixels[1]), int(pixels[2])
        return ("size", size) if all(_LEAST_SIDE <= side <= _MOST_SIDE for side in size) else None
    if name != "width" and (ratio := _RATIO.fullmatch(text.replace("x", ":") if name == "aspect_ratio" else text)):
        across, down = Fraction(ratio[1]), Fraction(ratio[2])
        is_usual = across and down and 1 <= _WIDEST * across / down <= _WIDEST**2
        return ("aspect", (across / down).as_integer_ratio()) if is_usual else None
    longest = _LONGEST.get(text, 0) if name in {"size", "image_size"} else 0
    if name == "image_size" and (side := _SIDE.fullmatch(text)):
        longest = int(side[1])
    return ("longest", longest) if _LEAST_SIDE <= longest <= _MOST_SIDE else None
