"""Account operations: list, add, remove, pause, resume, check and export. Each change is logged with its author."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any

import msgspec
import structlog

from protocol.model import Catalogue, GatewayError
from service import wiring
from service.accounts.trial import Trial, TrialFailed
from service.accounts.views import AccountView, SharedFacts, account_view, state_findings, unusable_view
from transports.account import Account, Facts, Finding
from transports.accounts.configured import AccountSettings, AccountType, ConfiguredAccount, DuplicateCredential
from transports.accounts.records import read_attention, read_cooldowns, read_processes
from transports.accounts.registry import AccountRecord, AccountRegistry, AddResult
from transports.base import Transport
from transports.clock import Clock
from transports.store import Records
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
    transport: str = ""
    """Empty: the one whose credentials have this form, or the only one of the settings that has accounts."""
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
        self,
        configs: Mapping[str, msgspec.Struct],
        records: Records,
        clock: Clock,
        open_transport: OpenTransport,
        catalogue: Catalogue | None = None,
    ) -> None:
        """Operate on the transports in `configs`, which are keyed by name; `catalogue` None: that without settings."""
        self._configs, self._records, self._clock, self._open_transport = configs, records, clock, open_transport
        self._registry = AccountRegistry(records, clock)
        self._models = _models_of(configs, catalogue or Catalogue.build())

    async def list_accounts(self) -> list[AccountView]:
        """Return views of all accounts: those of the settings, then those of the store."""
        records = await self._registry.records()
        declared = {account.id: account for account in self._declared()}
        added: dict[str, Account] = {}
        skipped: dict[str, str] = {}
        for name in {record.transport for record in records}:
            accounts, reasons = self._merge(name, [record for record in records if record.transport == name])
            added |= accounts
            skipped |= reasons
        stored = [record for record in records if record.id not in declared]
        facts = await self._read_shared_facts([*declared.values(), *added.values()])
        return [
            *(account_view(account, None, facts) for account in declared.values()),
            *(
                account_view(added[record.id], record, facts)
                if record.id in added
                else unusable_view(record, skipped[record.id])
                for record in stored
            ),
        ]

    async def get_account(self, account: str) -> AccountView:
        """Return the view of one account.

        Raises:
            AccountError: there is no account with this id.

        """
        for row in await self.list_accounts():
            if row.id == account:
                return row
        raise AccountError("not_found", f"there is no account {account[:64]!r}")

    async def add(self, request: NewAccountRequest, *, by: str, trial: Trial | None = None) -> AddResult:
        """Add an account, or change one with `replace`; running gateways use it within two seconds.

        With `trial`, the account is checked first.

        Raises:
            AccountError: the account is invalid, exists already, or failed its check.

        """
        record = await self._new_record(request, by)
        if not request.replace and any(other.id == record.id for other in await self._registry.records()):
            raise _exists(record.id)
        if trial is not None:
            try:
                session = await trial.run(record, self._records, self._clock)
            except TrialFailed:
                message = f"account {record.id!r} failed its check and was not added; it can be added without a check"
                raise AccountError("check_failed", f"{message} (command line: --no-check)") from None
            if session is not None:
                await self._records.put(SESSIONS, record.id, session)
        added = await self._registry.add(record, replace=request.replace)
        if added is AddResult.EXISTS:
            raise _exists(record.id)
        _log.info("account_added", account=request.id, transport=record.transport, result=added.value, by=by)
        return added

    async def _new_record(self, request: NewAccountRequest, by: str) -> AccountRecord:
        """Return the record of a new account.

        Raises:
            AccountError: the account is invalid, or another one has its id or credential.

        """
        if self._is_declared(request.id):
            raise AccountError(
                "defined_in_settings",
                f"account {request.id!r} is defined in the settings; choose another id or change it there",
            )
        transport = request.transport or transport_for(self._configs, request.secret)
        name, account_type, settings = account_type_of(self._configs, transport)
        record = self._record(request, name, by)
        others = [other for other in await self._registry.records(name) if other.id != record.id]
        is_simulated = wiring.TRANSPORTS[name].is_simulated(self._configs[name])
        try:
            account_type.check_new(request.secret, self._clock.wall(), is_simulated)
            account = account_type.from_record(record)
            accounts, _ = _merge_valid(account_type, settings, others)
            owners: dict[str, str] = {}
            for one in (*accounts.values(), account):
                account_type.claim(owners, one)
        except DuplicateCredential as error:
            raise AccountError("exists", str(error)) from None
        except ValueError as error:
            raise AccountError("invalid_value", str(error)) from None
        return account_type.normalized(record, account)

    async def remove(self, account: str, *, by: str) -> None:
        """Remove an account and its session from the store.

        Raises:
            AccountError: there is no account with this id, or it is defined in the settings.

        """
        if self._is_declared(account):
            raise AccountError(
                "defined_in_settings", f"account {account!r} is defined in the settings; remove it there, or pause it"
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

        A cooldown of its address or proxy ends for all accounts that use it.

        Raises:
            AccountError: there is no account with this id.

        """
        row = await self.get_account(account)
        one = Account(id=row.id, transport=row.transport, egress=row.proxy)
        cooldowns = [record.key for record, _ in await read_cooldowns(self._records) if record.covers(one)]
        resumed = await self._registry.resume(account, by=by, cooldowns=cooldowns)
        _log.info("account_resumed", account=account, by=by)
        return resumed

    async def check(self, account: str) -> AsyncGenerator[Finding]:
        """Say why an account gets no requests, test it step by step, without a prompt, and yield each finding.

        Raises:
            AccountError: there is no account with this id, or its transport cannot be opened.

        """
        row = await self.get_account(account)
        for finding in state_findings(row):
            yield finding
        self._check_configured(row.transport)
        async with (
            self._open_transport(row.transport, account) as transport,
            aclosing(transport.examine(account)) as findings,
        ):
            async for finding in findings:
                yield finding

    async def export(self, account: str, *, by: str) -> str:
        """Return the current session of an account, which is secret.

        Raises:
            AccountError: there is no account with this id, or its session is unavailable.

        """
        row = await self.get_account(account)
        self._check_configured(row.transport)
        try:
            async with self._open_transport(row.transport, account) as transport:
                secret = await transport.export(account)
        except GatewayError as error:
            raise AccountError("unusable", error.message) from None
        _log.info("account_exported", account=account, by=by)
        return secret

    def _check_configured(self, transport: str) -> None:
        if transport not in self._configs:
            raise _unknown_transport(self._configs, transport)

    def _record(self, request: NewAccountRequest, transport: str, by: str) -> AccountRecord:
        record = {
            "id": request.id,
            "transport": transport,
            "secret": request.secret,
            "options": request.options,
            "created": self._clock.wall(),
            "by": by,
        }
        try:
            return msgspec.convert(record, AccountRecord)
        except msgspec.ValidationError:
            message = f"{request.id[:64]!r} is not a valid id: expected 1 to 64 letters, digits or any of . _ @ + -"
            raise AccountError("invalid_value", message) from None

    def _declared(self) -> list[Account]:
        """Return the accounts of the settings; their credentials are not read."""
        found: list[Account] = []
        for name, config in self._configs.items():
            kind = wiring.TRANSPORTS[name]
            if kind.accounts is not None:
                found += [kind.accounts.account_of(one, name) for one in kind.account_settings(config)]
        return found

    def _is_declared(self, account: str) -> bool:
        return any(one.id == account for one in self._declared())

    def _merge(self, transport: str, records: Sequence[AccountRecord]) -> tuple[dict[str, Account], dict[str, str]]:
        """Return the usable accounts of the store by id, and why the others are not used."""
        try:
            _, account_type, settings = account_type_of(self._configs, transport)
        except AccountError as error:
            return {}, {record.id: str(error) for record in records}
        accounts, skipped = _merge_valid(account_type, settings, records)
        stored = {record.id for record in records}
        found = {id_: one for id_, one in accounts.items() if id_ in stored}
        return {id_: account_type.account_of(one.settings, transport) for id_, one in found.items()}, skipped

    async def _read_shared_facts(self, accounts: Sequence[Account]) -> SharedFacts:
        facts: dict[str, Facts] = {}
        for account in accounts:
            account_type = wiring.TRANSPORTS[account.transport].accounts
            with suppress(Unreadable):
                session = await self._records.get(SESSIONS, account.id)
                if account_type is not None and session is not None:
                    facts[account.id] = account_type.facts(session.value)
        return SharedFacts(
            now=self._clock.wall(),
            pauses=await self._registry.pauses(),
            attention=await read_attention(self._records),
            cooldowns=await read_cooldowns(self._records),
            processes=await read_processes(self._records),
            facts=facts,
            models=self._models,
        )


def _exists(account: str) -> AccountError:
    message = f"account {account!r} exists already; set `replace` to change it (command line: --replace)"
    return AccountError("exists", message)


def _models_of(configs: Mapping[str, msgspec.Struct], catalogue: Catalogue) -> dict[str, set[tuple[str, str]]]:
    """Return what the quotas of each transport are counted by; see `SharedFacts.models`."""
    found: dict[str, set[tuple[str, str]]] = {name: set() for name in configs}
    for selection in catalogue.selections():
        for name, config in configs.items():
            model = wiring.TRANSPORTS[name].model_of(config, name, selection)
            if model is not None:
                found[name].add((model, selection.capability.value))
    return found


def transport_for(configs: Mapping[str, msgspec.Struct], secret: str) -> str:
    """Return the only transport whose credentials have this form; empty: there is none, or several."""
    types = {name: wiring.TRANSPORTS[name].accounts for name in configs}
    found = [name for name, one in types.items() if one is not None and one.recognizes(secret)]
    return found[0] if len(found) == 1 else ""


def account_type_of(
    configs: Mapping[str, msgspec.Struct], transport: str
) -> tuple[str, AccountType[Any], Sequence[AccountSettings]]:
    """Return a transport's name, the description of its accounts, and the accounts of the settings.

    An empty name stands for the only transport of the settings that has accounts.

    Raises:
        AccountError: the settings do not have the transport, it has no accounts, or the name is ambiguous.

    """
    if not transport:
        names = [name for name in configs if wiring.TRANSPORTS[name].accounts is not None]
        if len(names) != 1:
            problem = f"name one of: {', '.join(names)}" if names else "the settings have no transport with accounts"
            raise AccountError("invalid_value", f"the account's transport is unknown; {problem}")
        transport = names[0]
    if transport not in configs:
        raise _unknown_transport(configs, transport)
    kind = wiring.TRANSPORTS[transport]
    if kind.accounts is None:
        raise AccountError("invalid_value", f"the transport {transport!r} has no accounts that can be added")
    return transport, kind.accounts, kind.account_settings(configs[transport])


def _merge_valid(
    account_type: AccountType[Any], settings: Sequence[AccountSettings], records: Sequence[AccountRecord]
) -> tuple[dict[str, ConfiguredAccount[Any]], dict[str, str]]:
    """Merge as `AccountType.merge`, with those accounts of the settings that are valid."""
    declared, _ = account_type.reconfigure(settings, {})
    return account_type.merge(declared, records)


def _unknown_transport(configs: Mapping[str, msgspec.Struct], transport: str) -> AccountError:
    known = ", ".join(configs) or "none"
    return AccountError("invalid_value", f"the settings have no transport {transport[:64]!r}; expected one of: {known}")
