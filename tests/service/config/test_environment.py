"""Variables of the environment; the table of whole settings is `tests/inputs/test_settings.py`."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from msgspec import Meta

from service.config.environment import VariableText, keys_of, misspelt, nearest, resolve, settings_in, variables_of
from service.config.expected import shape_of
from service.config.schema import Settings

SHAPE = shape_of(Settings)


class Item(msgspec.Struct):
    name: str
    count: int = 1


class Section(msgspec.Struct):
    enabled: bool = False
    size_bytes: Annotated[int, Meta(ge=1)] = 1
    wait_seconds: float = 1.0
    level: Literal["info", "error"] = "info"
    names: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    free: dict[str, Any] = {}


def read(key, text):
    return resolve({key: VariableText(text)}, shape_of(Section))[key]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("enabled", "YES", True),
        ("enabled", "off", False),
        ("enabled", "perhaps", "perhaps"),
        ("size_bytes", "9_000", 9000),
        ("size_bytes", "64MiB", 64 * 1024**2),
        ("size_bytes", "1.5 kb", 1500),
        ("size_bytes", "1.5", "1.5"),
        ("size_bytes", "64 parsecs", "64 parsecs"),
        ("wait_seconds", "500ms", 0.5),
        ("wait_seconds", "2h", 7200),
        ("wait_seconds", "nan", "nan"),
        ("level", "Error", "error"),
        ("level", "loud", "loud"),
        ("names", "a,b", ["a", "b"]),
        ("names", " 'a' ; b\nc ", ["a", "b", "c"]),
        ("names", '["a", "b"]', ["a", "b"]),
        ("names", "['a', 'b',]", ["a", "b"]),
        ("names", "[::1]", ["[::1]"]),
        ("items", '{"name": "a", "count": "3"}', [{"name": "a", "count": 3}]),
        ("items", "[{name = 'a', count = 3}]", [{"name": "a", "count": 3}]),
        ("items", "nothing", "nothing"),
    ],
)
def test_a_variable_is_read_by_the_type_of_its_setting(key, text, value):
    assert read(key, text) == value
    assert type(read(key, text)) in {bool, int, float, str, list}


def test_a_text_without_a_type_waits_for_its_schema():
    assert isinstance(read("free", '{"a": "b"}')["a"], VariableText)


def test_text_of_a_file_is_trimmed_and_keeps_its_type():
    tree = {"level": " ERROR ", "enabled": "yes", "names": [" a "], "wait_seconds": "1 min", "unknown": [" x "]}
    assert resolve(tree, shape_of(Section)) == {
        "level": "error",
        "enabled": "yes",
        "names": ["a"],
        "wait_seconds": 60,
        "unknown": ["x"],
    }


def test_variables_are_found_in_any_case_and_empty_ones_set_nothing():
    environment = {
        "gemini_gateway__log__level": ' "debug"\r\n',
        "GEMINI_GATEWAY__SERVER__PORT": " \n",
        "GEMINI_GATEWAY__SERVER__PUBLIC_URL": '""',
        "HOME": "/",
    }
    assert settings_in(environment) == {"gemini_gateway__log__level": "debug", "GEMINI_GATEWAY__SERVER__PUBLIC_URL": ""}
    assert keys_of("gemini_gateway__log__level") == ["log", "level"]


@pytest.mark.parametrize("name", ["GEMINI_GATEWAY_SERVER__PORT", "GEMINI_GATEWAY_server__port"])
def test_a_single_underscore_is_noticed(name):
    assert misspelt({name: "1"}, SHAPE) == (name, "GEMINI_GATEWAY__SERVER__PORT")


def test_variables_of_kubernetes_are_left_alone():
    names = ("SERVICE_HOST", "PORT", "PORT_8000_TCP_ADDR", "SERVER_PORT", "CONFIG", "PSID", "SERVICE_PORT__X")
    assert misspelt({f"GEMINI_GATEWAY_{name}": "x" for name in names}, SHAPE) is None


def test_the_nearest_variable_is_found():
    assert nearest("GEMINI_GATEWAY__SERVR__PORT", SHAPE) == "GEMINI_GATEWAY__SERVER__PORT"
    assert nearest("GEMINI_GATEWAY__SERVER_PORT", SHAPE) == "GEMINI_GATEWAY__SERVER__PORT"
    assert nearest("GEMINI_GATEWAY__WEATHER", SHAPE) is None
    assert "GEMINI_GATEWAY__STORE__URL" in variables_of(SHAPE)


@given(st.lists(st.text("abc.*:/-0123456789", min_size=1).filter(lambda text: text[0] not in "[{")))
@profile(max_examples=50)
def test_a_list_reads_the_same_however_it_is_written(names):
    written = (",".join(names), " , ".join(names), "\n".join(names), str(names), msgspec.json.encode(names).decode())
    assert all(read("names", text) == names for text in written)
