"""Transports and models of the settings."""

import pytest

from service.config.schema import SettingsError, load, origin_of
from service.wiring import build_catalogue, check_transports, transport_settings


def settings_of(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return load(path, {}), origin_of(path)


def test_transports_keep_the_order_of_the_settings(tmp_path):
    settings, origin = settings_of(tmp_path, "[transports.simulator]\n")
    assert list(transport_settings(settings, origin)) == ["simulator"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[transports.other]\n", r"transports.other: unknown transport; expected one of: web, api, vertex, simulator"),
        ("[transports.web]\nother = 1\n", r"transports.web.other: unknown key"),
        ("[transports.simulator]\n[transports.web]\n", r"simulator: cannot be combined with other transports"),
        (
            '[[transports.web.accounts]]\nid = "a"\ncookies = "x"\n' * 2,
            r"two accounts have the id 'a'",
        ),
    ],
)
def test_contradictory_transports_are_refused_by_name(tmp_path, text, message):
    settings, origin = settings_of(tmp_path, text)
    with pytest.raises(SettingsError, match=message):
        transport_settings(settings, origin)


def test_a_gateway_without_a_transport_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no upstream is configured"):
        check_transports(*settings_of(tmp_path, ""))


def test_a_transport_that_cannot_be_connected_is_refused_by_name(tmp_path):
    text = '[[transports.web.accounts]]\nid = "a"\ncookies_file = "nowhere"\n'
    with pytest.raises(SettingsError, match=r"transports.web: account 'a': .*nowhere cannot be read: No such file"):
        check_transports(*settings_of(tmp_path, text))


def test_the_catalogue_contains_the_aliases_of_the_settings(tmp_path):
    catalogue = build_catalogue(*settings_of(tmp_path, '[models.aliases]\nmine = "gemini-3-pro"\n'))
    assert catalogue.resolve("mine").model == catalogue.resolve("gemini-3-pro").model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[models.aliases]\nmine = "nothing"\n', "models: "),
        ('[models.upstream.gemini-3-pro]\nother = "x"\n', r"models.upstream.gemini-3-pro.other: unknown transport"),
    ],
)
def test_contradictory_models_are_refused(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        build_catalogue(*settings_of(tmp_path, text))
