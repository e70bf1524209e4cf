import pytest

from service import wiring
from service.config.expected import example_of, expected, find, shape_of
from service.config.schema import Settings


@pytest.mark.parametrize(
    ("path", "words", "example"),
    [
        ("server.port", "a whole number from 0 to 65535", "8000"),
        ("fetch.total_seconds", "a number above 0", "10.0"),
        ("tracing.sample_ratio", "a number from 0 to 1", "1.0"),
        ("fetch.enabled", "true or false", "false"),
        ("log.level", "one of: debug, error, info, warning", "info"),
        ("log.format", "one of: auto, console, json", "auto"),
        ("server.cors_origins", "a list", '["https://app.example"]'),
        (
            "server.cors_origins[0]",
            "`*`, or an origin: scheme and host, without a path or a wildcard",
            "https://app.example",
        ),
        ("store.key_file", "a path", "/path/to/file"),
        ("licenses", "a list", '[{"id": "text"}]'),
        ("models.aliases", "a table", '{"name": "value"}'),
        ("server", "a table", '{"host": "text"}'),
    ],
)
def test_a_setting_is_described_with_an_example(path, words, example):
    shape, default = find(shape_of(Settings), path)
    assert (expected(shape), example_of(shape, default)) == (words, example)


@pytest.mark.parametrize("path", ["serve", "server.prot", "server.port.x", "server[0]", "licenses[0].kei"])
def test_an_unknown_path_has_no_description(path):
    assert find(shape_of(Settings), path)[0] is None


def test_the_settings_of_transports_are_described():
    shape, default = find(shape_of(wiring.TRANSPORTS["web"].config), "accounts[0].per_day[...]")
    assert (expected(shape), example_of(shape, default)) == ("a whole number from 1 to 100000", "1")
