"""`config check` and `serve` call the same function, so they refuse the same settings."""

import pytest

from service.cli.check import check
from service.config.schema import SettingsError, load, origin_of

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
        (WEB + '[[licenses]]\nid = "a"\nkey = "key-number-1"\n' * 2, ["licenses[1]", "'a' occurs twice"]),
        (
            WEB + '[[licenses]]\nid = "a"\nkey = "same-key-1"\n[[licenses]]\nid = "b"\nkey = "same-key-1"\n',
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

    monkeypatch.setattr("service.cli.check.os.access", may)


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path, modes_hold):
    (tmp_path / "shut").mkdir(mode=0o500)
    check_file(tmp_path, WEB)
    for store in ("shut/x.sqlite3", "shut/deeper/x.sqlite3"):
        with pytest.raises(SettingsError, match=r"store\.path: .*no permission to write to .*shut;"):
            check_file(tmp_path, WEB, store)
    with pytest.raises(SettingsError, match=r"media\.cache_dir: .*no permission to write to .*shut;"):
        check_file(tmp_path, WEB + '[media]\ncache_dir = "shut/media"')
