"""The registry of accounts: accounts added by command or admin API, and the pauses of all accounts, in the store.

Theory of operation. Commands, the admin API and all gateways use the same records; there is no other channel between
them. A change writes its record, and the change feed of each gateway reads it within a second or two. Before a change,
a short-lived record says who is about to make it, so that every gateway can name the actor in its feed and logs.

Example: `accounts remove a` writes the action `a/removed` and removes the record of `a`. A gateway sees that `a` is
gone, sends it no more requests, and emits the change `removed` by `cli:me@host`.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import structlog
from msgspec import Meta

from transports.clock import Clock
from transports.store.port import ACCOUNTS, ACTIONS, ATTENTION, COOLDOWNS, PAUSES, SESSIONS, Records, decode_record

_ACTION_SECONDS = 10.0
"""How long other processes can read who made a change."""

AccountId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._@+-]{1,64}\Z",
        description="1 to 64 ASCII letters, digits, `.`, `_`, `@`, `+` and `-`",
        examples=["first"],
    ),
]

_log = structlog.get_logger()


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An account that was added by command."""

    id: AccountId
    transport: str
    """The name that its transport has in the settings."""
    secret: str
    """The credential, in the normal form of its transport's `AccountType`."""
    options: dict[str, Any] = {}
    """Other settings of the account, such as `concurrency` or `proxy`."""
    created: float
    """Epoch seconds."""
    by: str
    """Who added it."""

    def __repr__(self) -> str:
        """Hide the credential."""
        return f"AccountRecord(id={self.id!r}, transport={self.transport!r})"


class PauseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's pause of an account, until it is resumed."""

    by: str
    at: float
    """Epoch seconds."""
    reason: str = ""


class AccountAction(msgspec.Struct, frozen=True, kw_only=True):
    """Who is about to change an account, and how."""

    account: str
    action: str
    """added (or changed), removed, resumed"""
    by: str


class AddResult(StrEnum):
    """The result of adding an account."""

    NEW = "new"
    CHANGED = "changed"
    """An existing account has another credential or other options."""
    EXISTS = "exists"
    """An account of this id exists, and `replace` was not set: nothing changed."""


_decode_account = msgspec.json.Decoder(AccountRecord).decode
_decode_pause = msgspec.json.Decoder(PauseRecord).decode
_decode_action = msgspec.json.Decoder(AccountAction).decode


class AccountRegistry:
    """The accounts of the store. Every method may raise OSError if the store is unavailable."""

    def __init__(self, records: Records, clock: Clock) -> None:
        """Use the records of the store."""
        self._records, self._clock = records, clock

    async def records(self, transport: str | None = None) -> list[AccountRecord]:
        """Return the accounts of a transport, or of all; one that cannot be read is logged and skipped."""
        found: list[AccountRecord] = []
        for record in await self._records.scan(ACCOUNTS):
            try:
                account = _decode_account(record.value)
            except msgspec.MsgspecError:
                _log.error("account_unreadable", account=record.key)
                continue
            if transport in {None, account.transport}:
                found.append(account)
        return found

    async def add(self, account: AccountRecord, *, replace: bool = False) -> AddResult:
        """Add an account; with `replace`, change it if it exists."""
        value = msgspec.json.encode(account)
        await self._record_action(AccountAction(account=account.id, action="added", by=account.by))
        if await self._records.put(ACCOUNTS, account.id, value, expected=0) is not None:
            return AddResult.NEW
        if not replace:
            return AddResult.EXISTS
        await self._records.put(ACCOUNTS, account.id, value)
        return AddResult.CHANGED

    async def remove(self, account: str, *, by: str = "") -> bool:
        """Remove an account, its session and its state; return whether it existed."""
        await self._record_action(AccountAction(account=account, action="removed", by=by))
        removed = await self._records.remove(ACCOUNTS, account)
        if removed:
            await self._records.remove(SESSIONS, account)
            await self._clear_blocks(account)
        return removed

    async def pause(self, account: str, *, by: str, reason: str = "") -> None:
        """Stop all gateways from sending requests to an account until it is resumed; open requests continue."""
        paused = PauseRecord(by=by, at=self._clock.wall(), reason=reason)
        await self._records.put(PAUSES, account, msgspec.json.encode(paused))

    async def resume(self, account: str, *, by: str = "", cooldowns: Iterable[str] = ()) -> bool:
        """End the pause, the attention state and the cooldowns of an account; return whether there were any.

        `cooldowns` are the keys of others that end too: those of its address or proxy.
        """
        await self._record_action(AccountAction(account=account, action="resumed", by=by))
        own = await self._clear_blocks(account)
        return any([await self._records.remove(COOLDOWNS, key) for key in cooldowns]) or own

    async def pauses(self) -> dict[str, PauseRecord]:
        """Return the pauses by account id."""
        return {one.key: decode_record(PAUSES, one, _decode_pause) for one in await self._records.scan(PAUSES)}

    async def recent_actions(self) -> list[tuple[AccountAction, float]]:
        """Return the recent actions, each with the seconds for which it stays readable."""
        return [
            (decode_record(ACTIONS, one, _decode_action), one.seconds or 0.0)
            for one in await self._records.scan(ACTIONS)
        ]

    async def _clear_blocks(self, account: str) -> bool:
        """End the pause, attention state and cooldowns of an account; return whether there were any."""
        ended = [await self._records.remove(collection, account) for collection in (PAUSES, ATTENTION)]
        ended += [
            await self._records.remove(COOLDOWNS, key) for key in await self._records.keys(COOLDOWNS, f"{account}/")
        ]
        return any(ended)

    async def _record_action(self, action: AccountAction) -> None:
        """Record who is about to change an account."""
        if action.by:
            key, value = f"{action.account}/{action.action}", msgspec.json.encode(action)
            await self._records.put(ACTIONS, key, value, seconds=_ACTION_SECONDS)
