"""Which conversations upstreams keep for whom: records of the store that may be lost.

A conversation is found by a key that its next turn's history gives, and gone on with by one request only. When its
time is over, or too many are kept, it is overdue: whoever asks for it tells the upstream to forget it too. Its record
lives on until then, so that what is left of a record's time says which of both it is, by the store's clock alone.
"""

import heapq
import secrets
from contextlib import suppress
from hashlib import sha256

import anyio.lowlevel
import msgspec
import structlog

from transports.base import Kept
from transports.clock import Clock
from transports.store import Record, Store, Unreadable
from transports.store.port import CONVERSATIONS

MOST_KEPT = 10_000
_ABANDONED_SECONDS = 7 * 86400.0
"""What nobody has asked for so long after its time is forgotten: its account is gone."""
_GRAIN = 0.01
"""Stores count no finer."""
_LOOK_SECONDS = 600.0
"""What other processes have kept is looked for so often: those that ended leave it to us."""
_READ_AT_ONCE = 500
_MOST_SEEN = 1000
"""So many looks are remembered for the `take` that follows."""
_SURPLUS_PER_MOST = 100
"""A hundredth more than may be kept is, so that not every one that comes has another go."""
_TRIES = 3

_log = structlog.get_logger()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


class _Seen(msgspec.Struct, frozen=True):
    """A record, and until when it can be gone on with, by this process's clock."""

    record: Record
    kept: Kept
    until: float


class _Due(msgspec.Struct, frozen=True):
    """When an account's conversation is overdue, by this process's clock."""

    account: str
    at: float


class Conversations:
    """The conversations of all processes with one store; every method may raise OSError: it is out of order."""

    def __init__(self, store: Store, clock: Clock, most: int = MOST_KEPT) -> None:
        """Keep about so many."""
        self._store, self._clock, self._most = store, clock, most
        self._seen: dict[str, _Seen] = {}
        self._due: dict[str, _Due] = {}
        """What this process knows of, by key."""
        self._looked: float | None = None

    async def keep(self, key: bytes, kept: Kept, *, seconds: float) -> None:
        """Remember a conversation for so long; another one that the key led to is overdue."""
        name, value = _name(key), _encode(kept)
        lives = seconds + _ABANDONED_SECONDS
        version = await self._store.put(CONVERSATIONS, name, value, expected=0, seconds=lives)
        for _ in range(_TRIES):
            if version is not None:
                break
            there, expected = await self._get(name), None
            if there is not None:
                expected = there.version
            version = await self._store.put(CONVERSATIONS, name, value, expected=expected, seconds=lives)
            if version is not None and there is not None and there.value != value:
                await self._leave(there)
        self._seen.pop(name, None)
        self._due[name] = _Due(kept.account, self._clock.monotonic() + seconds)
        await self._bound()

    async def whose(self, key: bytes) -> str | None:
        """Return the account of the conversation of this key, if there is one to be gone on with."""
        seen = await self._look_at(_name(key))
        return seen.kept.account if seen is not None else None

    async def take(self, key: bytes, account: str) -> Kept | None:
        """Return the account's conversation of this key and forget it: nobody else goes on with it from here."""
        name = _name(key)
        seen = self._seen.pop(name, None)
        if seen is not None and (kept := await self._taken(seen, account)) is not None:
            return kept
        seen = await self._look_at(name)
        self._seen.pop(name, None)
        return await self._taken(seen, account) if seen is not None else None

    async def overdue(self, account: str, *, most: int) -> list[Kept]:
        """Return conversations of an account whose time is over, and forget them; `most` of them at once."""
        await self._look()
        now, found = self._clock.monotonic(), list[Kept]()
        over = [name for name, due in self._due.items() if due.account == account and due.at <= now]
        for name in over:
            if len(found) == most:
                break
            found += await self._forgotten(name)
        return found

    async def _look_at(self, name: str) -> _Seen | None:
        """Return what can be gone on with; it is remembered, so that to take it needs no second look."""
        self._seen.pop(name, None)
        record = await self._get(name)
        seen = self._read(record) if record is not None else None
        if seen is None or seen.until <= self._clock.monotonic():
            return None
        if len(self._seen) >= _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[name] = seen
        return seen

    async def _taken(self, seen: _Seen, account: str) -> Kept | None:
        """Return a conversation that this call, and no other, has forgotten."""
        if seen.kept.account != account or seen.until <= self._clock.monotonic():
            return None
        record = seen.record
        if not await self._store.remove(CONVERSATIONS, record.key, expected=record.version):
            return None
        self._due.pop(record.key, None)
        return seen.kept

    async def _forgotten(self, name: str) -> list[Kept]:
        """Forget a conversation if it is overdue indeed; return it, if nobody else has."""
        record = await self._get(name)
        seen = self._read(record) if record is not None else None
        if seen is not None and seen.until > self._clock.monotonic():
            self._due[name] = _Due(seen.kept.account, seen.until)
            return []
        removed = record is not None and await self._store.remove(CONVERSATIONS, name, expected=record.version)
        self._due.pop(name, None)
        return [seen.kept] if seen is not None and removed else []

    async def _look(self) -> None:
        """Find what other processes have kept, if it is time to."""
        now = self._clock.monotonic()
        if self._looked is not None and now - self._looked < _LOOK_SECONDS:
            return
        after = ""
        while records := await self._store.scan(CONVERSATIONS, after=after, most=_READ_AT_ONCE):
            seen = [known for record in records if (known := self._read(record)) is not None]
            self._due |= {one.record.key: _Due(one.kept.account, one.until) for one in seen}
            after = records[-1].key
            await anyio.lowlevel.checkpoint()
        self._due = {name: due for name, due in self._due.items() if now - due.at < _ABANDONED_SECONDS}
        self._looked = now

    async def _bound(self) -> None:
        """Let what is too much be overdue, that which has the least time left first."""
        if len(self._due) <= self._most + self._most // _SURPLUS_PER_MOST:
            return
        now = self._clock.monotonic()
        ready = [(due.at, name) for name, due in self._due.items() if due.at > now]
        for _, name in heapq.nsmallest(len(ready) - self._most, ready):
            record = await self._get(name)
            due = self._due.pop(name, None)
            if record is None or due is None:
                continue
            lives = _ABANDONED_SECONDS
            await self._store.put(CONVERSATIONS, name, record.value, expected=record.version, seconds=lives)
            self._due[name] = _Due(due.account, now)

    async def _leave(self, record: Record) -> None:
        """Let a conversation that was put out of its place be overdue."""
        seen, name = self._read(record), secrets.token_hex(32)
        if seen is None:
            return
        with suppress(OSError):  # then it stays with the upstream
            await self._store.put(CONVERSATIONS, name, record.value, seconds=_ABANDONED_SECONDS)
            self._due[name] = _Due(seen.kept.account, self._clock.monotonic())

    async def _get(self, name: str) -> Record | None:
        """Return a record; None: there is none that can be read."""
        try:
            return await self._store.get(CONVERSATIONS, name)
        except Unreadable:
            return None

    def _read(self, record: Record) -> _Seen | None:
        try:
            kept = _decode(record.value)
        except msgspec.MsgspecError:
            _log.warning("conversation_unreadable")
            return None
        left = (record.seconds or 0.0) - _ABANDONED_SECONDS - _GRAIN
        return _Seen(record, kept, self._clock.monotonic() + left)


def _name(key: bytes) -> str:
    return sha256(key).hexdigest()
