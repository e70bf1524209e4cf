from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.http.lenient import LenientDecoder


class Circle(msgspec.Struct, frozen=True, tag="circle"):
    radius: float = 1.0


class Label(msgspec.Struct, frozen=True, tag="label"):
    text: str


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    shapes: str | list[Circle | Label] | None = None
    names: list[str] | None = None
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    shown: bool | None = None
    style: Literal["plain", "rich"] | None = None
    level: Literal[1, 2] | None = None
    letter: Literal["a", "b", "c", "d", "e", "f", "g", "h"] | None = None
    style_of: dict[str, float] | None = None
    extra: Any = None
    noted: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


DECODER = LenientDecoder(Drawing)


def decoded(**fields):
    return DECODER.decode(msgspec.json.encode({"title": "t", **fields}))


@pytest.mark.parametrize(
    ("given", "meant"),
    [(dict.fromkeys(Drawing.__struct_fields__[1:-1], empty), {}) for empty in (None, "", [], {})]
    + [
        ({"shapes": {"type": "label", "text": ""}}, {"shapes": [Label("")]}),
        ({"shapes": [{"type": "circle", "radius": "2.5"}]}, {"shapes": [Circle(2.5)]}),
        ({"shapes": "none", "count": 1.0}, {"shapes": "none", "count": 1}),
        ({"names": "a", "count": " 2 "}, {"names": ["a"], "count": 2}),
        ({"shown": "True", "style": " rich"}, {"shown": True, "style": "rich"}),
        ({"level": 2.0}, {"level": 2}),
        ({"level": "2", "extra": {"a": [1]}}, {"level": 2, "extra": {"a": [1]}}),
        ({"style_of": {"a": "0.5"}, "unknown": [{}]}, {"style_of": {"a": 0.5}}),
        ({"noted": {}}, {"noted": {}}),
        ({"noted": None}, {}),
    ],
)
def test_a_body_is_read_as_it_is_meant(given, meant):
    assert decoded(**given) == Drawing(title="t", **meant)
    assert DECODER.convert({"title": "t", **given}) == Drawing(title="t", **meant)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": None}, "Expected `str`, got `null` - at `$.title`"),
        ({"style": "x"}, "Invalid value: use 'plain' or 'rich' - at `$.style`"),
        ({"style": 5}, "Invalid value: use 'plain' or 'rich' - at `$.style`"),
        ({"letter": "z"}, "Invalid value: use 'a', 'b', 'c', 'd', 'e', 'f', 'g', … - at `$.letter`"),
        ({"level": "9"}, "Invalid value: use '1' or '2' - at `$.level`"),
        ({"shapes": {"type": "x"}}, "Invalid value: use 'circle' or 'label' - at `$.shapes[0].type`"),
        ({"shapes": [{"type": "label"}]}, "Object missing required field `text` - at `$.shapes[0]`"),
        ({"shapes": 5}, "Expected `str | array | null`, got `int` - at `$.shapes`"),
        ({"count": 1.5}, "Expected `int | null`, got `float` - at `$.count`"),
        ({"count": "0"}, "Expected `int` >= 1 - at `$.count`"),
        ({"count": msgspec.Raw(b"1e400")}, "Number out of range - at `$.count`"),
    ],
)
def test_a_wrong_field_is_named_with_the_values_it_may_have(fields, message):
    with pytest.raises(msgspec.ValidationError) as caught:
        decoded(**fields)
    assert str(caught.value) == message


@pytest.mark.parametrize("body", [b"", b"{", b'{"title": "\xff"}'])
def test_a_body_that_is_not_json_is_refused(body):
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)) as caught:
        DECODER.decode(body)
    assert not isinstance(caught.value, msgspec.ValidationError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "radius", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from(Drawing.__struct_fields__), JSON)


@given(FIELDS)
def test_every_body_is_read_or_refused_by_name(fields):
    body = msgspec.json.encode(fields)
    try:
        read = DECODER.decode(body)
    except msgspec.ValidationError:
        return
    assert DECODER.decode(msgspec.json.encode(read)) == read
