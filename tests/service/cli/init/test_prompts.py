import click
import pytest
from click.testing import CliRunner

from service.cli.init.prompts import Answers

HEADER = "__Secure-1PSID=canary; __Secure-1PSIDTS=canary"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("GEMINI_GATEWAY_PSID", "GEMINI_GATEWAY_PSIDTS", "GEMINI_GATEWAY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def answer(question, typed="", *, asks=True, replaces=False):
    """Return the result of a method of `Answers` for this input, and the output."""
    with CliRunner().isolation(input=typed) as (out, *_):
        return question(Answers(asks=asks, replaces=replaces)), out.getvalue().decode()


def given(typed="", *, name=None, files=(), asks=False):
    """Return the names and credentials of the accounts."""
    accounts, output = answer(lambda answers: answers.accounts(name, files), typed, asks=asks)
    assert "canary" not in output + repr(accounts)
    return [(one.id, one.secret) for one in accounts]


def test_a_folder_gets_the_default_file_name(folder):
    (folder / "deep").mkdir()
    path, _ = answer(lambda answers: answers.path(folder / "deep"))
    assert path == folder / "deep" / "gateway.toml"


def test_existing_settings_are_replaced_only_with_consent(folder):
    path = folder / "gateway.toml"
    path.write_text("mine")
    assert answer(lambda answers: answers.path(path), "y\n")[0] == path
    assert answer(lambda answers: answers.path(path), replaces=True)[0] == path
    with pytest.raises(click.Abort):
        answer(lambda answers: answers.path(path), "n\n")
    with pytest.raises(click.ClickException, match="use --replace"):
        answer(lambda answers: answers.path(path), asks=False)


def test_without_prompts_an_account_must_be_given():
    with pytest.raises(click.UsageError, match="--simulator or --cookies-file"):
        answer(lambda answers: answers.accounts(None, []), asks=False)


def test_the_session_can_come_from_a_file_or_the_environment(folder, monkeypatch):
    (folder / "cookies").write_text(HEADER)
    assert given(name="mine", files=[folder / "cookies"]) == [("mine", HEADER)]
    monkeypatch.setenv("GEMINI_GATEWAY_PSID", "canary")
    monkeypatch.setenv("GEMINI_GATEWAY_PSIDTS", "canary-ts")
    assert given() == [("first", "canary\ncanary-ts")]


def test_without_an_account_the_simulator_is_used():
    assert answer(lambda answers: answers.accounts(None, []), "nothing\n")[0] == ()


def test_an_invalid_license_name_is_prompted_for_again():
    name, output = answer(lambda answers: answers.license(None), "a b\nteam\n")
    assert name == "team"
    assert "a license's id is" in output


@pytest.mark.parametrize(("asks", "replaces", "typed", "may"), [
    (True, False, "y\n", True),
    (True, False, "n\n", False),
    (True, True, "", True),
    (False, True, "", True),
    (False, False, "", False),
])  # fmt: skip
def test_the_session_of_an_existing_account_is_replaced_only_with_consent(asks, replaces, typed, may):
    assert answer(lambda answers: answers.may_change("first"), typed, asks=asks, replaces=replaces)[0] is may


def test_a_key_is_prompted_for_until_it_has_the_form_of_one():
    assert given("key\ncanary\nAIza-canary\n", name="mine", asks=True) == [("mine", "AIza-canary")]


def test_a_key_can_come_from_the_environment_or_a_file(folder, monkeypatch):
    (folder / "key").write_text("AIza-canary-1\n")
    assert given(files=[folder / "key"]) == [("first", "AIza-canary-1")]
    monkeypatch.setenv("GEMINI_GATEWAY_API_KEY", "AIza-canary-2")
    assert given() == [("first", "AIza-canary-2")]


def test_both_ways_come_from_files_the_environment_or_prompts(folder, monkeypatch):
    (folder / "cookies").write_text(HEADER)
    (folder / "key").write_text("AIza-canary-1\n")
    both = [("first", HEADER), ("first-key", "AIza-canary-1")]
    assert given(files=[folder / "cookies", folder / "key"]) == both
    typed = "both\ncookies\nAIza-canary-1\n"
    assert [name for name, _ in given(typed, name="me", asks=True)] == ["me", "me-key"]
    monkeypatch.setenv("GEMINI_GATEWAY_PSID", "canary")
    monkeypatch.setenv("GEMINI_GATEWAY_API_KEY", "AIza-canary-2")
    assert given() == [("first", "canary"), ("first-key", "AIza-canary-2")]


def test_two_credentials_of_one_kind_are_refused(folder):
    (folder / "key").write_text("AIza-canary-1\n")
    with pytest.raises(click.ClickException, match="of the same kind"):
        answer(lambda answers: answers.accounts(None, [folder / "key"] * 2), asks=False)
