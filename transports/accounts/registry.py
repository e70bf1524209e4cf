"""Accounts added by command or admin API, and pauses of accounts, in the store."""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import structlog
from msgspec import Meta

from transports.clock import Clock
from transports.store.port import ACCOUNTS, ACTIONS, ATTENTION, COOLDOWNS, PAUSES, SESSIONS, Records, decode_record

_ACTION_SECONDS = 10.0
"""How long other processes can look up who made a change."""

AccountId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._@+-]{1,64}\Z")]

_log = structlog.get_logger()


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An account as the store holds it."""

    id: AccountId
    transport: str
    """The name that its transport has in the settings."""
    secret: str
    """What signs its requests, in the normal form of its transport's `AccountType`."""
    options: dict[str, Any] = {}
    """What else the transport's settings would say of an account, as `concurrency` or `proxy`."""
    created: float
    """Epoch seconds."""
    by: str
    """Who added it."""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"AccountRecord(id={self.id!r}, transport={self.transport!r})"


class PauseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's pause of an account, until it is resumed."""

    by: str
    at: float
    """Epoch seconds."""
    reason: str = ""


class AccountAction(msgspec.Struct, frozen=True, kw_only=True):
    """Who is about to change an account."""

    account: str
    action: str
    """added (or changed), removed, resumed"""
    by: str


class AddResult(StrEnum):
    """What came of adding an account."""

    NEW = "new"
    CHANGED = "changed"
    """Another credential, or other options, for one that was there."""
    THERE = "there"
    """It was there already, and `replace` was not said: nothing is changed."""


_decode_account = msgspec.json.Decoder(AccountRecord).decode
_decode_pause = msgspec.json.Decoder(PauseRecord).decode
_decode_action = msgspec.json.Decoder(AccountAction).decode


class AccountRegistry:
    """The accounts of the store; every method may raise OSError: the store is out of order."""

    def __init__(self, records: Records, clock: Clock) -> None:
        """Keep them in `store`."""
        self._records, self._clock = records, clock

    async def records(self, transport: str | None = None) -> list[AccountRecord]:
        """Return the accounts of a transport, or of all; one that cannot be read is logged and left out."""
        found: list[AccountRecord] = []
        for record in await self._records.scan(ACCOUNTS):
            try:
                entry = _decode_account(record.value)
            except msgspec.MsgspecError:
                _log.error("account_unreadable", account=record.key)
                continue
            if transport in {None, entry.transport}:
                found.append(entry)
        return found

    async def add(self, entry: AccountRecord, *, replace: bool = False) -> AddResult:
        """Add an account; with `replace`, one of this id that is there is changed."""
        value = msgspec.json.encode(entry)
        await self._record_action(AccountAction(account=entry.id, action="added", by=entry.by))
        if await self._records.put(ACCOUNTS, entry.id, value, expected=0) is not None:
            return AddResult.NEW
        if not replace:
            return AddResult.THERE
        await self._records.put(ACCOUNTS, entry.id, value)
        return AddResult.CHANGED

    async def remove(self, account: str, *, by: str = "") -> bool:
        """Forget an account, its session and all that is known of it; say whether it was one of these."""
        await self._record_action(AccountAction(account=account, action="removed", by=by))
        removed = await self._records.remove(ACCOUNTS, account)
        if removed:
            await self._records.remove(SESSIONS, account)
            await self._clear_blocks(account)
        return removed

    async def pause(self, account: str, *, by: str, reason: str = "") -> None:
        """Have no gateway ask an account until it is resumed; what it is asked already goes on."""
        paused = PauseRecord(by=by, at=self._clock.wall(), reason=reason)
        await self._records.put(PAUSES, account, msgspec.json.encode(paused))

    async def resume(self, account: str, *, by: str = "") -> bool:
        """End the pause, the attention state and the cooldowns of an account; return whether there were any."""
        await self._record_action(AccountAction(account=account, action="resumed", by=by))
        return await self._clear_blocks(account)

    async def pauses(self) -> dict[str, PauseRecord]:
        """Return who is paused, by the accounts' ids."""
        return {one.key: decode_record(PAUSES, one, _decode_pause) for one in await self._records.scan(PAUSES)}

    async def recent_actions(self) -> list[tuple[AccountAction, float]]:
        """Return who has just changed which accounts, each with the seconds that it is worth knowing."""
        return [
            (decode_record(ACTIONS, one, _decode_action), one.seconds or 0.0)
            for one in await self._records.scan(ACTIONS)
        ]

    async def _clear_blocks(self, account: str) -> bool:
        """End the pause, attention state and cooldowns of an account; return whether there were any."""
        ended = [await self._records.remove(place, account) for place in (PAUSES, ATTENTION)]
        ended += [
            await self._records.remove(COOLDOWNS, key) for key in await self._records.keys(COOLDOWNS, f"{account}/")
        ]
        return any(ended)

    async def _record_action(self, action: AccountAction) -> None:
        """Say who is about to change an account."""
        if action.by:
            key, value = f"{action.account}/{action.action}", msgspec.json.encode(action)
            await self._records.put(ACTIONS, key, value, seconds=_ACTION_SECONDS)
