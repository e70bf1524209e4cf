"""How accounts stand, shared by all processes: each has it in memory, and the store in between.

No request waits for the store. What happens here is told in the background, as soon as the store can be reached; what
happens elsewhere is heard a moment later. A record that somebody has removed ends what it said, here too.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, Protocol, TypeVar

import anyio
import msgspec
import structlog

from transports.accounts.records import AttentionRecord, CooldownRecord, read_attention, read_cooldowns
from transports.accounts.registry import AccountRegistry, PauseRecord
from transports.clock import Clock
from transports.store import ChangeFeed, Store
from transports.store.port import ACTIONS, ATTENTION, COOLDOWNS, PAUSES, Collection, Unreadable
from transports.tasks import background_tasks_with_final

_AGAIN_SECONDS = 1.0
_LAST_WORDS_SECONDS = 2.0

_log = structlog.get_logger()
ValueT = TypeVar("ValueT")


class ActiveCooldown(msgspec.Struct, frozen=True):
    """A rest, and when it is over by this process's clock."""

    resting: CooldownRecord
    until: float


class StateListener(Protocol):
    """Who wants to know how accounts stand: told all that is so whenever another process has changed some of it."""

    def pauses_changed(self, pauses: Mapping[str, PauseRecord]) -> None:
        """Take these accounts, and no others, as paused."""
        ...

    def attention_changed(self, parks: Mapping[str, AttentionRecord]) -> None:
        """Take these accounts, and no others, as parked."""
        ...

    def cooldowns_changed(self, rests: Mapping[str, ActiveCooldown]) -> None:
        """Take these rests, by their keys, and no others."""
        ...


class _Table(Generic[ValueT]):
    """What is known of one place: as the store says, but for what it has not been told yet."""

    def __init__(self, place: Collection) -> None:
        self.place = place
        self.known: dict[str, ValueT] = {}
        self.untold: set[str] = set()
        self._epoch: str | None = None

    def merge(self, there: dict[str, ValueT], epoch: str) -> None:
        """Take what the store says; a server that is another than before is told again what it has forgotten."""
        if self._epoch not in {None, epoch}:
            self.untold |= self.known.keys() - there.keys()
        self._epoch = epoch
        mine = {key: self.known[key] for key in self.untold if key in self.known}
        self.known = {key: value for key, value in there.items() if key not in self.untold} | mine


class SharedState:
    """What this process knows of all accounts' standing."""

    def __init__(self, store: Store, watch: ChangeFeed, clock: Clock) -> None:
        """Hear of changes from `watch`, and tell of them while it is open."""
        self._store, self._clock = store, clock
        self._roster = AccountRegistry(store, clock)
        self._sides: list[StateListener] = []
        self._parks = _Table[AttentionRecord](ATTENTION)
        self._pauses = _Table[PauseRecord](PAUSES)
        self._rests = _Table[ActiveCooldown](COOLDOWNS)
        self._deeds: dict[tuple[str, str], tuple[str, float]] = {}
        """By accounts and what was done: who did it, and until when that is worth knowing."""
        self._turn = anyio.Lock()
        self._news = anyio.Event()
        watch.on(ACTIONS, self._heed_deeds)  # before what they are about
        for place, heed in ((ATTENTION, self._heed_parks), (PAUSES, self._heed_pauses), (COOLDOWNS, self._heed_rests)):
            watch.on(place, heed)

    def join(self, side: StateListener) -> None:
        """Tell somebody of all that is known, now and when it changes."""
        self._sides.append(side)
        self.tell(side)

    def tell(self, side: StateListener) -> None:
        """Tell somebody of all that is known: some of its accounts may be new to it."""
        side.pauses_changed(self._pauses.known)
        side.attention_changed(self._parks.known)
        side.cooldowns_changed(self._living())

    def tell_others(self, side: StateListener) -> None:
        """Tell everybody but one of all that is known."""
        for other in self._sides:
            if other is not side:
                self.tell(other)

    def who(self, account: str, what: str, otherwise: str = "") -> str:
        """Return who has just done this to an account, as far as it is known."""
        by, until = self._deeds.get((account, what), ("", 0.0))
        return by if until > self._clock.monotonic() else otherwise

    def set_attention(self, account: str, parked: AttentionRecord) -> None:
        """Say that an account waits for a person."""
        self._parks.known[account] = parked
        self._say(self._parks, account)

    def clear_attention(self, account: str) -> None:
        """Say that it does not any more."""
        self._parks.known.pop(account, None)
        self._say(self._parks, account)

    def set_cooldown(self, resting: CooldownRecord, seconds: float) -> None:
        """Say that an account, or an address, rests."""
        self._rests.known[resting.key] = ActiveCooldown(resting, self._clock.monotonic() + seconds)
        self._say(self._rests, resting.key)

    def clear_cooldown(self, resting: CooldownRecord) -> None:
        """Say that it does not any more."""
        self._rests.known.pop(resting.key, None)
        self._say(self._rests, resting.key)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Tell the store what happens, for as long as the context lasts; what is not told at its end, is told then."""
        async with background_tasks_with_final((self._run,), self._last_words, _LAST_WORDS_SECONDS):
            yield

    def _say(self, table: "_Table[AttentionRecord] | _Table[ActiveCooldown]", key: str) -> None:
        table.untold.add(key)
        self._news.set()

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            try:
                await self._push()
            except OSError:
                _log.debug("standing_not_told")
                self._news.set()
                await self._clock.sleep(_AGAIN_SECONDS)

    async def _last_words(self) -> None:
        try:
            await self._push()
        except OSError:
            _log.warning("standing_not_told")

    async def _push(self) -> None:
        async with self._turn:
            await self._push_all(self._parks, self._put_park)
            await self._push_all(self._pauses, self._put_pause)
            await self._push_all(self._rests, self._put_rest)

    async def _push_all(
        self,
        table: "_Table[ValueT]",
        put: Callable[[str, ValueT], Awaitable[None]],
    ) -> None:
        """Tell what is untold; what changes meanwhile is told next."""
        for key in list(table.untold):
            value = table.known.get(key)
            if value is None:
                await self._store.remove(table.place, key)
            else:
                await put(key, value)
            if table.known.get(key) is value:
                table.untold.discard(key)
            else:
                self._news.set()

    async def _put_park(self, key: str, parked: AttentionRecord) -> None:
        await self._store.put(ATTENTION, key, msgspec.json.encode(parked))

    async def _put_pause(self, key: str, paused: PauseRecord) -> None:
        await self._store.put(PAUSES, key, msgspec.json.encode(paused), expected=0)

    async def _put_rest(self, key: str, rested: ActiveCooldown) -> None:
        """Tell of a rest, but where one that lasts longer is known there."""
        while (seconds := rested.until - self._clock.monotonic()) > 0:
            there = await self._store.get(COOLDOWNS, key)
            if there is not None and (there.seconds or 0.0) >= seconds:
                return
            version = there.version if there is not None else 0
            value = msgspec.json.encode(rested.resting)
            if await self._store.put(COOLDOWNS, key, value, expected=version, seconds=seconds) is not None:
                return

    async def _heed_deeds(self) -> None:
        now = self._clock.monotonic()
        deeds = await self._roster.deeds()
        self._deeds = {(deed.account, deed.what): (deed.by, now + seconds) for deed, seconds in deeds}

    async def _heed_parks(self) -> None:
        async with self._turn:
            if await self._heed(self._parks, self._read_parks):
                for side in self._sides:
                    side.attention_changed(self._parks.known)

    async def _heed_pauses(self) -> None:
        async with self._turn:
            if await self._heed(self._pauses, self._roster.pauses):
                for side in self._sides:
                    side.pauses_changed(self._pauses.known)

    async def _heed_rests(self) -> None:
        async with self._turn:
            if await self._heed(self._rests, self._read_rests):
                for side in self._sides:
                    side.cooldowns_changed(self._living())

    async def _heed(self, table: "_Table[ValueT]", read: Callable[[], Awaitable[dict[str, ValueT]]]) -> bool:
        """Hear what the store says of a place; say whether it could be understood."""
        try:
            there, epoch = await read(), await self._store.epoch()
        except Unreadable as error:
            _log.error("standing_unreadable", place=table.place.name, error=str(error))
            return False
        table.merge(there, epoch)
        if table.untold:
            self._news.set()
        return True

    async def _read_parks(self) -> dict[str, AttentionRecord]:
        return await read_attention(self._store)

    async def _read_rests(self) -> dict[str, ActiveCooldown]:
        now = self._clock.monotonic()
        return {
            resting.key: ActiveCooldown(resting, now + seconds)
            for resting, seconds in await read_cooldowns(self._store)
        }

    def _living(self) -> dict[str, ActiveCooldown]:
        now = self._clock.monotonic()
        over = {key for key, rested in self._rests.known.items() if rested.until <= now}
        self._rests.known = {key: rested for key, rested in self._rests.known.items() if key not in over}
        self._rests.untold -= over  # nobody needs to be told: there, a longer one of somebody else's may be known
        return self._rests.known
