"""Account states shared by all processes: pauses, needed attention and cooldowns.

Each process has a copy in memory, so no request waits for the store. Changes of this process are written in the
background, as soon as the store can be reached. Changes of other processes arrive a moment later. When a record is
removed from the store, the state ends here too.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Generic, Protocol, TypeVar

import anyio
import msgspec
import structlog

from transports.accounts.records import AttentionRecord, CooldownRecord, read_attention, read_cooldowns
from transports.accounts.registry import AccountRegistry, PauseRecord
from transports.clock import Clock
from transports.store import ChangeFeed, Store
from transports.store.port import ACTIONS, ATTENTION, COOLDOWNS, PAUSES, Collection, Unreadable
from transports.tasks import Trigger, background_tasks_with_final

_LAST_SAVE_SECONDS = 2.0

_log = structlog.get_logger()
ValueT = TypeVar("ValueT")


class ActiveCooldown(msgspec.Struct, frozen=True):
    """A cooldown, and when it ends by this process's clock."""

    record: CooldownRecord
    until: float


class StateListener(Protocol):
    """Is called with all records of a kind when another process has changed one of them."""

    def pauses_changed(self, pauses: Mapping[str, PauseRecord]) -> None:
        """Mark exactly these accounts as paused."""
        ...

    def attention_changed(self, attention: Mapping[str, AttentionRecord]) -> None:
        """Mark exactly these accounts as needing attention."""
        ...

    def cooldowns_changed(self, cooldowns: Mapping[str, ActiveCooldown]) -> None:
        """Apply exactly these cooldowns, by their keys."""
        ...


class _Table(Generic[ValueT]):
    """The records of one collection: as in the store, except for changes that are not written yet."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.known: dict[str, ValueT] = {}
        self.unsaved: set[str] = set()
        self._epoch: str | None = None

    def merge(self, stored: dict[str, ValueT], epoch: str) -> None:
        """Merge the store's records; records that a new or emptied server lacks are written again."""
        if self._epoch not in {None, epoch}:
            self.unsaved |= self.known.keys() - stored.keys()
        self._epoch = epoch
        mine = {key: self.known[key] for key in self.unsaved if key in self.known}
        self.known = {key: value for key, value in stored.items() if key not in self.unsaved} | mine


class SharedState:
    """This process's copy of all account states."""

    def __init__(self, store: Store, change_feed: ChangeFeed, clock: Clock) -> None:
        """Read changes that `change_feed` announces; write changes while the context of `open` lasts."""
        self._records, self._locks, self._clock = store.records, store.locks, clock
        self._registry = AccountRegistry(store.records, clock)
        self._listeners: list[StateListener] = []
        self._attention = _Table[AttentionRecord](ATTENTION)
        self._pauses = _Table[PauseRecord](PAUSES)
        self._cooldowns = _Table[ActiveCooldown](COOLDOWNS)
        self._actions: dict[tuple[str, str], tuple[str, float]] = {}
        """Actor of each recent action by account and action, and until when it counts."""
        self._lock = anyio.Lock()
        self._changes = Trigger()
        change_feed.subscribe(ACTIONS, self._load_actions)  # before the changes that they announce
        change_feed.subscribe(ATTENTION, self._load_attention)
        change_feed.subscribe(PAUSES, self._load_pauses)
        change_feed.subscribe(COOLDOWNS, self._load_cooldowns)

    def add_listener(self, listener: StateListener) -> None:
        """Notify a listener of all states, now and whenever they change."""
        self._listeners.append(listener)
        self.notify(listener)

    def notify(self, listener: StateListener) -> None:
        """Notify a listener of all states, because some of its accounts may be new."""
        listener.pauses_changed(self._pauses.known)
        listener.attention_changed(self._attention.known)
        listener.cooldowns_changed(self._active_cooldowns())

    def notify_others(self, listener: StateListener) -> None:
        """Notify all listeners but one of all states."""
        for other in self._listeners:
            if other is not listener:
                self.notify(other)

    def actor_of(self, account: str, what: str, otherwise: str = "") -> str:
        """Return who has just done this to an account, or `otherwise`."""
        by, until = self._actions.get((account, what), ("", 0.0))
        return by if until > self._clock.monotonic() else otherwise

    def set_attention(self, account: str, attention: AttentionRecord) -> None:
        """Set an account's attention state."""
        self._attention.known[account] = attention
        self._mark_unsaved(self._attention, account)

    def clear_attention(self, account: str) -> None:
        """Clear an account's attention state."""
        self._attention.known.pop(account, None)
        self._mark_unsaved(self._attention, account)

    def set_cooldown(self, record: CooldownRecord, seconds: float) -> None:
        """Start a cooldown of an account or an address."""
        self._cooldowns.known[record.key] = ActiveCooldown(record, self._clock.monotonic() + seconds)
        self._mark_unsaved(self._cooldowns, record.key)

    def clear_cooldown(self, record: CooldownRecord) -> None:
        """End a cooldown."""
        self._cooldowns.known.pop(record.key, None)
        self._mark_unsaved(self._cooldowns, record.key)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Write changes to the store for the duration of the context, and the last ones at its end."""
        saves = partial(self._changes.run, self._save, lambda: _log.debug("account_state_write_failed"), self._clock)
        async with background_tasks_with_final((saves,), self._save, _LAST_SAVE_SECONDS, "account_state_write_failed"):
            yield

    def _mark_unsaved(self, table: "_Table[AttentionRecord] | _Table[ActiveCooldown]", key: str) -> None:
        table.unsaved.add(key)
        self._changes.set()

    async def _save(self) -> None:
        async with self._lock:
            await self._save_table(
                self._attention, lambda key, record: self._records.put(ATTENTION, key, msgspec.json.encode(record))
            )
            await self._save_table(
                self._pauses,
                lambda key, record: self._records.put(PAUSES, key, msgspec.json.encode(record), expected=0),
            )
            await self._save_table(self._cooldowns, self._put_cooldown)

    async def _save_table(
        self,
        table: "_Table[ValueT]",
        put: Callable[[str, ValueT], Awaitable[object]],
    ) -> None:
        """Write unsaved records; those that change meanwhile are written next."""
        for key in list(table.unsaved):
            value = table.known.get(key)
            if value is None:
                await self._records.remove(table.collection, key)
            else:
                await put(key, value)
            if table.known.get(key) is value:
                table.unsaved.discard(key)
            else:
                self._changes.set()

    async def _put_cooldown(self, key: str, cooldown: ActiveCooldown) -> None:
        """Write a cooldown to the store, unless a longer one is there."""
        while (seconds := cooldown.until - self._clock.monotonic()) > 0:
            record = await self._records.get(COOLDOWNS, key)
            if record is not None and (record.seconds or 0.0) >= seconds:
                return
            version = record.version if record is not None else 0
            value = msgspec.json.encode(cooldown.record)
            if await self._records.put(COOLDOWNS, key, value, expected=version, seconds=seconds) is not None:
                return

    async def _load_actions(self) -> None:
        now = self._clock.monotonic()
        actions = await self._registry.recent_actions()
        self._actions = {(action.account, action.action): (action.by, now + seconds) for action, seconds in actions}

    async def _load_attention(self) -> None:
        read = partial(read_attention, self._records)
        await self._load(self._attention, read, lambda one: one.attention_changed(self._attention.known))

    async def _load_pauses(self) -> None:
        await self._load(self._pauses, self._registry.pauses, lambda one: one.pauses_changed(self._pauses.known))

    async def _load_cooldowns(self) -> None:
        async def read() -> dict[str, ActiveCooldown]:
            now, there = self._clock.monotonic(), await read_cooldowns(self._records)
            return {record.key: ActiveCooldown(record, now + seconds) for record, seconds in there}

        await self._load(self._cooldowns, read, lambda one: one.cooldowns_changed(self._active_cooldowns()))

    async def _load(
        self,
        table: "_Table[ValueT]",
        read: Callable[[], Awaitable[dict[str, ValueT]]],
        notify: Callable[[StateListener], None],
    ) -> None:
        """Read the records of a collection and notify the listeners; unreadable records change nothing."""
        async with self._lock:
            try:
                stored, epoch = await read(), await self._locks.epoch()
            except Unreadable as error:
                _log.error("account_state_unreadable", collection=table.collection.name, error=str(error))
                return
            table.merge(stored, epoch)
            if table.unsaved:
                self._changes.set()
            for listener in self._listeners:
                notify(listener)

    def _active_cooldowns(self) -> dict[str, ActiveCooldown]:
        now = self._clock.monotonic()
        over = {key for key, cooldown in self._cooldowns.known.items() if cooldown.until <= now}
        self._cooldowns.known = {key: cooldown for key, cooldown in self._cooldowns.known.items() if key not in over}
        self._cooldowns.unsaved -= over  # not removed from the store: another process may have written a longer one
        return self._cooldowns.known
