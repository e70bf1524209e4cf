"""Which model of the API is asked for a model of the catalogue."""

import pytest

from protocol.model import Catalogue
from transports.generate_content.models import DEFAULTS, choose

LISTED = {"gemini-3.8-flash", "gemini-3.6-flash", "gemini-3.1-pro-preview", "gemini-flash-latest"}
CATALOGUE = Catalogue.build(upstream={"gemini-2.5-flash": {"api": "own"}})


def asked(name, listed=LISTED, config=()):
    return choose(CATALOGUE.resolve(name), "api", dict(config), listed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemini-3.8-flash", "gemini-3.8-flash"),
        ("models/gemini-3.6-flash", "gemini-3.6-flash"),
        ("gemini-3.1-pro-preview", "gemini-3.1-pro-preview"),
        ("gemini-3.7-flash", DEFAULTS["flash"]),
        ("gemini-3-pro", DEFAULTS["pro"]),
        ("gemini-2.5-pro", DEFAULTS["pro"]),
        ("gemini-2.5-flash", "own"),
        ("gemini-3-pro-imagen", DEFAULTS["pro-imagen"]),
    ],
)
def test_a_listed_model_is_asked_by_its_name_and_the_newest_in_place_of_others(name, expected):
    assert asked(name) == expected


def test_settings_of_the_transport_replace_the_newest():
    assert asked("gemini-3.8-flash", config={"flash": "gemini-flash-latest"}) == "gemini-flash-latest"
    assert asked("gemini-3.8-flash", listed=()) == DEFAULTS["flash"]
