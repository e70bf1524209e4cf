"""Apply a setup plan completely, or undo it."""

import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from service import wiring
from service.accounts.offline import transport_opener
from service.accounts.service import AccountService, NewAccountRequest
from service.check import check
from service.cli.init.plan import KEY_FILE, SetupAccount, SetupPlan, settings_text, store_section
from service.cli.options import ResultT, settings_at, store_path_of, with_store
from service.config.loader import Origin
from service.config.schema import Settings
from service.config.secrets import KEY_BYTES
from service.licenses.auth import new_key
from service.licenses.store import License, LicenseStore
from transports.account import Finding, Level
from transports.clock import SystemClock
from transports.store import Store

Confirm = Callable[[str], bool]
"""Asks the operator about an account and returns the answer."""


class SetupTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The effective settings and the path of their store."""

    path: Path
    settings: Settings
    origin: Origin

    @property
    def store_path(self) -> Path:
        """Path of the store, if it is a SQLite file."""
        return store_path_of(self.settings, self.path)

    def with_store(self, work: Callable[[Store], Awaitable[ResultT]]) -> ResultT:
        """Run `work` on the store and return its result."""
        return with_store(self.settings, self.origin, self.store_path, work)


class SetupResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a setup."""

    target: SetupTarget
    license: str
    key: str
    previous: Path | None
    """Backup of the previous settings."""

    def __repr__(self) -> str:
        """Hide the key."""
        return f"SetupResult(path={str(self.target.path)!r}, license={self.license!r})"


def apply(plan: SetupPlan, by: str, may_change: Confirm) -> SetupResult:
    """Write and check the settings, and add the accounts and a first license to the store.

    An error or an interruption restores all files. `may_change` decides whether to replace an existing account.

    Raises:
        SettingsError: the settings, overridden by the environment, are invalid.
        AccountError: the account cannot be added.
        OSError: a file cannot be written.

    """
    with ExitStack() as undo:
        folder = plan.path.absolute().parent
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(0o700)
            undo.callback(missing.rmdir)
        store = store_section(plan.path)
        if store.get("key_file") == KEY_FILE and not (folder / KEY_FILE).exists():
            _write(folder / KEY_FILE, secrets.token_urlsafe(KEY_BYTES) + "\n", undo)
        previous = _back_up(plan.path, undo)
        _write(plan.path, settings_text(plan, store), undo)
        _, settings, origin = settings_at(plan.path)
        target = SetupTarget(path=plan.path, settings=settings, origin=origin)
        check(settings, origin, target.store_path)
        if not target.store_path.exists():
            for end in ("", "-wal", "-shm"):
                undo.callback(target.store_path.with_name(target.store_path.name + end).unlink, missing_ok=True)
        for account in plan.accounts:
            _add_account(target, account, by, may_change)
        license_id, key = _add_license(target, plan.license)
        undo.pop_all()
    return SetupResult(target=target, license=license_id, key=key, previous=previous)


def check_account(target: SetupTarget, account: str, report: Callable[[Finding], None]) -> bool:
    """Check an account, pass each finding to `report`, and return whether no step failed.

    Raises:
        AccountError: its transport cannot be opened.

    """

    async def work(store: Store) -> bool:
        passed = True
        async for finding in _accounts(target, store).check(account):
            report(finding)
            passed = passed and finding.level is not Level.FAILED
        return passed

    return target.with_store(work)


def _add_account(target: SetupTarget, account: SetupAccount, by: str, may_change: Confirm) -> None:
    async def is_there(store: Store) -> bool:
        return any(row.id == account.id for row in await _accounts(target, store).list_accounts())

    replace = target.with_store(is_there) and may_change(account.id)
    adding = NewAccountRequest(id=account.id, secret=account.secret, transport=account.transport, replace=replace)

    async def add(store: Store) -> None:
        await _accounts(target, store).add(adding, by=by)

    target.with_store(add)


def _add_license(target: SetupTarget, name: str) -> tuple[str, str]:
    """Add a license, with a numbered name if the name is taken; return its name and key."""
    key = new_key()

    async def work(store: Store) -> str:
        licenses = LicenseStore(store.records, SystemClock())
        taken = {one.id for one in await licenses.all() if one.revoked is None}
        taken |= {one.id for one in target.settings.licenses}
        free, number = name, 2
        while free in taken:
            free, number = f"{name}-{number}", number + 1
        await licenses.add(License(id=free, created=SystemClock().wall()), key)
        return free

    return target.with_store(work), key


def _accounts(target: SetupTarget, store: Store) -> AccountService:
    configs, clock = wiring.transport_settings(target.settings, target.origin), SystemClock()
    return AccountService(configs, store.records, clock, transport_opener(configs, store, clock))


def _back_up(path: Path, undo: ExitStack) -> Path | None:
    """Rename an existing file to a backup name and return that name, or None."""
    if not path.exists():
        return None
    number = 1
    while (backup := path.with_name(f"{path.name}.old{number if number > 1 else ''}")).exists():
        number += 1

    def restore() -> None:
        if backup.exists():
            backup.replace(path)

    undo.callback(restore)
    path.rename(backup)
    return backup


def _write(path: Path, text: str, undo: ExitStack) -> None:
    """Write a new file that only its owner can read."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    undo.callback(path.unlink, missing_ok=True)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
