import re
import tomllib
from typing import get_args

import msgspec
import pytest

from service import wiring
from service.cli.config_dump import shown
from service.config.schema import Origin, Settings, SettingsError, load, origin_of
from tests.conftest import ROOT

EXAMPLE = ROOT / "deploy" / "gateway.example.toml"


def file_with(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


def all_settings():
    """Return the example with every line uncommented."""
    return re.sub(r"(?m)^#(?=\S)", "", EXAMPLE.read_text().partition("\n\n")[2])


def test_the_example_has_the_default_settings():
    assert load(EXAMPLE, {}) == Settings()


def differences(section, tree, path=""):
    """Yield every key of a section's Struct that a tree lacks, or shows with another value than its default."""
    for field in msgspec.structs.fields(section):
        place = f"{path}.{field.encode_name}".lstrip(".")
        if field.encode_name not in tree:
            yield f"{place} is missing"
            continue
        shown = tree[field.encode_name]
        inner = next((kind for kind in (field.type, *get_args(field.type)) if hasattr(kind, "__struct_fields__")), None)
        if inner is not None:
            yield from differences(inner, shown[0] if isinstance(shown, list) else shown, place)
            continue
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        plain = msgspec.to_builtins(default, enc_hook=str) if default is not msgspec.NODEFAULT else None
        free = plain is None or plain in ("", (), [], {})
        if not free and shown != (list(plain) if isinstance(plain, tuple) else plain):
            yield f"{place} is {shown!r}, by default {plain!r}"


def test_the_example_shows_every_setting_with_its_default(tmp_path):
    text = all_settings()
    tree = tomllib.loads(text)
    assert list(differences(Settings, tree)) == []
    for name, kind in wiring.TRANSPORTS.items():
        assert list(differences(kind.config, tree["transports"][name], f"transports.{name}")) == []
    settings = load(file_with(tmp_path, text), {})
    wiring.build_catalogue(settings, Origin(name="x"))
    for name, section in settings.transports.items():
        alone = msgspec.structs.replace(settings, transports={name: section})
        assert list(wiring.transport_settings(alone, Origin(name="x"))) == [name]


def test_the_environment_takes_precedence_over_the_file(tmp_path):
    path = file_with(tmp_path, "[server]\nport = 1\nworkers = 3\n")
    environment = {
        "GEMINI_GATEWAY__SERVER__PORT": "9000",
        "GEMINI_GATEWAY__LOG__PROMPTS": "true",
        "GEMINI_GATEWAY__LICENSES": '[{"id": "a", "key": "12345678"}]',
        "GEMINI_GATEWAY__TRANSPORTS__WEB__GUEST": "false",
        "GEMINI_GATEWAY_CONFIG": "not a setting",
        "HOME": "/",
    }
    settings = load(path, environment)
    assert (settings.server.port, settings.server.workers, settings.log.prompts) == (9000, 3, True)
    assert settings.licenses[0].key == "12345678"
    web = wiring.transport_settings(settings, origin_of(path))["web"]
    assert web.guest is False


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("[server]\nprot = 1", {}, ["gateway.toml", "server.prot", "unknown key", "host, port"]),
        ("[serve]\n", {}, ["gateway.toml", "serve", "unknown key", "server"]),
        ("[server]\nport = '8000'", {}, ["gateway.toml", "server.port", "a whole number from 0 to 65535", "8000"]),
        ("[server]\nport = 70000", {}, ["server.port", "65535"]),
        ("[server]\nprefix = 'x'", {}, ["server.prefix"]),
        ("[[licenses]]\nid = 'a'\nkei = 'b'", {}, ["licenses[0].kei", "unknown key", "key_file"]),
        ("[log]\nlevel = 'loud'", {}, ["log.level"]),
        ("x = [", {}, ["gateway.toml", "TOML"]),
        (
            "",
            {"GEMINI_GATEWAY__SERVER__PORT": "many"},
            ["server.port", "a whole number", "example GEMINI_GATEWAY__SERVER__PORT=8000"],
        ),
        ("", {"GEMINI_GATEWAY__SERVER__PROT": "1"}, ["GEMINI_GATEWAY__SERVER__PROT", "server.prot", "unknown key"]),
        ("", {"GEMINI_GATEWAY__SERVER__": "1"}, ["GEMINI_GATEWAY__SERVER__"]),
        ("", {"GEMINI_GATEWAY__SERVER__PORT__X": "1"}, ["GEMINI_GATEWAY__SERVER__PORT__X", "server.port", "number"]),
        (
            "",
            {"GEMINI_GATEWAY__LICENSES": '[{"key": "x"}]'},
            ["GEMINI_GATEWAY__LICENSES", "licenses[0].id", "required"],
        ),
        ("[server]\ncors_origins = ['example.com']", {}, ["server.cors_origins[0]"]),
        ("[server]\nprefix = '/x\\ny'".replace("'", '"'), {}, ["server.prefix"]),
        ('[server]\npublic_url = "https://x\\ny"', {}, ["server.public_url"]),
        ("[server]\npublic_url = 'https://x/a//b'", {}, ["server.public_url"]),
        ("[server]\npublic_url = 'https://x/../b'", {}, ["server.public_url"]),
        ("[server]\npublic_url = 'https://x/a?b'", {}, ["server.public_url"]),
        ("[server]\npublic_url = 'https://u@x/a'", {}, ["server.public_url"]),
        ("[[licenses]]\nid = 'a'\nfeatures = ['x']", {}, ["licenses[0].features[0]", "one of: chat, images"]),
    ],
)
def test_an_invalid_setting_is_named_with_the_expected_value(tmp_path, text, environment, words):
    with pytest.raises(SettingsError) as caught:
        load(file_with(tmp_path, text), environment)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GEMINI_GATEWAY__TRANSPORTS__WEB__GUEST", "maybe", ["transports.web.guest", "true or false"]),
        ("GEMINI_GATEWAY__TRANSPORTS__WEB__GUESTS", "true", ["transports.web.guests", "unknown key"]),
        ("GEMINI_GATEWAY__TRANSPORTS__WEB__ACCOUNTS", '[{"idd": "x"}]', ["transports.web.accounts[0].idd"]),
        ("GEMINI_GATEWAY__TRANSPORTS__WEBB__GUEST", "true", ["transports.webb", "unknown transport"]),
    ],
)
def test_an_invalid_variable_of_a_transport_is_named_and_not_the_file(tmp_path, variable, value, words):
    path = file_with(tmp_path, "[transports.web]\nguest_concurrency = 3\n")
    environment = {variable: value, "GEMINI_GATEWAY__LOG__LEVEL": "info"}
    settings = load(path, environment)
    with pytest.raises(SettingsError) as caught:
        wiring.transport_settings(settings, origin_of(path, environment))
    assert all(word in str(caught.value) for word in (variable, *words)), caught.value
    assert "gateway.toml" not in str(caught.value)


def test_an_error_in_the_file_does_not_name_a_variable(tmp_path):
    path = file_with(tmp_path, "[transports.web]\nguests = true\n")
    environment = {"GEMINI_GATEWAY__TRANSPORTS__WEB__GUEST": "true"}
    with pytest.raises(SettingsError, match=r"gateway\.toml: transports\.web\.guests"):
        wiring.transport_settings(load(path, environment), origin_of(path, environment))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.toml: cannot be read"):
        load(tmp_path / "nowhere.toml", {})


def test_relative_paths_are_relative_to_the_file(tmp_path):
    path = file_with(tmp_path, '[store]\npath = "deep/x.sqlite3"\n[[licenses]]\nid = "a"\nkey_file = "/abs"\n')
    settings = load(path, {})
    assert settings.store.path == tmp_path / "deep" / "x.sqlite3"
    assert str(settings.licenses[0].key_file) == "/abs"


def test_secrets_are_never_shown(tmp_path):
    text = """
    [[licenses]]
    id = "a"
    key = "license-secret-1"
    [transports.web]
    [[transports.web.accounts]]
    id = "one"
    cookies = "__Secure-1PSID=cookie-secret-2"
    proxy = "http://user:proxy-secret-3@host"
    """
    settings = load(file_with(tmp_path, text), {})
    configs = wiring.transport_settings(settings, Origin(name="x"))
    for output in (shown(settings, configs), repr(settings), repr(settings.licenses), repr(configs)):
        assert "secret" not in output
    assert shown(settings, configs).count("***") == 3


def test_credentials_of_the_store_and_the_admin_api_are_not_shown(tmp_path):
    text = """
    [store]
    url = "rediss://gateway:secret-1@store.example:6379/0"
    [[admin.tokens]]
    name = "ops"
    token = "secret-2"
    """
    settings = load(file_with(tmp_path, text), {})
    for output in (shown(settings, {}), repr(settings), repr(settings.store), repr(settings.admin)):
        assert "secret" not in output
    assert 'url = "rediss://gateway:***@store.example:6379/0"' in shown(settings, {})


def test_each_transport_declares_its_secret_settings(tmp_path):
    text = """
    [transports.simulator]
    [[transports.simulator.accounts]]
    psid = "cookie-secret-1"
    psidts = "cookie-secret-2"
    """
    configs = wiring.transport_settings(load(file_with(tmp_path, text), {}), Origin(name="x"))
    output = shown(Settings(), configs)
    assert "secret" not in output
    assert output.count("***") == 2
    assert wiring.TRANSPORTS["web"].secrets == {"cookies", "proxy"}


def test_account_names_must_be_unique(tmp_path):
    text = "[transports.web]\n" + '[[transports.web.accounts]]\nid = "one"\ncookies = "x"\n' * 2
    with pytest.raises(SettingsError, match="two accounts have the id 'one'"):
        wiring.transport_settings(load(file_with(tmp_path, text), {}), Origin(name="x"))


def test_shown_settings_can_be_loaded(tmp_path):
    again = load(file_with(tmp_path, shown(Settings(), {})), {})
    assert msgspec.structs.replace(again, store=Settings().store, usage=Settings().usage) == Settings()
    assert again.store.path.name == "gateway.sqlite3"
    assert again.usage.path.name == "usage.sqlite3"


def test_operators_can_add_models_in_the_settings(tmp_path):
    text = """
    [[models.add]]
    id = "house-pro"
    family = "pro"
    [models.aliases]
    gpt-4o = "gemini-3-pro"
    [models.upstream.gemini-3-pro]
    web = "mine"
    """
    catalogue = wiring.build_catalogue(load(file_with(tmp_path, text), {}), Origin(name="x"))
    assert catalogue.resolve("house-pro-video").model.id == "house-pro"
    assert catalogue.resolve("gpt-4o-canvas").id == "gemini-3-pro-canvas"
    assert catalogue.resolve("gemini-3-pro").model.upstream == {"web": "mine"}


def test_models_that_contradict_each_other_are_named(tmp_path):
    settings = load(file_with(tmp_path, '[models.aliases]\nx = "nothing"\n'), {})
    with pytest.raises(SettingsError, match="nothing"):
        wiring.build_catalogue(settings, Origin(name="x"))


@pytest.mark.parametrize(
    "text",
    [
        '[models.upstream.gemini-3-pro]\nwebb = "x"\n',
        '[[models.add]]\nid = "a"\nfamily = "pro"\nupstream = {webb = "x"}\n',
    ],
)
def test_a_misspelt_transport_of_a_models_upstream_is_named(tmp_path, text):
    settings = load(file_with(tmp_path, text), {})
    with pytest.raises(SettingsError, match=r"models\..*\.webb: unknown transport; expected one of: web"):
        wiring.build_catalogue(settings, Origin(name="x"))


@pytest.mark.parametrize("name", ["模型", "a b"])
def test_a_model_name_that_no_header_can_hold_is_named(tmp_path, name):
    settings = load(file_with(tmp_path, f'[models.aliases]\n"{name}" = "gemini-3-pro"\n'), {})
    with pytest.raises(SettingsError, match=name):
        wiring.build_catalogue(settings, Origin(name="x"))
