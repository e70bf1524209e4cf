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
        answer(lambda answers: answers.account(None, None), asks=False)


def test_the_session_can_come_from_a_file_or_the_environment(folder, monkeypatch):
    (folder / "cookies").write_text(HEADER)
    assert answer(lambda answers: answers.account("mine", folder / "cookies"), asks=False)[0] == ("mine", HEADER)
    monkeypatch.setenv("GEMINI_GATEWAY_PSID", "canary")
    monkeypatch.setenv("GEMINI_GATEWAY_PSIDTS", "canary-ts")
    assert answer(lambda answers: answers.account(None, None), asks=False)[0] == ("first", "canary\ncanary-ts")


def test_without_an_account_the_simulator_is_used():
    assert answer(lambda answers: answers.account(None, None), "nothing\n")[0] is None


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
    account, output = answer(lambda answers: answers.account("mine", None), "key\ncanary\nAIza-canary\n")
    assert account == ("mine", "AIza-canary")
    assert "canary" not in output


def test_a_key_can_come_from_the_environment_or_a_file(folder, monkeypatch):
    (folder / "key").write_text("AIza-canary-1\n")
    assert answer(lambda answers: answers.account(None, folder / "key"), asks=False)[0] == ("first", "AIza-canary-1")
    monkeypatch.setenv("GEMINI_GATEWAY_API_KEY", "AIza-canary-2")
    assert answer(lambda answers: answers.account(None, None), asks=False)[0] == ("first", "AIza-canary-2")
