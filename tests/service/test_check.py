"""`config check` and `serve` call the same function, so they refuse the same settings."""

import pytest

from service.check import check, exposed_files, hops_without_accounts, unmatched_models
from service.config.schema import SettingsError, load, origin_of
from service.server.hypercorn import listen
from transports.accounts.registry import AccountRecord

WEB = "[transports.web]\n"
ACCOUNT = '[[transports.web.accounts]]\nid = "{}"\n{}\n'
COOKIES = 'cookies = "__Secure-1PSID=abc"'


def check_file(tmp_path, text, store="gateway.sqlite3"):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    check(load(path, {}), origin_of(path), tmp_path / store)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["transports", "no upstream"]),
        (WEB + ACCOUNT.format("first", 'cookies_file = "nowhere.cookies"'), ["transports.web", "first", "nowhere"]),
        (WEB + 'ca_file = "nowhere.pem"', ["transports.web", "ca_file", "nowhere.pem"]),
        (WEB + ACCOUNT.format("a", COOKIES) * 2, ["'a'"]),
        (WEB + '[[licenses]]\nid = "a"\nkey_file = "nowhere.key"', ["licenses[0].key_file", "nowhere.key", "No such"]),
        (WEB + '[[licenses]]\nid = "a"\nkey = "short"', ["licenses[0]", "8 to 256"]),
        (WEB + '[[licenses]]\nid = "a"\nkey = "B7tq-Wm2x-9Lzv-key-1"\n' * 2, ["licenses[1]", "'a' occurs twice"]),
        (
            WEB
            + '[[licenses]]\nid = "a"\nkey = "kP3xZr8w5Td-key-1"\n[[licenses]]\nid = "b"\nkey = "kP3xZr8w5Td-key-1"\n',
            ["licenses[1]", "the key of the license 'a'"],
        ),
        (WEB + '[models.aliases]\nx = "nowhere"', ["models", "nowhere"]),
        (WEB + '[models.upstream.gemini-3-pro]\nwebb = "x"', ["models.upstream.gemini-3-pro.webb", "web"]),
        (WEB + '[media]\nkey_file = "nowhere.key"', ["media.key_file", "nowhere.key"]),
        (WEB + '[fetch]\ndeny = ["10.0.0.0/99"]', ["fetch.deny", "10.0.0.0/99"]),
        (WEB + '[server]\npublic_url = "https://h:99999"', ["server.public_url"]),
        (WEB + '[server]\npublic_url = "https://[::1"', ["server.public_url"]),
        (WEB + '[media]\ncache_dir = "gateway.toml"', ["media.cache_dir", "not a folder"]),
        (WEB + '[store]\nkey_file = "nowhere.key"', ["store.key_file", "nowhere.key", "No such"]),
        (WEB + '[store]\nold_key_files = ["nowhere.key"]', ["store.old_key_files", "nowhere.key"]),
        (WEB + '[store]\nurl = "redis://h"\nurl_file = "u"', ["store.url", "store.url_file"]),
        (WEB + '[store]\nurl = "redis://h:key-1"', ["store.url", "redis://"]),
    ],
)
def test_settings_that_serve_refuses_are_named_in_one_line(tmp_path, text, words):
    with pytest.raises(SettingsError) as caught:
        check_file(tmp_path, text)
    message = str(caught.value)
    assert all(word in message for word in ("gateway.toml", *words)), message
    assert "\n" not in message
    assert "key-1" not in message


def test_an_invalid_store_is_named_and_nothing_is_created(tmp_path):
    (tmp_path / "broken.sqlite3").write_text("this is no database at all")
    for store, words in (
        ("broken.sqlite3", "is not a database"),
        ("gateway.toml/x.sqlite3", "is not a folder"),
        (".", "Is a directory"),
    ):
        with pytest.raises(SettingsError, match=f"store\\.path: .*{words}"):
            check_file(tmp_path, WEB, store)
    check_file(tmp_path, WEB, "deep/er/new.sqlite3")
    assert not (tmp_path / "deep").exists()


@pytest.fixture
def modes_hold(monkeypatch):
    """Make `os.access` follow the mode of a folder, also for root."""

    def may(path, wanted):
        return path.stat().st_mode >> 6 & wanted == wanted

    monkeypatch.setattr("service.check.os.access", may)


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path, modes_hold):
    (tmp_path / "shut").mkdir(mode=0o500)
    check_file(tmp_path, WEB)
    for store in ("shut/x.sqlite3", "shut/deeper/x.sqlite3"):
        with pytest.raises(SettingsError, match=r"store\.path: .*no permission to write to .*shut;"):
            check_file(tmp_path, WEB, store)
    with pytest.raises(SettingsError, match=r"media\.cache_dir: .*no permission to write to .*shut;"):
        check_file(tmp_path, WEB + '[media]\ncache_dir = "shut/media"')


STRONG = "sk-k3VxZ9qLwT7mPb2R"
SIMULATED = (
    '[transports.web.hosts]\nsite = "http://127.0.0.1:1"\naccounts = "http://[::1]:1"\nupload = "http://localhost:1"\n'
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[licenses]]\nid = "a"\nkey = "{}"\n', "licenses[0]: the key"),
        ('[[licenses]]\nid = "a"\nkey_file = "secret"\n', "licenses[0]: the key"),
        ('[store]\nkey_file = "secret"\n', "store.key_file"),
        ('[media]\nkey_file = "secret"\n', "media.key_file"),
        ('[[admin.tokens]]\nname = "a"\ntoken_file = "secret"\n', "admin.tokens[0]"),
    ],
)
@pytest.mark.parametrize("secret", ["changeme" * 5, "sk-gg-..." * 4, "a" * 40, "0123456789abcdef" * 2])
def test_a_secret_that_can_be_guessed_opens_only_a_simulator(tmp_path, text, words, secret):
    (tmp_path / "secret").write_text(secret)
    with pytest.raises(SettingsError) as caught:
        check_file(tmp_path, WEB + text.format(secret))
    assert words in str(caught.value)
    assert "openssl rand" in str(caught.value)
    assert secret not in str(caught.value)
    if "admin" not in text:
        check_file(tmp_path, SIMULATED + text.format(secret))
        check_file(tmp_path, "[transports.simulator]\n" + text.format(secret))


def test_an_old_key_may_be_weak_so_that_it_can_be_replaced(tmp_path):
    (tmp_path / "old").write_text("a" * 40)
    check_file(tmp_path, WEB + '[store]\nold_key_files = ["old"]\n')


def exposed(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return exposed_files(load(path, {}), origin_of(path))


def test_secret_files_that_everybody_may_read_are_named(tmp_path):
    for name in ("open", "shut"):
        (tmp_path / name).write_text(STRONG * 2)
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "shut").chmod(0o440)
    text = WEB + '[[licenses]]\nid = "a"\nkey_file = "{0}"\n[store]\nkey_file = "{0}"\nold_key_files = ["{0}"]\n'
    text += '[[transports.web.accounts]]\nid = "one"\ncookies_file = "{0}"\n'
    assert exposed(tmp_path, text.format("shut")) == []
    names = ["licenses[0].key_file", "store.key_file", "store.old_key_files", "transports.web.accounts"]
    assert exposed(tmp_path, text.format("open")) == [f"{name}: {tmp_path / 'open'}" for name in names]


@pytest.mark.parametrize(
    "text", ['[[licenses]]\nid = "a"\nkey = "x"\n', ACCOUNT.format("a", COOKIES), '[store]\nurl = "redis://a:b@h"\n']
)
def test_settings_with_secrets_that_everybody_may_read_are_named(tmp_path, text):
    (tmp_path / "gateway.toml").touch(0o644)
    assert exposed(tmp_path, WEB + text) == [f"the settings file: {tmp_path / 'gateway.toml'}"]
    (tmp_path / "gateway.toml").chmod(0o600)
    assert exposed(tmp_path, WEB + text) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "::", "[::]", "0.0.0.0", "localhost"])
def test_an_address_to_listen_on_is_accepted(tmp_path, host):
    check_file(tmp_path, WEB + f'[server]\nhost = "{host}"\nport = 0\n')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[server]\nhost = "127.0.0.1:8000"', "server.host: expected an address without a port; set server.port"),
        ('[server]\nhost = "[::1]:8000"', "server.host: expected an address without a port"),
        ('[server]\nhost = ":8000"', "server.host: expected an address without a port"),
        ('[server]\nhost = "192.0.2.1"', "server: cannot listen on 192.0.2.1:8000"),
        ('[server]\nhost = "nowhere.invalid"', "server: cannot listen on nowhere.invalid"),
        ("[server]\nport = 9\n[operations]\nport = 9", "server.port: 9 is the port of operations already"),
        ('[server]\nhost = "::"\nport = 9\n[operations]\nport = 9', "server.port: 9 is the port of operations"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(tmp_path, text, words):
    with pytest.raises(SettingsError) as caught:
        check_file(tmp_path, f"{WEB}{text}\n")
    assert words in str(caught.value)


def test_a_port_in_use_is_not_a_wrong_setting(tmp_path):
    with listen("127.0.0.1", 0, 1) as other:
        check_file(tmp_path, WEB + f"[server]\nport = {other.getsockname()[1]}\n")


def test_a_license_for_no_model_is_named(tmp_path):
    (tmp_path / "gateway.toml").write_text(
        '[models.aliases]\nown = "gemini-3-pro"\n[transports.simulator]\n[[licenses]]\nid = "a"\nkey = "sk-k"\n'
        'models = ["gemini-3-*", "own-video", "google/gemini-3-pro", "GEMINI-*", "gemini-2.5-pro"]\n'
    )
    origin = origin_of(tmp_path / "gateway.toml")
    found = unmatched_models(load(origin.path, {}), origin)
    assert found == ["licenses[0].models: 'google/gemini-3-pro'", "licenses[0].models: 'GEMINI-*'"]


def test_hops_of_routes_without_accounts_are_named(tmp_path):
    (tmp_path / "gateway.toml").write_text(
        '[transports.web]\n[transports.api]\n[[transports.api.accounts]]\nid = "k"\nkey = "AIzaOfTheCheck-0"\n'
        '[[routes]]\ntools = true\nto = ["api:free", "api"]\n[[routes]]\nto = [{"api:paid" = 1, web = 2}, "api:free"]\n'
    )
    origin = origin_of(tmp_path / "gateway.toml")
    settings = load(origin.path, {})
    assert hops_without_accounts(settings, origin, ()) == ["routes[1].to: 'api:paid'", "routes[1].to: 'web'"]
    added = AccountRecord(
        id="p", transport="api", secret="AIzaOfTheCheck-1", options={"tier": "paid"}, created=0.0, by="x"
    )
    assert hops_without_accounts(settings, origin, [added]) == ["routes[1].to: 'web'"]
