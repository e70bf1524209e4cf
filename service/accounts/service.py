"""Account operations: list, add, remove, pause, resume, check and export. Each change is logged with its author."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import msgspec
import structlog

from protocol.model import GatewayError
from service import wiring
from service.accounts.views import AccountView, SharedFacts, account_view, unusable_view
from transports.account import Account, Finding
from transports.accounts.records import read_attention, read_cooldowns, read_replicas
from transports.accounts.registry import AccountRecord, AccountRegistry, AddResult
from transports.base import Kind, Transport
from transports.clock import Clock
from transports.store import Store
from transports.store.port import SESSIONS, Unreadable

OpenTransport = Callable[[str, str], AbstractAsyncContextManager[Transport]]
"""Opens a transport, by name, for operations on one account, by id."""

_log = structlog.get_logger()


class AccountError(Exception):
    """An account operation that failed, with a `code` for programs and a message for people."""

    def __init__(self, code: str, message: str) -> None:
        """Store the code and the message."""
        super().__init__(message)
        self.code = code


class NewAccountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to add or replace an account."""

    id: str
    secret: str
    transport: str = "web"
    options: dict[str, Any] = {}
    replace: bool = False

    def __repr__(self) -> str:
        """Hide the secret."""
        return f"NewAccountRequest(id={self.id!r}, transport={self.transport!r})"


class AccountService:
    """Operations on the accounts of the settings and the store.

    Every method may raise OSError if the store is unavailable.
    """

    def __init__(
        self, configs: Mapping[str, msgspec.Struct], store: Store, clock: Clock, open_transport: OpenTransport
    ) -> None:
        """Operate on the transports in `configs`, which are keyed by name."""
        self._configs, self._store, self._clock, self._open_transport = configs, store, clock, open_transport
        self._registry = AccountRegistry(store, clock)

    async def list_accounts(self) -> list[AccountView]:
        """Return views of all accounts: those of the settings, then those of the store."""
        entries = await self._registry.records()
        declared = self._declared()
        added = [entry for entry in entries if entry.id not in declared]
        seen = await self._read_shared_facts([*declared.values()], added)
        rows = [account_view(account, None, seen) for account in declared.values()]
        return [*rows, *(self._view(entry, seen) for entry in added)]

    async def get_account(self, account: str) -> AccountView:
        """Return the view of one account.

        Raises:
            AccountError: there is no account with this id.

        """
        for row in await self.list_accounts():
            if row.id == account:
                return row
        raise AccountError("not_found", f"there is no account {account[:64]!r}")

    async def add(self, request: NewAccountRequest, *, by: str) -> AddResult:
        """Add an account, or change one with `replace`; running gateways use it within two seconds.

        Raises:
            AccountError: the account is invalid or exists already.

        """
        kind, config = self._kind(request.transport)
        entry = self._record(request, by)
        try:
            admitted, _ = kind.admit(config, entry)
        except ValueError as error:
            code = "declared" if request.id in self._declared() else "invalid_value"
            raise AccountError(code, str(error)) from None
        if request.id in self._declared():
            raise AccountError(
                "declared", f"account {request.id!r} is defined in the settings; choose another id or change it there"
            )
        await self._check_identity(kind, admitted)
        added = await self._registry.add(admitted, replace=request.replace)
        if added is AddResult.THERE:
            raise AccountError("exists", f"account {request.id!r} exists already; add it with --replace to change it")
        _log.info("account_added", account=request.id, transport=request.transport, came=added.value, by=by)
        return added

    async def remove(self, account: str, *, by: str) -> None:
        """Remove an account and its session from the store.

        Raises:
            AccountError: there is no account with this id, or it is defined in the settings.

        """
        if account in self._declared():
            raise AccountError(
                "declared", f"account {account!r} is defined in the settings; remove it there, or pause it"
            )
        if not await self._registry.remove(account, by=by):
            raise AccountError("not_found", f"there is no account {account[:64]!r}")
        _log.info("account_removed", account=account, by=by)

    async def pause(self, account: str, *, by: str, reason: str = "") -> None:
        """Stop sending requests to an account; open requests continue.

        Raises:
            AccountError: there is no account with this id.

        """
        await self.get_account(account)
        await self._registry.pause(account, by=by, reason=reason)
        _log.info("account_paused", account=account, by=by, reason=reason)

    async def resume(self, account: str, *, by: str) -> bool:
        """End an account's pause, attention state and cooldowns; return whether it had any.

        Raises:
            AccountError: there is no account with this id.

        """
        await self.get_account(account)
        resumed = await self._registry.resume(account, by=by)
        _log.info("account_resumed", account=account, by=by)
        return resumed

    async def check(self, account: str) -> AsyncGenerator[Finding]:
        """Test an account step by step, without a prompt, and yield each finding.

        Raises:
            AccountError: there is no account with this id, or its transport cannot be opened.

        """
        row = await self.get_account(account)
        self._kind(row.transport)
        async with (
            self._open_transport(row.transport, account) as transport,
            aclosing(_findings(transport, account)) as findings,
        ):
            async for finding in findings:
                yield finding

    async def export(self, account: str, *, by: str) -> str:
        """Return the current session of an account, which is secret.

        Raises:
            AccountError: there is no account with this id, or its session is unavailable.

        """
        row = await self.get_account(account)
        self._kind(row.transport)
        try:
            async with self._open_transport(row.transport, account) as transport:
                secret = await transport.export(account)
        except GatewayError as error:
            raise AccountError("unusable", error.message) from None
        _log.info("account_exported", account=account, by=by)
        return secret

    def _kind(self, transport: str) -> tuple[Kind[Any], msgspec.Struct]:
        config = self._configs.get(transport)
        if config is None:
            known = ", ".join(self._configs) or "none"
            raise AccountError(
                "invalid_value", f"the settings have no transport {transport[:64]!r}; expected one of: {known}"
            )
        return wiring.TRANSPORTS[transport], config

    def _record(self, adding: NewAccountRequest, by: str) -> AccountRecord:
        entry = {
            "id": adding.id,
            "transport": adding.transport,
            "secret": adding.secret,
            "options": adding.options,
            "created": self._clock.wall(),
            "by": by,
        }
        try:
            return msgspec.convert(entry, AccountRecord)
        except msgspec.ValidationError:
            message = f"{adding.id[:64]!r} is not a valid id: expected 1 to 64 letters, digits or any of . _ @ + -"
            raise AccountError("invalid_value", message) from None

    async def _check_identity(self, kind: Kind[Any], entry: AccountRecord) -> None:
        """Raise AccountError if another account of the store has the same identity."""
        identity = kind.identity(entry)
        for other in await self._registry.records(entry.transport):
            if other.id != entry.id and _identity(kind, other) == identity:
                message = (
                    f"account {entry.id!r} has the same session as {other.id!r}, and two accounts cannot rotate one "
                    "session, even with another authuser; sign in in a separate browser profile and export its cookies"
                )
                raise AccountError("exists", message)

    def _declared(self) -> dict[str, Account]:
        found = [
            account for name, config in self._configs.items() for account in wiring.TRANSPORTS[name].accounts(config)
        ]
        return {account.id: account for account in found}

    def _view(self, entry: AccountRecord, seen: SharedFacts) -> AccountView:
        try:
            kind, config = self._kind(entry.transport)
            _, account = kind.admit(config, entry)
        except (AccountError, ValueError) as error:
            return unusable_view(entry, str(error))
        return account_view(account, entry, seen)

    async def _read_shared_facts(self, declared: list[Account], added: list[AccountRecord]) -> SharedFacts:
        transports = {account.id: account.transport for account in declared}
        transports |= {entry.id: entry.transport for entry in added}
        facts = {
            account: wiring.TRANSPORTS[transport].facts(value)
            for account, transport in transports.items()
            if transport in wiring.TRANSPORTS and (value := await self._session(account)) is not None
        }
        return SharedFacts(
            now=self._clock.wall(),
            pauses=await self._registry.pauses(),
            attention=await read_attention(self._store),
            cooldowns=await read_cooldowns(self._store),
            replicas=await read_replicas(self._store),
            facts=facts,
        )

    async def _session(self, account: str) -> bytes | None:
        try:
            record = await self._store.get(SESSIONS, account)
        except Unreadable:
            return None
        return record.value if record is not None else None


def _identity(kind: Kind[Any], entry: AccountRecord) -> str | None:
    """Return an account's identity, or None if its record is invalid."""
    try:
        return kind.identity(entry)
    except ValueError:
        return None


async def _findings(transport: Transport, account: str) -> AsyncGenerator[Finding]:
    """Wrap the diagnostics of an account in a generator that can be closed."""
    async for finding in transport.examine(account):
        yield finding
