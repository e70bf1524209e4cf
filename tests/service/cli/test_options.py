from pathlib import Path

import pytest

from service.cli.options import CONFIG_VARIABLE, settings_at, store_path_of, with_store
from service.config.loader import SettingsError
from transports.store.port import ACCOUNTS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GEMINI_GATEWAY_CONFIG", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_settings_file_of_the_folder_is_used_if_there_is_one(folder):
    assert settings_at(None)[0] is None
    (folder / "gateway.toml").write_text("[server]\nport = 9000\n")
    path, settings, origin = settings_at(None)
    assert (path, settings.server.port, origin.name) == (Path("gateway.toml"), 9000, "gateway.toml")
    (folder / "other.toml").write_text("[server]\nport = 9001\n")
    assert settings_at(Path("other.toml"))[1].server.port == 9001


def test_the_store_is_next_to_the_settings_or_in_the_state_folder_of_the_user(folder, monkeypatch):
    _, settings, _ = settings_at(None)
    assert store_path_of(settings, Path("deep/gateway.toml")) == folder / "deep" / "gateway.sqlite3"
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert store_path_of(settings, None) == Path("/state/gemini-gateway/gateway.sqlite3")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert store_path_of(settings, None) == Path("/home/someone/.local/state/gemini-gateway/gateway.sqlite3")


def test_work_on_the_store_returns_its_result_and_a_broken_store_is_named(folder):
    _, settings, origin = settings_at(None)
    path = folder / "gateway.sqlite3"

    async def keys(store):
        return [record.key for record in await store.records.scan(ACCOUNTS)]

    assert with_store(settings, origin, path, keys) == []
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(SettingsError, match=r"store\.path: .*not a database"):
        with_store(settings, origin, path, keys)


def test_blanks_around_the_path_in_the_environment_do_not_matter(command, tmp_path):
    done = command("config", "show", env={CONFIG_VARIABLE: f" {tmp_path / 'gateway.toml'}\r\n"})
    assert done.returncode == 0, done.stderr
