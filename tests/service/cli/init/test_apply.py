import pytest

from service.cli.init.apply import apply
from service.cli.init.plan import SetupPlan
from service.config.loader import SettingsError


def files(folder):
    return {path.name for path in folder.rglob("*")}


@pytest.fixture
def plan(tmp_path):
    return SetupPlan(path=tmp_path / "gateway.toml", license="team")


def test_a_plan_is_applied_completely(plan, tmp_path):
    result = apply(plan, "me", lambda _: False)
    assert (result.license, result.previous) == ("team", None)
    assert result.key.startswith("sk-gg-")
    assert result.key not in repr(result)
    assert {"gateway.toml", "gateway.key", "gateway.sqlite3"} <= files(tmp_path)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in files(tmp_path)} == {0o600}


def test_a_second_setup_keeps_the_first_as_a_backup_and_numbers_its_license(plan, tmp_path):
    key = apply(plan, "me", lambda _: False).key
    again = apply(plan, "me", lambda _: False)
    assert (again.license, again.previous) == ("team-2", tmp_path / "gateway.toml.old")
    assert again.key != key


def test_an_error_restores_all_files(plan, tmp_path, monkeypatch):
    (tmp_path / "gateway.toml").write_text("mine")
    monkeypatch.setenv("GEMINI_GATEWAY__SERVER__PORT", "x")
    with pytest.raises(SettingsError, match=r"server\.port"):
        apply(plan, "me", lambda _: False)
    assert files(tmp_path) == {"gateway.toml"}
    assert (tmp_path / "gateway.toml").read_text() == "mine"


def test_created_folders_are_removed_after_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("GEMINI_GATEWAY__SERVER__PORT", "x")
    with pytest.raises(SettingsError):
        apply(SetupPlan(path=tmp_path / "new" / "deep" / "gateway.toml"), "me", lambda _: False)
    assert files(tmp_path) == set()
