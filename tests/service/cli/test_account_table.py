import io
import time

import msgspec
import pytest
from rich.console import Console

from service.accounts.views import AccountStatus, AccountView, CooldownView
from service.cli.account_table import account_details, account_notes, accounts_table
from transports.account import Quota
from transports.accounts.records import CooldownReason

NOW = 1_000_000.0
ADVICE = "The site does not know this session any more: sign in at gemini.google.com and give the gateway a new export."
ROWS = [
    AccountView(
        id="cooling.account@example",
        transport="web",
        kind="session",
        in_settings=False,
        state=AccountStatus.COOLING_DOWN,
        reason="quota",
        message="its quota is used up",
        cooldowns=(CooldownView(scope="pro/*", reason=CooldownReason.QUOTA, until=NOW + 3 * 3600),),
        quotas=(Quota(name="pro", total=100, remaining=0, resets_at=NOW + 3 * 3600),),
    ),
    AccountView(
        id="needs_attention",
        transport="web",
        kind="session",
        in_settings=True,
        state=AccountStatus.NEEDS_ATTENTION,
        reason="signed_out",
        message=ADVICE,
    ),
    AccountView(
        id="paused",
        transport="web",
        kind="session",
        in_settings=False,
        state=AccountStatus.PAUSED,
        reason="paused",
        message="on [holiday]",
        paused_by="cli:someone@machine",
    ),
]


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_has_at_most_two_lines_per_account_and_advice_below(width):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    console.print(accounts_table(ROWS, NOW, width))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 1 + 2 * len(ROWS)
    assert all(len(line) <= width for line in lines)
    for text in ("cooling.account@example", "pro quota, in 3h", "needs attention:", "pro 0/100, resets in 3h"):
        assert text in out.getvalue()
    for note in account_notes(ROWS):
        console.print(note)
    table = " ".join(out.getvalue().split())
    assert ADVICE in table
    assert "paused by cli:someone@machine: on [holiday]" in table
    assert "allowance" not in table


def test_a_quota_without_a_limit_is_shown_as_unlimited():
    row = AccountView(
        id="one",
        transport="web",
        kind="session",
        in_settings=True,
        state=AccountStatus.READY,
        quotas=(
            Quota(name="flash", total=0, remaining=0, resets_at=NOW + 60),
            Quota(name="5h", total=2400, remaining=1992),
        ),
    )
    out = io.StringIO()
    Console(file=out, width=160, highlight=False).print(accounts_table([row], NOW, 160))
    assert "flash unlimited" in out.getvalue()
    assert "5h 1992/2400" in out.getvalue()


def test_an_unusual_renewal_of_a_session_is_shown():
    words = "The site never renews this session."
    row = AccountView(
        id="one", transport="web", kind="session", in_settings=True, state=AccountStatus.READY, rotation_note=words
    )
    assert account_notes([row]) == [f"[bold]one[/] {words}"]
    assert ("rotation note", words) in account_details(row, NOW)


def test_what_a_proxy_did_is_shown_because_it_does_not_end_without_help():
    words = "The proxy refused the user name or the password."
    row = AccountView(
        id="one",
        transport="web",
        kind="session",
        in_settings=True,
        state=AccountStatus.COOLING_DOWN,
        reason="proxy",
        message=words,
        cooldowns=(CooldownView(scope="*/*", reason=CooldownReason.PROXY, until=NOW + 30, message=words),),
    )
    assert account_notes([row]) == [f"[bold]one[/] {words}"]


KEY_ROW = AccountView(
    id="free",
    transport="api",
    kind="api_key",
    in_settings=False,
    state=AccountStatus.READY,
    tier="free",
    project="one",
    cooldowns=(
        *(CooldownView(scope=f"gemini-{n}/*", reason=CooldownReason.QUOTA, until=NOW + 3600 * 20) for n in range(7)),
        CooldownView(scope="gemini-image/*", reason=CooldownReason.NEVER, until=NOW + 60),
    ),
)


def test_a_key_that_is_ready_shows_the_models_it_cannot_serve_in_a_hundred_columns():
    out = io.StringIO()
    Console(file=out, width=100, highlight=False).print(accounts_table([KEY_ROW], NOW, 100))
    lines = out.getvalue().splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert [line for line in lines if "gemini-image never" in line and "and 7 more" in line]
    assert len(lines) == 2


@pytest.mark.parametrize("width", [100, 120, 140, 200])
def test_an_account_has_one_line_from_a_hundred_columns_on(width):
    rows = [msgspec.structs.replace(row, tags=("team-a", "eu")) for row in (*ROWS, KEY_ROW)]
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(accounts_table(rows, NOW, width))
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 + len(rows)
    assert all(len(line) <= width for line in lines)
    for row, line in zip(rows, lines[1:], strict=True):
        assert line.startswith(row.id)
        assert row.state.label in line


def test_the_end_of_a_cooldown_is_shown_in_the_time_zone_of_the_operator(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        details = account_details(KEY_ROW, NOW)
    finally:
        monkeypatch.undo()
        time.tzset()
    found = [value for name, value in details if name == "cooldown"]
    assert found[0] == "gemini-0: its quota is used up, until 1970-01-13 18:46 JST (in 20h)"
    assert found[-1].startswith("gemini-image: it does not include this model, until 22:47 JST")
    assert ("project", "one (its keys share quotas)") in details
    assert all(len(value) + 15 <= 100 for value in found)
