import re
import tomllib

import msgspec
import pytest

from service import wiring
from service.settings import Origin, Settings, SettingsError, load, origin_of
from service.show import shown
from tests.conftest import ROOT
from transports.web import WebAccount, WebConfig

EXAMPLE = ROOT / "deploy" / "gateway.example.toml"


def file_with(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


def all_settings():
    """Return the example with every line in force."""
    return re.sub(r"(?m)^#(?=\S)", "", EXAMPLE.read_text().partition("\n\n")[2])


def test_the_example_changes_nothing_as_it_is():
    assert load(EXAMPLE, {}) == Settings()


def test_the_example_shows_every_setting_with_its_default(tmp_path):
    text = all_settings()
    settings = load(file_with(tmp_path, text), {})
    tree = tomllib.loads(text)
    plain = Settings()
    for section in ("server", "limits", "deadlines", "drain", "log"):
        assert getattr(settings, section) == getattr(plain, section)
        assert set(tree[section]) == set(msgspec.structs.asdict(getattr(plain, section)))
    assert tree["store"] == {"path": str(plain.store.path)}
    web = wiring.transport_settings(settings, Origin(name="x"))["web"]
    defaults = WebConfig()
    for name in set(WebConfig.__struct_fields__) - {"accounts"}:
        assert getattr(web, name) == getattr(defaults, name)
    optional = {"ca_file", "accounts"}
    assert set(tree["transports"]["web"]) == set(WebConfig.__struct_fields__) - optional | {"accounts"}
    secret_or_optional = {"cookies", "user_agent", "proxy"}
    assert set(tree["transports"]["web"]["accounts"][0]) == set(WebAccount.__struct_fields__) - secret_or_optional
    wiring.build_catalogue(settings, Origin(name="x"))


def test_the_environment_goes_before_the_file(tmp_path):
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
        ("[server]\nport = '8000'", {}, ["gateway.toml", "server.port", "int", "str"]),
        ("[server]\nport = 70000", {}, ["server.port", "65535"]),
        ("[server]\nprefix = 'x'", {}, ["server.prefix"]),
        ("[[licenses]]\nid = 'a'\nkei = 'b'", {}, ["licenses[0].kei", "unknown key", "key_file"]),
        ("[log]\nlevel = 'loud'", {}, ["log.level"]),
        ("x = [", {}, ["gateway.toml", "TOML"]),
        ("", {"GEMINI_GATEWAY__SERVER__PORT": "many"}, ["GEMINI_GATEWAY__SERVER__PORT", "server.port", "int"]),
        ("", {"GEMINI_GATEWAY__SERVER__PROT": "1"}, ["GEMINI_GATEWAY__SERVER__PROT", "server.prot", "unknown key"]),
        ("", {"GEMINI_GATEWAY__SERVER__": "1"}, ["GEMINI_GATEWAY__SERVER__"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_what_was_expected(tmp_path, text, environment, words):
    with pytest.raises(SettingsError) as caught:
        load(file_with(tmp_path, text), environment)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


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
    for output in (shown(settings, configs), repr(settings.licenses), repr(configs)):
        assert "secret" not in output
    assert shown(settings, configs).count("***") == 3


def test_what_is_shown_can_be_read_again(tmp_path):
    again = load(file_with(tmp_path, shown(Settings(), {})), {})
    assert msgspec.structs.replace(again, store=Settings().store) == Settings()
    assert again.store.path.name == "gateway.sqlite3"


def test_the_operators_models_need_no_code(tmp_path):
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
    assert catalogue.model("gemini-3-pro").upstream == {"web": "mine"}


def test_models_that_contradict_each_other_are_named(tmp_path):
    settings = load(file_with(tmp_path, '[models.aliases]\nx = "nothing"\n'), {})
    with pytest.raises(SettingsError, match="nothing"):
        wiring.build_catalogue(settings, Origin(name="x"))
