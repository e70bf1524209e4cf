import tomllib
from pathlib import Path

import pytest

from service.cli.init.plan import (
    SetupAccount,
    SetupPlan,
    account_problem,
    settings_text,
    store_section,
    valid_account_name,
)

HEADER, KEY = "__Secure-1PSID=canary; __Secure-1PSIDTS=canary", "AIza-canary-key"


def accounts(*secrets):
    return tuple(SetupAccount(id=f"a{number}", secret=secret) for number, secret in enumerate(secrets))


def test_a_plan_hides_its_session():
    assert "canary" not in repr(SetupPlan(path=Path("gateway.toml"), accounts=accounts(HEADER)))


@pytest.mark.parametrize(
    ("text", "section"),
    [
        (None, {"key_file": "gateway.key"}),
        ("not TOML [", {"key_file": "gateway.key"}),
        ('[store]\npath = "own.sqlite3"\n', {"key_file": "gateway.key", "path": "own.sqlite3"}),
        ('[store]\nkey_file = "own.key"\n', {"key_file": "own.key"}),
        ('[store]\nurl = "redis://h"\n', {"url": "redis://h"}),
    ],
    ids=["no file", "broken", "a path", "a key", "a shared store"],
)
def test_the_store_of_an_existing_file_is_kept_and_a_local_one_gets_a_key(tmp_path, text, section):
    path = tmp_path / "gateway.toml"
    if text is not None:
        path.write_text(text)
    assert store_section(path) == section


@pytest.mark.parametrize(
    ("secrets", "transports"),
    [([], ["simulator"]), ([HEADER], ["web"]), ([KEY], ["api"]), ([HEADER, KEY], ["web", "api"])],
)
def test_the_settings_name_the_upstreams_and_hold_no_secret(secrets, transports):
    plan = SetupPlan(path=Path("gateway.toml"), accounts=accounts(*secrets))
    text = settings_text(plan, {"key_file": "gateway.key"})
    assert list(tomllib.loads(text)["transports"]) == transports
    assert "canary" not in text
    assert "{" not in text


def test_an_account_name_is_checked_before_anything_is_written():
    assert valid_account_name("first") == "first"
    with pytest.raises(ValueError, match="'a b' is not a valid account name"):
        valid_account_name("a b")


def test_a_session_that_cannot_be_read_is_explained_and_not_quoted():
    assert account_problem("first", HEADER) is None
    problem = account_problem("first", "NID=canary")
    assert "__Secure-1PSID" in problem
    assert "canary" not in problem
