"""What can be done with accounts, whoever asks for it; every change is logged with who did it."""

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
"""Opens the transport of this name for a while, for a look at the account of this id."""

_log = structlog.get_logger()


class AccountError(Exception):
    """What was asked for cannot be done; `code` is a word of a closed set, the message is for a person."""

    def __init__(self, code: str, message: str) -> None:
        """Say why."""
        super().__init__(message)
        self.code = code


class NewAccountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An account to be added."""

    id: str
    secret: str
    transport: str = "web"
    options: dict[str, Any] = {}
    replace: bool = False

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Adding(id={self.id!r}, transport={self.transport!r})"


class AccountService:
    """The accounts of the settings and the store; every method may raise OSError: the store is out of order."""

    def __init__(self, configs: Mapping[str, msgspec.Struct], store: Store, clock: Clock, reach: OpenTransport) -> None:
        """Know the transports' settings, by their names."""
        self._configs, self._store, self._clock, self._open_transport = configs, store, clock, reach
        self._registry = AccountRegistry(store, clock)

    async def list_accounts(self) -> list[AccountView]:
        """Return all accounts as they are shown: those of the settings, then those of the store."""
        entries = await self._registry.entries()
        declared = self._declared()
        added = [entry for entry in entries if entry.id not in declared]
        seen = await self._read_shared_facts([*declared.values()], added)
        rows = [account_view(account, None, seen) for account in declared.values()]
        return [*rows, *(self._view(entry, seen) for entry in added)]

    async def get_account(self, account: str) -> AccountView:
        """Return one account as it is shown.

        Raises:
            AccountError: there is none of this id.

        """
        for row in await self.list_accounts():
            if row.id == account:
                return row
        raise AccountError("not_found", f"there is no account {account[:64]!r}")

    async def add(self, request: NewAccountRequest, *, by: str) -> AddResult:
        """Add an account, or with `replace` change one: running gateways take it up within a second or two.

        Raises:
            AccountError: it could not be used, or is there already.

        """
        kind, config = self._kind(request.transport)
        entry = self._record(request, by)
        try:
            admitted, _ = kind.admit(config, entry)
        except ValueError as error:
            code = "declared" if request.id in self._declared() else "invalid_value"
            raise AccountError(code, str(error)) from None
        if request.id in self._declared():
            raise AccountError("declared", f"account {request.id!r}: the settings name it already, and theirs holds")
        await self._check_identity(kind, admitted)
        added = await self._registry.add(admitted, replace=request.replace)
        if added is AddResult.THERE:
            raise AccountError("exists", f"account {request.id!r} is there already; replace it if that is meant")
        _log.info("account_added", account=request.id, transport=request.transport, came=added.value, by=by)
        return added

    async def remove(self, account: str, *, by: str) -> None:
        """Forget an account of the store, and its session.

        Raises:
            AccountError: there is none of this id, or the settings name it.

        """
        if account in self._declared():
            raise AccountError("declared", f"account {account!r} is in the settings; take it out of them, or pause it")
        if not await self._registry.remove(account, by=by):
            raise AccountError("not_found", f"there is no account {account[:64]!r}")
        _log.info("account_removed", account=account, by=by)

    async def pause(self, account: str, *, by: str, reason: str = "") -> None:
        """Have no gateway ask an account; what it is asked already goes on.

        Raises:
            AccountError: there is none of this id.

        """
        await self.get_account(account)
        await self._registry.pause(account, by=by, reason=reason)
        _log.info("account_paused", account=account, by=by, reason=reason)

    async def resume(self, account: str, *, by: str) -> bool:
        """End an account's pause, park and rests; say whether there was any.

        Raises:
            AccountError: there is none of this id.

        """
        await self.get_account(account)
        resumed = await self._registry.resume(account, by=by)
        _log.info("account_resumed", account=account, by=by)
        return resumed

    async def check(self, account: str) -> AsyncGenerator[Finding]:
        """Walk the whole path with an account, and tell of each step when it is done.

        Raises:
            AccountError: there is none of this id, or its transport cannot be opened.

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
        """Return what signs an account's requests as it is now: secret.

        Raises:
            AccountError: there is none of this id, or it cannot be had.

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
            raise AccountError("invalid_value", f"the settings have no transport {transport[:64]!r}; there is {known}")
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
            message = f"{adding.id[:64]!r} is no id: expected 1 to 64 letters, digits and any of . _ @ + -"
            raise AccountError("invalid_value", message) from None

    async def _check_identity(self, kind: Kind[Any], entry: AccountRecord) -> None:
        """Raise AccountError where another account of the store is the same one."""
        identity = kind.identity(entry)
        for other in await self._registry.entries(entry.transport):
            if other.id != entry.id and _identity(kind, other) == identity:
                message = (
                    f"account {entry.id!r}: its session is that of {other.id!r}, and only one account may renew a "
                    "session, also with another authuser; sign in to it in a browser profile of its own and export that"
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
    """Return an account's identity, None where it cannot be used."""
    try:
        return kind.identity(entry)
    except ValueError:
        return None


async def _findings(transport: Transport, account: str) -> AsyncGenerator[Finding]:
    """Return an examination as a generator, which can be closed."""
    async for finding in transport.examine(account):
        yield finding
