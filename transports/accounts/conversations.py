"""Stores conversations that exist upstream, so that a later request can continue them; a lost record does little harm.

A conversation is stored under a key that the next request can compute from its history, and is continued by one request
only. When it expires, or too many are stored, it is overdue: `overdue` removes its record and returns it, and the
caller deletes it at the upstream. The record outlives the conversation by `_ABANDONED_SECONDS`, so the store's clock
alone decides whether a conversation can still be continued.

The number of conversations is limited where they are removed, in `overdue`, which runs in the background. So a
request's cost does not depend on how many are stored.

Example: an answer is kept under a digest of its history H for 30 minutes. The next request has the history H, so
`account_of` names the account to prefer, and `take` removes the record and returns the conversation. Two requests with
the same history race for the record: the second one gets None, and starts a new conversation.

There are two ways to write:

- If other processes use the store, `keep` and `take` each write one change, and return once it is written. The process
  opens `write_together`, so that simultaneous changes share one call: see `transports.accounts.grouped`. It remembers
  the last `_MOST_KNOWN` conversations that it wrote or read, so `account_of` needs no call for them: its answer is only
  a hint. `take` removes the record in the remembered version, so the store decides which request gets it.
- A single process opens `write_behind`. Then both are answered from memory, and written together a moment later: see
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
from transports.store import Record, Records, Unreadable
from transports.store.port import CONVERSATIONS

MOST_KEPT = 10_000
_ABANDONED_SECONDS = 7 * 86400.0
"""How long an overdue record stays if no process removes it, because its account was removed."""
_TIME_ERROR = 0.01
"""Stores may count time this inexactly, in seconds."""
_READ_SECONDS = 600.0
"""How often conversations of other processes, which may have ended, are read."""
_PAGE_SIZE = 500
_MOST_KNOWN = 1000
"""Conversations remembered for the next turn."""
_LEAST_COMPACTED = 64
"""A schedule with fewer entries is never rebuilt."""
_TRIES = 3

_log = structlog.get_logger()


class StoredConversation(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation that exists upstream and that a later request can continue."""

    account: str
    conversation: bytes
    """What the transport needs to continue it, in the transport's encoding."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredConversation).decode


class _KnownRecord(msgspec.Struct, frozen=True):
    """A record of the store as this process knows it."""

    name: str
    conversation: StoredConversation
    version: int
    until: float
    """When the conversation expires, by the monotonic clock."""


class _Schedule:
    """When each of one account's conversations is overdue: a heap with lazy removal.

    `remove` deletes an entry from `_at` only. Its tuple stays in the heap until it comes to the top, or until such
    tuples outnumber the others and the heap is rebuilt. Each operation costs O(log n), amortised.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._at: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        """Return the number of conversations."""
        return len(self._at)

    def add(self, name: str, at: float) -> None:
        """Schedule a conversation for `at`, by the monotonic clock; an earlier schedule is replaced."""
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
        """Return the conversation that is overdue first, and when; None if there are none."""
        while self._heap:
            at, name = self._heap[0]
            if self._at.get(name) == at:
                return name, at
            heapq.heappop(self._heap)
        return None


class Conversations:
    """The conversations of all processes that use the store; every method may raise OSError if the store fails."""

    def __init__(self, records: Records, clock: Clock, most: int = MOST_KEPT) -> None:
        """Keep about `most` conversations."""
        self._records, self._clock, self._most = records, clock, most
        self._known: dict[str, _KnownRecord] = {}
        self._schedules: dict[str, _Schedule] = {}
        """The conversations that this process knows, by account."""
        self._read_at: float | None = None
        """When the conversations of all processes were read last."""
        self._behind: WriteBehind | None = None
        self._writes: Records | GroupedWrites = records
        """Puts and removes records at once."""

    @asynccontextmanager
    async def write_behind(self) -> AsyncGenerator[None]:
        """Answer from memory and write a moment later while the context lasts; no other process may write."""
        behind = WriteBehind(self._records, self._clock, self._written)
        async with behind.open():
            self._behind = behind
            try:
                yield
            finally:
                self._behind = None

    @asynccontextmanager
    async def write_together(self) -> AsyncGenerator[None]:
        """Write simultaneous changes in one call of the store while the context lasts."""
        grouped = GroupedWrites(self._records)
        async with grouped.open():
            self._writes = grouped
            try:
                yield
            finally:
                self._writes = self._records

    async def keep(self, key: bytes, conversation: StoredConversation, *, seconds: float) -> None:
        """Store a conversation for `seconds`; an earlier one under the same key becomes overdue."""
        name, value, now = _name(key), _encode(conversation), self._clock.monotonic()
        behind = self._behind
        if behind is not None and (behind.works or self._is_pending(name)):
            await behind.settled(name)
            pending = behind.find(name)
            if pending is not None and pending.value is not None and pending.value != value:
                replaced = secrets.token_hex(32)  # it was never written: store it under a key that no request has
                behind.put(replaced, pending.value, now + _ABANDONED_SECONDS)
                self._schedule(_decode(pending.value).account).add(replaced, now)
            behind.put(name, value, now + seconds + _ABANDONED_SECONDS)
            self._known.pop(name, None)
        else:
            version = await self._put(name, value, seconds + _ABANDONED_SECONDS)
            self._remember(_KnownRecord(name, conversation, version, now + seconds - _TIME_ERROR))
        self._schedule(conversation.account).add(name, now + seconds)

    async def account_of(self, key: bytes) -> str | None:
        """Return the account of the conversation under this key; None if there is none to continue."""
        found = await self._find(_name(key))
        return found.conversation.account if found is not None else None

    async def take(self, key: bytes, account: str) -> StoredConversation | None:
        """Remove and return the account's conversation under this key, so that no other request continues it."""
        name = _name(key)
        remembered = self._known.get(name)
        found = await self._find(name)
        taken = await self._take(found, account)
        if taken is None and found is not None and found is remembered and self._behind is None:
            self._known.pop(name, None)  # another process may have taken it, and kept another one since
            taken = await self._take(await self._find(name), account)
        return taken

    async def overdue(self, account: str, *, most: int) -> list[StoredConversation]:
        """Remove and return up to `most` conversations of an account: the expired ones, then those over the limit."""
        await self._read_all()
        now, found = self._clock.monotonic(), list[StoredConversation]()
        schedule = self._schedule(account)
        accounts = sum(1 for known in self._schedules.values() if len(known))
        surplus = len(schedule) - max(1, self._most // max(1, accounts))
        while len(found) < most and (first := schedule.next()) is not None:
            name, at = first
            if at > now and surplus <= 0:
                break
            surplus -= 1
            found += await self._remove_overdue(account, name, surplus=at > now)
            schedule.remove(name, at)
        return found

    def _schedule(self, account: str) -> _Schedule:
        return self._schedules.setdefault(account, _Schedule())

    async def _find(self, name: str) -> _KnownRecord | None:
        """Return a record whose conversation can be continued, from memory or from the store."""
        found = self._known.get(name)
        if found is None or found.until <= self._clock.monotonic() or self._is_pending(name):
            found = await self._current(name)
        return found if found is not None and found.until > self._clock.monotonic() else None

    async def _current(self, name: str) -> _KnownRecord | None:
        """Return a record: as a pending change leaves it, else as the store has it."""
        behind = self._behind
        if behind is None:
            return await self._load(name)
        while True:
            await behind.settled(name)
            pending = behind.find(name)
            if pending is not None:
                return None if pending.value is None else _after(name, pending.value, pending.expected, pending.until)
            rounds = behind.rounds
            found = await self._load(name)
            if behind.rounds == rounds and behind.find(name) is None:
                return found

    async def _load(self, name: str) -> _KnownRecord | None:
        """Return a record as the store has it, and remember it."""
        self._known.pop(name, None)
        record = await self._get(name)
        found = self._read(record) if record is not None else None
        if found is not None:
            self._remember(found)
        return found

    def _is_pending(self, name: str) -> bool:
        return self._behind is not None and self._behind.find(name) is not None

    def _remember(self, record: _KnownRecord) -> None:
        self._known.pop(record.name, None)
        if len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[record.name] = record

    async def _take(self, found: _KnownRecord | None, account: str) -> StoredConversation | None:
        """Remove a record and return its conversation; None: it is another account's, or another call removed it."""
        if found is None or found.conversation.account != account or not await self._remove(found):
            return None
        self._schedule(account).remove(found.name)
        return found.conversation

    async def _remove(self, found: _KnownRecord) -> bool:
        """Remove a record that was just found; return False if another call removed it first."""
        self._known.pop(found.name, None)
        if self._behind is None:
            return await self._writes.remove(CONVERSATIONS, found.name, expected=found.version)
        if self._behind.find(found.name) is not None:
            self._behind.cancel(found.name)
        else:
            self._behind.remove(found.name, found.version)
        return True

    async def _remove_overdue(self, account: str, name: str, *, surplus: bool) -> list[StoredConversation]:
        """Remove a conversation; return it unless another process extended it, moved it or removed it first."""
        found = await self._current(name)
        if found is None:
            return []
        if found.conversation.account != account or (found.until > self._clock.monotonic() and not surplus):
            self._schedule(found.conversation.account).add(name, found.until)
            return []
        return [found.conversation] if await self._remove(found) else []

    async def _written(self, name: str, pending: PendingChange, version: int | None) -> None:
        """Remember a change that was written behind; if another process's record was there, replace it."""
        if pending.value is None:
            return
        if version is None:
            version = await self._put(name, pending.value, pending.until - self._clock.monotonic())
        self._remember(_after(name, pending.value, version, pending.until))

    async def _read_all(self) -> None:
        """Schedule the conversations of all processes, unless they were read recently; forget removed accounts."""
        now = self._clock.monotonic()
        if self._read_at is not None and now - self._read_at < _READ_SECONDS:
            return
        after = ""
        while records := await self._records.scan(CONVERSATIONS, after=after, limit=_PAGE_SIZE):
            for found in filter(None, map(self._read, records)):
                self._schedule(found.conversation.account).add(found.name, found.until)
            after = records[-1].key
            await anyio.lowlevel.checkpoint()
        for account, schedule in list(self._schedules.items()):
            first = schedule.next()
            if first is None or now - first[1] >= _ABANDONED_SECONDS:  # `overdue` is no longer called for it
                del self._schedules[account]
        self._read_at = now

    async def _put(self, name: str, value: bytes, lifetime: float) -> int:
        """Put a record and return its version; another conversation that it replaces becomes overdue."""
        version = await self._writes.put(CONVERSATIONS, name, value, expected=0, seconds=lifetime)
        for _ in range(_TRIES):
            if version is not None:
                break
            record = await self._get(name)
            expected = record.version if record is not None else None
            version = await self._writes.put(CONVERSATIONS, name, value, expected=expected, seconds=lifetime)
            if version is not None and record is not None and record.value != value:
                await self._keep_replaced(record)
        return version or 0

    async def _keep_replaced(self, record: Record) -> None:
        """Store a replaced conversation under a key that no request has, overdue at once."""
        replaced, name = self._read(record), secrets.token_hex(32)
        if replaced is None:
            return
        with suppress(OSError):  # then it stays at the upstream
            await self._writes.put(CONVERSATIONS, name, record.value, seconds=_ABANDONED_SECONDS)
            self._schedule(replaced.conversation.account).add(name, self._clock.monotonic())

    async def _get(self, name: str) -> Record | None:
        """Return a record, or None if there is none that can be decrypted."""
        try:
            return await self._records.get(CONVERSATIONS, name)
        except Unreadable:
            return None

    def _read(self, record: Record) -> _KnownRecord | None:
        try:
            conversation = _decode(record.value)
        except msgspec.MsgspecError:
            _log.warning("conversation_unreadable")
            return None
        left = (record.seconds or 0.0) - _ABANDONED_SECONDS - _TIME_ERROR
        return _KnownRecord(record.key, conversation, record.version, self._clock.monotonic() + left)


def _after(name: str, value: bytes, version: int, until: float) -> _KnownRecord:
    """Return a record as a change leaves it, which keeps the record `until` then."""
    return _KnownRecord(name, _decode(value), version, until - _ABANDONED_SECONDS - _TIME_ERROR)


def _name(key: bytes) -> str:
    return sha256(key).hexdigest()
