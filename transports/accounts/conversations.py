"""Conversations that upstreams keep, by the history that continues them: records of the store that may be lost.

A conversation is found by a key that its next turn's history gives, and one request only continues it. When its time
is over, or too many are kept, it is overdue: `overdue` removes its record and returns it, and the caller deletes it at
the upstream. The record outlives the conversation's time by `_ABANDONED_SECONDS`, so the store's clock alone tells
whether a conversation can still be continued.

The number of conversations is bounded where they are removed, in `overdue`, which runs in the background. A request
therefore pays for its own conversation only, no matter how many are kept.

Two ways to write:

- With other processes at the store, `keep` and `take` write one change each, and return once it is written. A process
  opens `write_together`, so that changes of the same moment share one call: see `transports.accounts.grouped`. It
  remembers
  the last `_MOST_SEEN` conversations that it kept or saw, so that `whose` needs no call for them; that answer is a hint
  which account to prefer. `take` removes the record in the version that was seen: the store decides who continues a
  conversation.
- A process alone opens `write_behind`. Then both are answered from memory, and written together a moment later: see
  `transports.accounts.write_behind`.
"""

import heapq
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256

import anyio.lowlevel
import msgspec
import structlog

from transports.accounts.grouped import GroupedWrites
from transports.accounts.write_behind import PendingChange, WriteBehind
from transports.clock import Clock
from transports.conversations import StoredConversation
from transports.store import Record, Records, Unreadable
from transports.store.port import CONVERSATIONS

MOST_KEPT = 10_000
_ABANDONED_SECONDS = 7 * 86400.0
"""How long an overdue record stays if no process removes it, because its account is gone."""
_GRAIN = 0.01
"""Stores count no finer."""
_LOOK_SECONDS = 600.0
"""Interval between looks for conversations of other processes, which may have ended."""
_READ_AT_ONCE = 500
_MOST_SEEN = 1000
"""Conversations remembered for the turn that follows."""
_LEAST_COMPACTED = 64
"""A schedule with fewer entries is never rebuilt."""
_TRIES = 3

_log = structlog.get_logger()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredConversation).decode


class _KnownRecord(msgspec.Struct, frozen=True):
    """A record, and until when it can be continued, by this process's monotonic clock."""

    name: str
    kept: StoredConversation
    version: int
    until: float


class _Schedule:
    """When one account's conversations are overdue: a heap whose removed entries are dropped later.

    `remove` takes an entry out of `_at` only. Its tuple stays in the heap until it comes to the top, or until such
    tuples outnumber the others, when the heap is rebuilt. Each operation costs O(log n), amortised.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Return the number of conversations."""
        return len(self._at)

    def add(self, name: str, at: float) -> None:
        """Schedule a conversation, or schedule it again; `at` is of this process's monotonic clock."""
        self._at[name] = at
        heapq.heappush(self._heap, (at, name))
        if len(self._heap) > max(_LEAST_COMPACTED, 2 * len(self._at)):
            self._heap = [(at, name) for name, at in self._at.items()]
            heapq.heapify(self._heap)

    def remove(self, name: str, at: float | None = None) -> None:
        """Forget a conversation; with `at`, unless it was scheduled again meanwhile."""
        if at is None or self._at.get(name) == at:
            self._at.pop(name, None)

    def next(self) -> tuple[str, float] | None:
        """Return the conversation that is overdue first, and when; None where there is none."""
        while self._heap:
            at, name = self._heap[0]
            if self._at.get(name) == at:
                return name, at
            heapq.heappop(self._heap)
        return None


class Conversations:
    """The conversations of all processes with one store; every method may raise OSError: it is out of order."""

    def __init__(self, records: Records, clock: Clock, most: int = MOST_KEPT) -> None:
        """Keep about `most` conversations."""
        self._records, self._clock, self._most = records, clock, most
        self._seen: dict[str, _KnownRecord] = {}
        self._due: dict[str, _Schedule] = {}
        """What this process knows of, by account."""
        self._looked: float | None = None
        self._behind: WriteBehind | None = None
        self._writes: Records | GroupedWrites = records
        """What puts and removes records at once."""

    @asynccontextmanager
    async def write_behind(self) -> AsyncGenerator[None]:
        """Answer from memory and write a moment later, for as long as the context lasts; no other process may write."""
        behind = WriteBehind(self._records, self._clock, self._written)
        async with behind.open():
            self._behind = behind
            try:
                yield
            finally:
                self._behind = None

    @asynccontextmanager
    async def write_together(self) -> AsyncGenerator[None]:
        """Write changes of the same moment in one call of the store, for as long as the context lasts."""
        grouped = GroupedWrites(self._records)
        async with grouped.open():
            self._writes = grouped
            try:
                yield
            finally:
                self._writes = self._records

    async def keep(self, key: bytes, kept: StoredConversation, *, seconds: float) -> None:
        """Store a conversation for `seconds`; an earlier one under the same key becomes overdue."""
        name, value, now = _name(key), _encode(kept), self._clock.monotonic()
        behind = self._behind
        if behind is not None and (behind.works or self._is_pending(name)):
            await behind.settled(name)
            pending = behind.find(name)
            if pending is not None and pending.value not in {None, value}:
                self._abandon_pending(behind, pending)
            behind.put(name, value, now + seconds + _ABANDONED_SECONDS)
            self._seen.pop(name, None)
        else:
            version = await self._put(name, value, seconds + _ABANDONED_SECONDS)
            self._remember(_KnownRecord(name, kept, version, now + seconds - _GRAIN))
        self._schedule(kept.account).add(name, now + seconds)

    async def account_of(self, key: bytes) -> str | None:
        """Return the account of the conversation of this key, if there is one to be continued."""
        seen = await self._find(_name(key))
        return seen.kept.account if seen is not None else None

    async def take(self, key: bytes, account: str) -> StoredConversation | None:
        """Return the account's conversation of this key and forget it: no other request continues it from here."""
        name = _name(key)
        known = self._seen.get(name)
        seen = await self._find(name)
        taken = await self._taken(seen, account)
        if taken is None and seen is not None and seen is known and self._behind is None:
            self._seen.pop(name, None)  # another process may have taken it, and kept another one since
            taken = await self._taken(await self._find(name), account)
        return taken

    async def overdue(self, account: str, *, most: int) -> list[StoredConversation]:
        """Remove and return up to `most` conversations of an account: those whose time is over, then those too many."""
        await self._read_all()
        now, found = self._clock.monotonic(), list[StoredConversation]()
        schedule = self._schedule(account)
        surplus = len(schedule) - self._share()
        while len(found) < most and (first := schedule.next()) is not None:
            name, at = first
            if at > now and surplus <= 0:
                break
            surplus -= 1
            found += await self._removed(account, name, surplus=at > now)
            schedule.remove(name, at)
        return found

    def _schedule(self, account: str) -> _Schedule:
        return self._due.setdefault(account, _Schedule())

    def _share(self) -> int:
        """Return the number of conversations that one account may keep."""
        accounts = sum(1 for schedule in self._due.values() if len(schedule))
        return max(1, self._most // max(1, accounts))

    async def _find(self, name: str) -> _KnownRecord | None:
        """Return what can be continued, from memory or from the store."""
        seen = self._seen.get(name)
        if seen is None or seen.until <= self._clock.monotonic() or self._is_pending(name):
            seen = await self._current(name)
        return seen if seen is not None and seen.until > self._clock.monotonic() else None

    async def _current(self, name: str) -> _KnownRecord | None:
        """Return what is kept under a name, from the store unless it has a pending change."""
        behind = self._behind
        if behind is None:
            return await self._read_now(name)
        while True:
            await behind.settled(name)
            pending = behind.find(name)
            if pending is not None:
                return self._pending(name, pending)
            rounds = behind.rounds
            seen = await self._read_now(name)
            if behind.rounds == rounds and behind.find(name) is None:
                return seen

    async def _read_now(self, name: str) -> _KnownRecord | None:
        """Return what the store keeps under a name, and remember it."""
        self._seen.pop(name, None)
        record = await self._get(name)
        seen = self._read(record) if record is not None else None
        if seen is not None:
            self._remember(seen)
        return seen

    def _is_pending(self, name: str) -> bool:
        return self._behind is not None and self._behind.find(name) is not None

    def _remember(self, seen: _KnownRecord) -> None:
        self._seen.pop(seen.name, None)
        if len(self._seen) >= _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[seen.name] = seen

    async def _taken(self, seen: _KnownRecord | None, account: str) -> StoredConversation | None:
        """Return a conversation that this call, and no other, has forgotten."""
        if seen is None or seen.kept.account != account or not await self._remove(seen):
            return None
        self._schedule(account).remove(seen.name)
        return seen.kept

    async def _remove(self, seen: _KnownRecord) -> bool:
        """Remove what has just been found; return whether this call did it."""
        self._seen.pop(seen.name, None)
        if self._behind is None:
            return await self._writes.remove(CONVERSATIONS, seen.name, expected=seen.version)
        if self._behind.find(seen.name) is not None:
            self._behind.cancel(seen.name)
        else:
            self._behind.remove(seen.name, seen.version)
        return True

    async def _removed(self, account: str, name: str, *, surplus: bool) -> list[StoredConversation]:
        """Remove a conversation; return it unless another process kept it longer, moved it or removed it first."""
        seen = await self._current(name)
        if seen is not None and (
            seen.kept.account != account or (seen.until > self._clock.monotonic() and not surplus)
        ):
            self._schedule(seen.kept.account).add(name, seen.until)
            return []
        return [seen.kept] if seen is not None and await self._remove(seen) else []

    @staticmethod
    def _pending(name: str, pending: PendingChange) -> _KnownRecord | None:
        """Return what a pending change leaves; None: nothing."""
        return None if pending.value is None else _seen(name, pending.value, pending.expected, pending.until)

    async def _written(self, name: str, pending: PendingChange, version: int | None) -> None:
        """Note what became of a change that was written behind."""
        if pending.value is None:
            return
        if version is None:
            version = await self._put(name, pending.value, pending.until - self._clock.monotonic())
        self._remember(_seen(name, pending.value, version, pending.until))

    async def _read_all(self) -> None:
        """Find what other processes have kept, if it is time to."""
        now = self._clock.monotonic()
        if self._looked is not None and now - self._looked < _LOOK_SECONDS:
            return
        after = ""
        while records := await self._records.scan(CONVERSATIONS, after=after, limit=_READ_AT_ONCE):
            for seen in filter(None, map(self._read, records)):
                self._schedule(seen.kept.account).add(seen.name, seen.until)
            after = records[-1].key
            await anyio.lowlevel.checkpoint()
        self._due = {account: schedule for account, schedule in self._due.items() if self._is_asked(schedule, now)}
        self._looked = now

    @staticmethod
    def _is_asked(schedule: _Schedule, now: float) -> bool:
        """Return whether an account's overdue conversations are still asked for; a removed account's are not."""
        first = schedule.next()
        return first is not None and now - first[1] < _ABANDONED_SECONDS

    async def _put(self, name: str, value: bytes, lives: float) -> int:
        """Put a record and return its version; another conversation that it replaces is overdue."""
        version = await self._writes.put(CONVERSATIONS, name, value, expected=0, seconds=lives)
        for _ in range(_TRIES):
            if version is not None:
                break
            there, expected = await self._get(name), None
            if there is not None:
                expected = there.version
            version = await self._writes.put(CONVERSATIONS, name, value, expected=expected, seconds=lives)
            if version is not None and there is not None and there.value != value:
                await self._abandon(there)
        return version or 0

    async def _abandon(self, record: Record) -> None:
        """Let a conversation that was put out of its place be overdue."""
        seen, name = self._read(record), secrets.token_hex(32)
        if seen is None:
            return
        with suppress(OSError):  # then it stays with the upstream
            await self._writes.put(CONVERSATIONS, name, record.value, seconds=_ABANDONED_SECONDS)
            self._schedule(seen.kept.account).add(name, self._clock.monotonic())

    def _abandon_pending(self, behind: WriteBehind, pending: PendingChange) -> None:
        """Let a conversation be overdue that was not written before another took its place."""
        if pending.value is None:
            return
        name, now = secrets.token_hex(32), self._clock.monotonic()
        behind.put(name, pending.value, now + _ABANDONED_SECONDS)
        self._schedule(_decode(pending.value).account).add(name, now)

    async def _get(self, name: str) -> Record | None:
        """Return a record; None: there is none that can be read."""
        try:
            return await self._records.get(CONVERSATIONS, name)
        except Unreadable:
            return None

    def _read(self, record: Record) -> _KnownRecord | None:
        try:
            kept = _decode(record.value)
        except msgspec.MsgspecError:
            _log.warning("conversation_unreadable")
            return None
        left = (record.seconds or 0.0) - _ABANDONED_SECONDS - _GRAIN
        return _KnownRecord(record.key, kept, record.version, self._clock.monotonic() + left)


def _seen(name: str, value: bytes, version: int, until: float) -> _KnownRecord:
    """Return what is found under a name whose record is kept `until` then."""
    return _KnownRecord(name, _decode(value), version, until - _ABANDONED_SECONDS - _GRAIN)


def _name(key: bytes) -> str:
    return sha256(key).hexdigest()
