"""Format accounts for a terminal: a table that fits its width, and the details of one account."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from service.accounts.views import AccountStatus, AccountView
from transports.account import Finding, Level, Quota
from transports.accounts.records import CooldownReason

_ONE_LINE, _WIDE = 100, 140
"""Widths from which an account has one line, and from which this line has all columns."""
_SHRINKS = {"TAGS": 8, "QUOTA": 12, "ACCOUNT": 24, "STATE": 30}
"""The columns that are cut off first if the line is too long, with the width that each one keeps."""
_SHOWN = 4
"""Cooldowns of an account that the table shows."""

_COLUMNS = ["ACCOUNT", "TRANSPORT", "KIND", "PLAN", "STATE", "LOAD", "QUOTA", "TAGS", "ROTATED", "EXPIRES"]
_COLORS = {
    AccountStatus.READY: "green",
    AccountStatus.COOLING_DOWN: "yellow",
    AccountStatus.NEEDS_ATTENTION: "red",
    AccountStatus.PAUSED: "cyan",
    AccountStatus.UNUSABLE: "red",
}
_MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.FAILED: ("✗", "red")}


def console() -> Console:
    """Return a console for standard output, with colors on a terminal only."""
    return Console(file=sys.stdout, highlight=False)


def accounts_table(rows: Sequence[AccountView], now: float, width: int) -> Table:
    """Return the accounts as a table: one line an account, or two with the most important columns if it is narrow."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    if width < _ONE_LINE:
        add_two_lines(table, rows, now)
    else:
        add_one_line(table, [_cells(row, now) for row in rows], width)
    return table


def add_two_lines(table: Table, rows: Sequence[AccountView], now: float) -> None:
    """Add a row of two lines for each account."""
    for name in ("ACCOUNT", "STATE", "LOAD", "QUOTA"):
        table.add_column(name, overflow="fold", min_width=len(name), justify="right" if name == "LOAD" else "left")
    for row in rows:
        about = " ".join(part for part in (row.transport, row.kind, row.plan, *row.tags) if part)
        account = f"{escape(row.id)}\n[dim]{escape(about)}[/]"
        table.add_row(account, "\n".join(_states(row, now, _SHOWN)), _load(row), _quotas(row.quotas, now, "\n"))


def add_one_line(table: Table, cells: Sequence[dict[str, str]], width: int) -> None:
    """Add a row of one line for each account, and the columns that fit."""
    names = [name for name in _COLUMNS if name not in {"QUOTA", "TAGS"} or any(cell[name] != "-" for cell in cells)]
    if width < _WIDE:
        hidden = ["KIND", "ROTATED", "EXPIRES", *(["PLAN"] if {"QUOTA", "TAGS"} <= set(names) else [])]
        names = [name for name in names if name not in hidden]
    widths = {
        name: max(Text.from_markup(text).cell_len for text in (name, *(cell[name] for cell in cells))) for name in names
    }
    for name, least in _SHRINKS.items():
        over = sum(widths.values()) + 2 * len(widths) - width
        if name in widths and over > 0:
            widths[name] = max(min(least, widths[name]), widths[name] - over)
    for name in names:
        table.add_column(name, no_wrap=True, max_width=widths[name], justify="right" if name == "LOAD" else "left")
    for cell in cells:
        table.add_row(*(cell[name] for name in names))


def _cells(row: AccountView, now: float) -> dict[str, str]:
    """Return what the line of an account shows, by column."""
    return {
        "ACCOUNT": escape(row.id),
        "TRANSPORT": row.transport,
        "KIND": row.kind,
        "PLAN": escape(row.plan or "-"),
        "STATE": "; ".join(_states(row, now, 1)),
        "LOAD": _load(row),
        "QUOTA": _quotas(row.quotas, now, ", "),
        "TAGS": escape(" ".join(row.tags) or "-"),
        "ROTATED": ago(row.rotated_at, now),
        "EXPIRES": ahead_short(row.expires_at, now),
    }


def account_notes(rows: Sequence[AccountView]) -> list[str]:
    """Return problems and advice that do not fit into the table, one line of markup each."""
    notes: list[str] = []
    for row in rows:
        message = row.message
        if row.state is AccountStatus.COOLING_DOWN and row.reason != CooldownReason.PROXY:
            message = ""  # such a cooldown ends without help
        by = f"paused by {row.paused_by}" if row.paused_by else ""
        if message or by:
            notes.append(f"[bold]{escape(row.id)}[/] {escape(': '.join(part for part in (by, message) if part))}")
        if row.rotation_note:
            notes.append(f"[bold]{escape(row.id)}[/] {escape(row.rotation_note)}")
    return notes


def account_details(row: AccountView, now: float) -> list[tuple[str, str]]:
    """Return all details of an account as names and values."""
    cooldowns = [f"{one.subject}: {one.explanation}, until {clock_time(one.until, now)}" for one in row.cooldowns]
    return [
        ("account", row.id),
        ("from", "the settings" if row.in_settings else f"added {ago(row.added_at, now)} by {row.added_by}"),
        ("transport", row.transport),
        ("kind", row.kind or "-"),
        ("plan", row.plan or "unknown"),
        *([("project", f"{row.project} (its keys share quotas)")] if row.project else []),
        ("state", row.state.label),
        ("reason", " - ".join(part for part in (row.reason, row.message) if part) or "-"),
        *([("paused by", row.paused_by)] if row.paused_by else []),
        *(("cooldown", text) for text in cooldowns),
        ("load", _load(row)),
        ("weight", f"{row.weight:g}"),
        ("per minute", str(row.per_minute or "no limit")),
        ("per day", ", ".join(f"{name} {most}" for name, most in row.per_day.items()) or "no limit"),
        ("capabilities", ", ".join(row.capabilities) or "-"),
        ("proxy", row.proxy or "direct"),
        ("quota", _quotas(row.quotas, now, "; ")),
        ("last rotation", ago(row.rotated_at, now)),
        ("expires", ahead(row.expires_at, now)),
        *([("rotation note", row.rotation_note)] if row.rotation_note else []),
        *([("tags", " ".join(row.tags))] if row.tags else []),
        *([("note", row.note)] if row.note else []),
    ]


def finding_line(finding: Finding) -> str:
    """Return a finding of an account check as markup."""
    mark, color = _MARKS[finding.level]
    advice = f"\n  [bold]{escape(finding.advice)}[/]" if finding.advice else ""
    return f"[{color}]{mark}[/] {escape(finding.step)}: {escape(finding.message)}{advice}"


def ago(at: float | None, now: float) -> str:
    """Format a past time as `5m ago`."""
    return "-" if at is None else f"{_span(max(0.0, now - at))} ago"


def ahead(at: float | None, now: float) -> str:
    """Format a future time as `in 5m (12:30 CET)`, in the operator's time zone."""
    if at is None:
        return "-"
    if at <= now:
        return f"{_span(now - at)} ago"
    return f"in {_span(at - now)} ({_local(at):%H:%M %Z})"


def clock_time(at: float, now: float) -> str:
    """Format a future time as `12:30 CET (in 5m)`, in the operator's time zone, with the date if it is not today's."""
    there = _local(at)
    date = "" if there.date() == _local(now).date() else f"{there:%Y-%m-%d} "
    return f"{date}{there:%H:%M %Z} (in {_span(max(0.0, at - now))})"


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone()


def ahead_short(at: float | None, now: float) -> str:
    """Format a future time as `in 5m`."""
    if at is None or at <= now:
        return ago(at, now)
    return f"in {_span(at - now)}"


def _states(row: AccountView, now: float, most: int) -> list[str]:
    """Return an account's state and its next cooldowns in short; `account_notes` adds the rest."""
    color = _COLORS[row.state]
    lines = [f"[{color}]{row.state.label}[/]"]
    if row.state is AccountStatus.NEEDS_ATTENTION:
        lines[0] += f": {escape(row.reason)}"
    shown = [
        f"{escape(cooldown.subject)} {cooldown.reason.value}"
        + ("" if cooldown.reason is CooldownReason.NEVER else f", {ahead_short(cooldown.until, now)}")
        for cooldown in sorted(row.cooldowns, key=lambda one: one.until)
        if row.state in {AccountStatus.READY, AccountStatus.COOLING_DOWN} or cooldown.reason is CooldownReason.NEVER
    ]
    more = len(shown) - most
    return [*lines, *shown] if more <= (most > 1) else [*lines, *shown[:most], f"and {more} more"]


def _load(row: AccountView) -> str:
    return f"{row.in_flight}/{row.concurrency}" if row.kind else "-"


def _quotas(quotas: Sequence[Quota], now: float, between: str) -> str:
    found: list[str] = []
    for quota in quotas:
        left = "unlimited" if quota.unlimited else f"{quota.remaining}/{quota.total}"
        if quota.used_up and quota.resets_at is not None and not quota.unlimited:
            left += f", resets {ahead_short(quota.resets_at, now)}"
        found.append(escape(f"{quota.name} {left}"))
    return between.join(found) or "-"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size * 2:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
