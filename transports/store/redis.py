"""The store that the replicas of a gateway share, on a Redis or Valkey server.

Every operation is one Lua script (`transports.store.lua` describes the keys), so it is atomic and takes one round trip.
A record is a hash with a value and a version; a sorted set per collection indexes its keys for scans. Example:

- `put(SESSIONS, "a", b"1", expected=0)` runs PUT with the keys `gw:record:session:a`, `gw:index:session`,
  `gw:due:session` and `gw:revision`. The script compares the version, writes the hash, adds `a` to the index, and
  returns the new version, which is also the collection's new revision.
- `scan(SESSIONS)` runs PAGE, page after page, until the index has no more keys.

Calls go through `RedisPool`, which limits their time and fails at once while the server does not answer.

Source: reliability 2.3
"""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from transports.clock import Clock
from transports.store import lua
from transports.store.encryption import Cipher
from transports.store.instrumented import StoreObserver
from transports.store.port import Bucket, Change, Collection, KeyRange, Record
from transports.store.records import BaseRecords
from transports.store.redis_connection import RedisConnection
from transports.store.redis_server import RedisAddress, RedisPool, ScriptCall, evaluate
from transports.tasks import background_tasks

_BEHIND = "\x7f"
"""Sorts after every character that a key may have."""
_SHORT = 1024 * 1024
"""Longer values, in bytes, are fetched one by one, with more time."""
_NAMES, _RECORDS = 1000, 200
"""Page sizes."""
_REPLICA_SECONDS = 0.2

_MILLISECONDS, _MICROSECONDS = 1000.0, 1_000_000.0


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Connection options of the Redis store."""

    url: str
    prefix: str = "gw"
    """Prefix of every key."""
    timeout_seconds: float = 0.25
    """Timeout of one call."""

    def __repr__(self) -> str:
        """Leave out the URL, which may hold a password."""
        return f"RedisOptions(prefix={self.prefix!r})"


@asynccontextmanager
async def open_redis(
    options: RedisOptions, clock: Clock, observer: StoreObserver, cipher: Cipher | None = None
) -> AsyncGenerator["RedisStore"]:
    """Open a store, and probe its server until the context ends; the server need not be available yet.

    Raises:
        ValueError: the URL is invalid; the message shows no part of it.

    """
    server = RedisPool(RedisAddress.of(options.url), clock, observer, options.timeout_seconds)
    if not await server.probe():
        server.breaker.fail(timed_out=True)
    try:
        async with background_tasks() as tasks:
            tasks.start_soon(server.breaker.run, server.probe)
            yield RedisStore(server, options.prefix, cipher)
    finally:
        await server.close()


class RedisStore(BaseRecords):
    """A store on a Redis or Valkey server, with all three ports."""

    def __init__(self, server: RedisPool, prefix: str, cipher: Cipher | None = None) -> None:
        """Use `server`, which the caller opens and closes."""
        super().__init__(cipher)
        self._server, self._prefix = server, prefix
        self._replicated = False
        self._shared_keys: dict[str, tuple[str, str, str]] = {}
        """By collection: its index, due and revision keys."""

    async def revisions(self) -> dict[str, int]:
        """Return the revision of each collection."""
        found = await self._server.run(lua.REVISIONS, [self._key("revision")])
        return {name.decode(): int(version) for name, version in zip(found[::2], found[1::2], strict=True)}

    async def acquire(self, name: str, owner: str, seconds: float, epoch: str | None = None) -> int | None:
        """Acquire a lock unless another owner holds it; return a fencing token."""
        keys = [self._key("lock", name), self._key("fence")]
        fence = await self._server.run(lua.ACQUIRE, keys, owner, _ms(seconds), epoch or "")
        return None if fence is None else int(fence)

    async def renew(self, name: str, owner: str, seconds: float) -> bool:
        """Extend a lock; return False if the owner no longer holds it."""
        return bool(await self._server.run(lua.RENEW, [self._key("lock", name)], owner, _ms(seconds)))

    async def release(self, name: str, owner: str) -> None:
        """Release a lock if the owner holds it."""
        await self._server.run(lua.RELEASE, [self._key("lock", name)], owner)

    async def take_slot(
        self,
        name: str,
        holder: str,
        *,
        slots: int,
        seconds: float,
        buckets: Sequence[Bucket] = (),
    ) -> float:
        """Take a slot and a token from each bucket, or nothing."""
        keys = [self._key("slots", name), *(self._key("bucket", bucket.name) for bucket in buckets)]
        sizes = [size for bucket in buckets for size in (bucket.capacity, bucket.per_second)]
        return float(await self._server.run(lua.TAKE_SLOT, keys, holder, slots, _ms(seconds), *sizes))

    async def renew_slots(self, slots: Sequence[tuple[str, str]], seconds: float) -> None:
        """Extend slots to `seconds` from now."""
        names, holders = [self._key("slots", name) for name, _ in slots], [holder for _, holder in slots]
        await self._server.run(lua.RENEW_SLOTS, names, _ms(seconds), *holders)

    async def release_slots(self, slots: Sequence[tuple[str, str]]) -> None:
        """Release slots."""
        names, holders = [self._key("slots", name) for name, _ in slots], [holder for _, holder in slots]
        await self._server.run(lua.RELEASE_SLOTS, names, *holders)

    async def count_slots(self, name: str) -> int:
        """Return the number of slots taken under a name."""
        return await self._server.run(lua.COUNT_SLOTS, [self._key("slots", name)])

    async def now(self) -> float:
        """Return the server's time in epoch seconds."""
        return int(await self._server.run(lua.NOW, [])) / _MICROSECONDS

    async def epoch(self) -> str:
        """Return the server's run id and replication id."""
        return (await self._server.run(lua.EPOCH, [])).decode()

    async def settle(self) -> bool:
        """Wait until a replica has earlier writes; return False if none confirms, though one is or was connected."""

        async def ask(connection: RedisConnection) -> bool:
            replicas = int(await evaluate(connection, lua.SETTLE, [self._key("settle")]))
            self._replicated |= replicas > 0
            if not replicas:
                return not self._replicated
            return await connection.send("WAIT", 1, int(_REPLICA_SECONDS * _MILLISECONDS)) > 0

        return await self._server.call(ask, _REPLICA_SECONDS)

    async def _get(self, collection: Collection, key: str) -> Record | None:
        """Return a record. A value longer than `_SHORT` takes a second call, with more time."""
        record, limit = self._key("record", collection.name, key), _SHORT
        while True:
            found = await self._server.run(lua.GET, [record], limit, length=limit)
            if found is None:
                return None
            version, left, length, value = found
            if value is not None:
                return _record(key, version, left, value)
            limit = length * 2

    async def _get_many(self, collection: Collection, keys: Sequence[str]) -> list[Record]:
        """Return the records of these keys in one round trip, but for values longer than `_SHORT`."""
        calls = [ScriptCall(lua.GET, [self._key("record", collection.name, key)], (_SHORT,)) for key in keys]
        found: list[Record] = []
        for key, answer in zip(keys, await self._server.run_all(calls, len(keys) * _SHORT), strict=True):
            if answer is None:
                continue
            version, left, _, value = answer
            record = _record(key, version, left, value) if value is not None else await self._get(collection, key)
            if record is not None:
                found.append(record)
        return found

    async def _write(self, changes: Sequence[Change]) -> list[int | None]:
        """Apply several changes in one round trip.

        Return the result of each: its version, 0 for a removal, None if it did not apply.
        """
        if len({(change.collection.name, change.key) for change in changes}) < len(changes):
            # one after the other: in one round trip, scripts that are new to the server run last
            return [(await self._write((change,)))[0] for change in changes]
        length = sum(len(change.value or b"") for change in changes)
        answers = await self._server.run_all([self._call(change) for change in changes], length)
        results: list[int | None] = []
        for change, answer in zip(changes, answers, strict=True):
            if change.value is None:  # a removal
                results.append(0 if answer else None)
            else:
                results.append(None if answer is None else int(answer))
        return results

    async def _scan(self, key_range: KeyRange) -> list[Record]:
        """Return the records of a range; not a snapshot: each is read separately."""
        found: list[Record] = []
        async for name, version, left, _, value in self._pages(key_range, _RECORDS, _SHORT):
            if key_range.limit is not None and len(found) >= key_range.limit:
                break
            key = name.decode()
            long = value is None
            record = await self._get(key_range.collection, key) if long else _record(key, version, left, value)
            if record is not None:
                found.append(record)
        return found

    async def _keys(self, key_range: KeyRange) -> list[str]:
        found: list[str] = []
        async for name in self._pages(key_range, _NAMES, -1):
            if key_range.limit is not None and len(found) >= key_range.limit:
                break
            found.append(name.decode())
        return found

    def _call(self, change: Change) -> ScriptCall:
        """Return the script call that applies a change."""
        collection, key = change.collection.name, change.key
        expected = "" if change.expected is None else change.expected
        if change.value is None:
            return ScriptCall(lua.REMOVE, self._record_keys(change.collection, key), (collection, key, expected))
        lifetime = "" if change.seconds is None else change.seconds * _MILLISECONDS
        return ScriptCall(
            lua.PUT, self._record_keys(change.collection, key), (collection, key, change.value, expected, lifetime)
        )

    async def _pages(self, key_range: KeyRange, names: int, length: int) -> AsyncGenerator[Any]:
        """Yield the results of the PAGE script, page after page."""
        collection = key_range.collection.name
        keys, prefix = [self._key("index", collection)], self._key("record", collection, "")
        while True:
            arguments = (prefix, *_ends(key_range), "1" if key_range.reverse else "", names, length)
            last, found = await self._server.run(lua.PAGE, keys, *arguments, length=max(0, length))
            for one in found:
                yield one
            if last is None:
                return
            key_range = msgspec.structs.replace(key_range, after=last.decode())

    def _record_keys(self, collection: Collection, key: str) -> list[str]:
        """Return the Redis keys of a record, its collection's index, due times and revision."""
        name = collection.name
        shared = self._shared_keys.get(name)
        if shared is None:
            shared = self._key("index", name), self._key("due", name), self._key("revision")
            self._shared_keys[name] = shared
        return [self._key("record", name, key), *shared]

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


def _ends(key_range: KeyRange) -> tuple[str, str]:
    """Return both ends of a range in the syntax of ZRANGEBYLEX."""
    prefix, after = key_range.prefix, key_range.after
    first, last = f"[{prefix}", f"({prefix}{_BEHIND}"
    if not key_range.reverse:
        return f"({after}" if after and after >= prefix else first, last
    return f"({after}" if after and after < prefix + _BEHIND else last, first


def _record(key: str, version: bytes, left: int, value: bytes) -> Record:
    return Record(key=key, value=value, version=int(version), seconds=None if left < 0 else left / _MILLISECONDS)


def _ms(seconds: float) -> int:
    return max(1, math.ceil(seconds * _MILLISECONDS))
