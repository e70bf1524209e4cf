"""This machine's own copy of what a shared store must not lose, and how it is put back into one that was emptied.

A store is recognised by its mark, which the first who uses it leaves there. While the mark is there, what is missing
was removed by somebody, and the copy follows. Without it the store was emptied: everybody puts back what its copy
holds, and the first sets the mark again, of the same id, with a round of its own. Whoever meets a round that its copy
does not know puts its own back too, once. So the copies of all machines come together, whenever each comes back:

- Beside what was put back stands the version that it had before: of two copies the later change holds, and a removal
  is a change like any other, so that an old copy brings nothing back that a newer one knows to be removed.
- What was changed, added or removed since then holds over every copy.
- What nobody had seen yet when the store was lost, about one look, is lost; so is a removal that nobody saw.

Another mark is that of another store, and the copy begins anew; but one that was made after the copy last saw its own
is a newcomer's, who found the store empty.

Source: reliability 6.1
"""

import math
import secrets
from typing import TypeVar

import msgspec
import structlog

from transports.clock import Clock
from transports.store.port import (
    ACCOUNTS,
    ATTENTION,
    KEYS,
    LICENSES,
    MARKS,
    PAUSES,
    SESSIONS,
    Collection,
    Record,
    Store,
    StoreDown,
    Unreadable,
)

REPLICATED = (ACCOUNTS, PAUSES, ATTENTION, LICENSES, KEYS)
"""The collections that are copied; sessions have a copy of their own kind."""
_MARK = "mark"
_ID_BYTES = 16
_TRIES = 8
_SEEN_SECONDS = 60.0
"""The copy notes no oftener than this that it has seen its store."""

_log = structlog.get_logger()
StructT = TypeVar("StructT", bound=msgspec.Struct)


class _Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a store is recognised by."""

    id: str
    round: str
    """Another one whenever the store was emptied and is whole again."""
    born: float
    """By the store's clock."""


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The mark of the store that a copy is of."""

    mark: _Mark
    at: float
    """When it was last seen, by the store's clock."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it was last seen."""

    version: int
    value: bytes | None
    """None: it was removed."""


class _Back(msgspec.Struct, frozen=True, kw_only=True):
    """What was put back under a key."""

    version: int
    """What the copy knew it as."""
    put: int = 0
    """What it was put as; 0: that it was removed."""


_encode = msgspec.msgpack.Encoder().encode


class LocalReplica:
    """A store and this machine's copy of it."""

    def __init__(self, store: Store, copy: Store, clock: Clock) -> None:
        """Keep in `copy`, which processes of this machine share, what `store` holds."""
        self._store, self._copy, self._clock = store, copy, clock
        self._mark: _Mark | None = None
        """The store's, as it was when it was last found whole."""
        self._revisions: dict[str, int] = {}
        """Of what the copy has taken over."""
        self._noted = -math.inf
        self._failed = False

    @property
    def round(self) -> str | None:
        """Which time it is that the store is whole; None: nobody has looked yet."""
        return self._mark.round if self._mark is not None else None

    async def same(self) -> bool:
        """Say whether the store has not been emptied since it was last found whole."""
        return self._mark is not None and await self._read_mark() == self._mark

    async def restore(self) -> None:
        """See to it that the store is whole: put everything back if it was emptied.

        Raises:
            OSError: it is out of order, or it was emptied and the copy cannot be read.

        """
        for _ in range(_TRIES):
            mark = await self._read_mark()
            if mark is not None and mark == self._mark:
                return
            try:
                seen = await self._read_seen()
            except OSError:
                self._fail()
                if mark is None:
                    raise
                self._mark = mark
                return
            whole = await self._whole(mark, seen)
            if whole is not None:
                self._mark, self._revisions = whole, {}
                await self._note()
                return
        raise StoreDown("the store is emptied all the time")

    def is_up_to_date(self, revisions: dict[str, int]) -> bool:
        """Say whether with these revisions the store is whole, and the copy like it: they never come back."""
        known = revisions.get(MARKS.name, 0) > 0 and all(
            revisions.get(collection.name, 0) == self._revisions.get(collection.name)
            for collection in (MARKS, *REPLICATED)
        )
        return known and self._clock.monotonic() - self._noted < _SEEN_SECONDS

    async def follow(self, revisions: dict[str, int], before: dict[str, int]) -> None:
        """Take over into the copy what has changed in a store that is whole; `before` it was last found so.

        Raises:
            OSError: the store is out of order; where the copy is, that is logged, and tried again.

        """
        for collection in REPLICATED:
            revision = revisions.get(collection.name, 0)
            if self._revisions.get(collection.name) == revision:
                continue
            names, records = await self._store.keys(collection), await self._store.scan(collection)
            after = await self._store.revisions()
            if not await self.same():
                return
            try:
                await self._take(collection, set(names), records, after.get(collection.name, 0))
            except OSError:
                self._fail()
                return
            self._revisions[collection.name] = revision
        self._revisions[MARKS.name] = before.get(MARKS.name, 0)
        if self._clock.monotonic() - self._noted >= _SEEN_SECONDS:
            await self._note()

    async def _whole(self, mark: _Mark | None, seen: _Seen | None) -> _Mark | None:
        """Make the store and the copy fit together; return the mark, None: somebody else has set one meanwhile."""
        if mark is None:
            back = await self._put_back()
            if seen is not None:
                _log.warning("store_restored", records=back)
            born = seen.mark.born if seen is not None else await self._store.now()
            name = seen.mark.id if seen is not None else secrets.token_hex(_ID_BYTES)
            mark = _Mark(id=name, round=secrets.token_hex(_ID_BYTES), born=born)
            put = await self._store.put(MARKS, _MARK, _encode(mark), expected=0)
            return mark if put is not None else None
        if seen is None or mark == seen.mark:
            return mark
        if mark.id == seen.mark.id or mark.born > seen.at:
            _log.warning("store_restored", records=await self._put_back())
        else:
            _log.warning("store_is_another", hint="the copy of the one before is forgotten")
            await self._forget()
        return mark

    async def _put_back(self) -> int:
        """Put back what the copy holds, wherever the store knows nothing newer; return how many records that were."""
        back = 0
        for collection in REPLICATED:
            for record in await self._copy.scan(collection):
                kept = _decode(record, _Kept)
                back += kept is not None and await self._put_back_one(collection, record.key, kept)
        return back

    async def _put_back_one(self, collection: Collection, key: str, kept: _Kept) -> bool:
        try:
            there = await self._store.get(collection, key)
        except Unreadable:
            return False
        back = _decode(await self._store.get(MARKS, _name(collection, key)), _Back)
        if not _is_newer(kept, there, back):
            return False
        put = await self._replace(collection, key, kept, there.version if there is not None else 0)
        if put is None:
            return False
        await self._store.put(MARKS, _name(collection, key), _encode(_Back(version=kept.version, put=put)))
        return kept.value is not None

    async def _replace(self, collection: Collection, key: str, kept: _Kept, version: int) -> int | None:
        """Put a record in the place of that version; return its own, 0 for a removal, None where another is there."""
        if kept.value is not None:
            return await self._store.put(collection, key, kept.value, expected=version)
        if version and not await self._store.remove(collection, key, expected=version):
            return None
        return 0

    async def _take(self, collection: Collection, names: set[str], records: list[Record], revision: int) -> None:
        """Have the copy say what the store says; what was removed there was so at `revision` at the latest."""
        known = {record.key: _decode(record, _Kept) for record in await self._copy.scan(collection)}
        for record in records:
            kept = _Kept(version=record.version, value=record.value)
            if known.get(record.key) != kept:
                await self._copy.put(collection, record.key, _encode(kept))
        for key, kept in known.items():
            if key not in names and kept is not None and kept.value is not None:
                await self._copy.put(collection, key, _encode(_Kept(version=revision, value=None)))
                if collection is ACCOUNTS:
                    await self._copy.remove(SESSIONS, key)
        self._failed = False

    async def _forget(self) -> None:
        for collection in REPLICATED:
            for key in await self._copy.keys(collection):
                await self._copy.remove(collection, key)

    async def _note(self) -> None:
        """Note that the copy is of this store, and when it saw it."""
        if self._mark is None:
            return
        now = await self._store.now()
        try:
            await self._copy.put(MARKS, _MARK, _encode(_Seen(mark=self._mark, at=now)))
        except OSError:
            self._fail()
        self._noted = self._clock.monotonic()

    async def _read_mark(self) -> _Mark | None:
        return _decode(await self._store.get(MARKS, _MARK), _Mark)

    async def _read_seen(self) -> _Seen | None:
        return _decode(await self._copy.get(MARKS, _MARK), _Seen)

    def _fail(self) -> None:
        """Tell, once, that the copy does not work."""
        if not self._failed:
            _log.error("store_not_copied", hint="look at the disk of store.copy_path")
        self._failed = True


def _is_newer(kept: _Kept, there: Record | None, back: _Back | None) -> bool:
    """Say whether a copy's record is newer than what is there, and what was put back there."""
    if back is None:
        return there is None or there.value == kept.value
    if back.put != (there.version if there is not None else 0):
        return False
    return kept.version > back.version


def _decode(record: Record | None, kind: type[StructT]) -> StructT | None:
    """Return what a record says; None: there is none, or it cannot be read."""
    try:
        return msgspec.msgpack.decode(record.value, type=kind) if record is not None else None
    except msgspec.MsgspecError:
        _log.error("mark_unreadable", key=record.key if record is not None else "")
        return None


def _name(collection: Collection, key: str) -> str:
    return f"{collection.name}/{key}"
