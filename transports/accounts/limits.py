"""Limits of concurrent requests and request rates per account, over all processes.

A process without others counts in its own memory. Otherwise each request needs a slot in the store.
While the store is down, each process uses its part of every limit.

A call of the store for each request, and another when it ends, would be expensive. So a process keeps a slot whose
request has ended for up to `_IDLE_SECONDS`, and the account's next request takes it from memory. The store counts the
slot as taken all the while, so all processes together never have more than the account's limit. Other
processes get theirs:

- A process that finds all slots of an account taken leaves a mark for `_MARK_SECONDS`: an entry in the list
  `ACCOUNT/wait`. It tries again when the pool looks again.
- A slot is used for `_TURN_SECONDS` in a row. After that a process that has more than its share of the account looks
  for marks. If there is one of another process, it gives the slot back, and takes none of this account from the store
  for `_YIELD_SECONDS`, so that the other process finds it. A share is the account's limit divided by the processes.
- Among several licenses, a quarter of an account's slots are kept for those that have less than their share. A process
  that may not take another slot for a license leaves a mark in `license/LICENSE/wait`, and the others take none of
  these slots for it either.
- A store that has lost its data gives the same slots out twice, until those in use are renewed. The same check also
  compares the slots in the store with the limit: where there are too many, a process gives back all that go beyond its
  share, rounded down.

Request rates are counted in the store for each request of an account that has such a limit.

Source: reliability 2.3.
"""

import math
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import anyio.lowlevel
import msgspec
import structlog

from transports.account import Account
from transports.accounts.availability import Requirement
from transports.clock import Clock
from transports.store import Limits, MemoryStore
from transports.store.port import FULL, Bucket
from transports.tasks import Trigger, background_tasks_with_final, every

_ENTER_SECONDS = 1.0
"""Longest wait for the store, also for a request whose client has left. The store's own deadline is shorter."""
_LAST_SECONDS = 3.0
_IDLE_SECONDS = 0.2
"""An unused slot is given back after this time, and at most as much again."""
_TURN_SECONDS = 1.0
_YIELD_SECONDS = 0.5
"""Longer than the pool of another process waits between two attempts."""
_MARK_SECONDS = 0.75
_RENEWALS = 12
"""Renewals of a slot within its lifetime in the store, which may have lost it: see above."""
_UNLIMITED = 1_000_000
_DAY = 86400.0

_log = structlog.get_logger()


class Slot(msgspec.Struct):
    """A slot of an account that this process has taken; times are of the monotonic clock."""

    account: str
    holder: str
    limit: int
    """The account's concurrent requests, over all processes."""
    since: float
    """When its turn began."""
    idle_since: float = 0.0
    in_store: bool = True
    """False: it was taken while the store was down."""
    idles: bool = True
    """Whether it is kept for the account's next request when its own has ended."""
    limited: bool = False
    """Whether it was not taken because the license has its share, and the free ones are kept for others."""


class LicenseShare(msgspec.Struct, frozen=True):
    """How a license shares the slots of an account with others, over all processes."""

    license: str
    kept: int
    """Slots of the account that a license with its share leaves free."""
    over: bool
    """Whether it has its share of this process's part, or is known to have it elsewhere."""


class _Release(msgspec.Struct, frozen=True):
    """A slot that is given back in the background."""

    slot: Slot
    then: Callable[[], None]
    at: float
    may_stay: bool = False
    """Keep it unless another process waits for one."""


class ConcurrencyLimits:
    """The slots that this process has taken."""

    def __init__(
        self,
        clock: Clock,
        process_id: str,
        *,
        shared: Limits | None = None,
        processes: Callable[[], int] = lambda: 1,
        seconds: float = 60.0,
    ) -> None:
        """Take slots from `shared`, as one of several `processes`; None: this process is the only one.

        The store frees a slot that is not renewed for `seconds`.
        """
        self._clock, self._process_id, self._shared, self._processes = clock, process_id, shared, processes
        self._seconds = seconds
        self._own = MemoryStore(clock)
        self._taken: dict[str, str] = {}
        """Accounts by holder, of the slots in use and of the idle ones."""
        self._taken_count: Counter[str] = Counter()
        """How many of `_taken` each account has."""
        self._idle: dict[str, list[Slot]] = {}
        self._any_idle = anyio.Event()
        self._yields: dict[str, float] = {}
        """Until when no slot of an account is taken from the store."""
        self._marked: dict[str, float] = {}
        """Until when this process's mark lasts, by account."""
        self._releases: deque[_Release] = deque()
        self._changes = Trigger()
        self._kept_at = clock.monotonic()
        self._count = 0
        self._down = False

    @property
    def processes(self) -> int:
        """The number of processes that share the slots."""
        return 1 if self._shared is None else max(1, self._processes())

    def below_share(self, accounts: Iterable[str], slots: int) -> bool:
        """Return whether this process has less than its equal part of the `slots` of these accounts."""
        processes = self._processes()
        if self._shared is None or processes < 2:
            return False
        return sum(self._taken_count[account] for account in accounts) < slots / processes

    async def acquire(
        self, account: Account, requirement: Requirement, share: LicenseShare | None = None
    ) -> tuple[Slot, float]:
        """Take a slot of an account; return it with 0.0, or with FULL or the seconds until it can be taken.

        A single process needs no slots in the store. With several, `share` says how the request's license shares.
        """
        now = self._clock.monotonic()
        if self._shared is None:
            slot = self._new_slot(account, now)
            return slot, await self._acquire_local(account, requirement, slot, 1)
        if share is not None and (share.over or account.id not in self._idle):
            slot, wait = await self._acquire_within(self._shared, account, requirement, share)
            if wait != FULL or slot.limited:
                return slot, wait
        idle = self._idle[account.id].pop() if account.id in self._idle else None
        if idle is not None and not self._idle[account.id]:
            del self._idle[account.id]
        if idle is not None and not _paced(account, requirement):
            return idle, 0.0
        if idle is None and now < self._yields.get(account.id, now):
            return self._new_slot(account, now), FULL
        slot = idle if idle is not None else self._new_slot(account, now)
        return slot, await self._acquire_shared(self._shared, account, requirement, slot)

    def release(self, slot: Slot, then: Callable[[], None]) -> None:
        """Release a slot, and call `then` once others can take it, which may be at once."""
        if self._shared is None:
            then()
            return
        now = self._clock.monotonic()
        if self._down:
            self._give_back(slot, _nothing)
            then()
        elif not slot.in_store or not slot.idles:
            self._give_back(slot, then)
        elif now - slot.since < _TURN_SECONDS:
            self._keep_idle(slot, now)
            then()
        elif self._taken_count[slot.account] <= slot.limit // max(1, self._processes()):
            slot.since = now
            self._keep_idle(slot, now)
            then()
        else:
            self._give_back(slot, then, may_stay=True)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Renew and give back slots for the duration of the context; at its end, give back the remaining ones."""
        store = self._shared
        if store is None:
            yield
            return

        async def return_all() -> None:
            self._give_back_idle(self._clock.monotonic())
            await self._return_released(store)

        work = partial(self._return_and_renew, store)
        runs = (
            partial(self._changes.run, work, self._failed, self._clock),
            partial(every, self._seconds / _RENEWALS, self._changes.set, self._clock, wait=True),
            self._sweep,
        )
        async with background_tasks_with_final(runs, return_all, _LAST_SECONDS, "slot_release_failed"):
            yield

    async def _acquire_shared(
        self, store: Limits, account: Account, requirement: Requirement, slot: Slot, *, mark: bool = True
    ) -> float:
        wait = FULL
        try:
            with anyio.fail_after(_ENTER_SECONDS, shield=True):  # a call that was cut off may still be done, and late
                wait = await store.take_slot(
                    slot.account,
                    slot.holder,
                    slots=account.concurrency,
                    seconds=self._seconds,
                    buckets=buckets_of(account, requirement, 1) if _paced(account, requirement) else (),
                )
                if wait == FULL and mark:
                    await self._mark(store, account.id)
            await anyio.lowlevel.checkpoint_if_cancelled()
        except OSError:
            self._kept_at = -math.inf
            self._changes.set()
            if slot.holder in self._taken:
                self._count_out(slot)
            slot.in_store = False
            wait = await self._acquire_local(account, requirement, slot, max(1, self._processes()))
            if wait:
                self._give_back(slot, _nothing)
        except BaseException:
            self._give_back(slot, _nothing)
            raise
        if not wait and slot.holder not in self._taken:
            self._taken[slot.holder] = slot.account
            self._taken_count[slot.account] += 1
        elif wait and slot.holder in self._taken:
            self._keep_idle(slot, self._clock.monotonic())
        return wait

    async def _acquire_within(
        self, store: Limits, account: Account, requirement: Requirement, share: LicenseShare
    ) -> tuple[Slot, float]:
        """Take a slot that is not kept for other licenses. A license that has its share gets no other slot.

        Whether it has its share is known to the process that serves it; that process leaves a mark for the others.
        """
        within = msgspec.structs.replace(account, concurrency=account.concurrency - share.kept)
        slot = self._new_slot(within, self._clock.monotonic())
        slot.idles = not share.over
        wait = await self._acquire_shared(store, within, requirement, slot, mark=False)
        if wait == FULL:
            slot.limited = share.over
            with suppress(OSError):
                if share.over:
                    await self._mark(store, f"license/{share.license}")
                else:
                    slot.limited = bool(await store.count_slots(_waiting(f"license/{share.license}")))
        return slot, wait

    async def _mark(self, store: Limits, account: str) -> None:
        """Show other processes that this one waits for a slot of an account."""
        now = self._clock.monotonic()
        if now < self._marked.get(account, now) - _MARK_SECONDS / 2:
            return
        await store.take_slot(_waiting(account), self._process_id, slots=_UNLIMITED, seconds=_MARK_SECONDS)
        self._marked[account] = now + _MARK_SECONDS

    async def _most_kept(self, store: Limits, account: str, limit: int) -> int:
        """Return the number of slots that this process may keep after their turn has ended.

        It is 0 if the limit is below the number of processes and another process waits.
        """
        taken = await store.count_slots(account)
        if taken > limit:
            return limit // max(1, self._processes())
        if taken < self._taken_count[account]:  # the store has lost some
            self._kept_at = -math.inf
        now = self._clock.monotonic()
        own = now < self._marked.get(account, now)
        if await store.count_slots(_waiting(account)) <= own:
            return limit
        processes = max(1, self._processes())
        return -(-limit // processes) if limit >= processes else 0

    async def _acquire_local(self, account: Account, requirement: Requirement, slot: Slot, parts: int) -> float:
        """Take a slot of this process's part, without asking the store."""
        if self._shared is not None and self._taken_count[account.id] >= max(1, account.concurrency // parts):
            return FULL
        if not _paced(account, requirement):
            return 0.0
        buckets = buckets_of(account, requirement, parts)
        return await self._own.take_slot(slot.account, slot.holder, slots=_UNLIMITED, seconds=0.0, buckets=buckets)

    def _new_slot(self, account: Account, now: float) -> Slot:
        self._count += 1
        return Slot(account.id, f"{self._process_id}:{self._count}", account.concurrency, now)

    def _count_out(self, slot: Slot) -> None:
        if self._taken.pop(slot.holder, None) is None:
            return
        self._taken_count[slot.account] -= 1
        if not self._taken_count[slot.account]:
            del self._taken_count[slot.account]

    def _keep_idle(self, slot: Slot, now: float) -> None:
        """Keep a slot for the account's next request."""
        slot.idle_since = now
        self._idle.setdefault(slot.account, []).append(slot)
        self._any_idle.set()

    def _give_back(self, slot: Slot, then: Callable[[], None], *, may_stay: bool = False) -> None:
        if not may_stay:
            self._count_out(slot)
        self._releases.append(_Release(slot, then, self._clock.monotonic(), may_stay))
        self._changes.set()

    def _give_back_idle(self, before: float) -> None:
        """Give back the slots that have been idle since `before`, or longer."""
        for account, slots in list(self._idle.items()):
            kept = [slot for slot in slots if slot.idle_since > before]
            for slot in slots:
                if slot.idle_since <= before:
                    self._give_back(slot, _nothing)
            if kept:
                self._idle[account] = kept
            else:
                del self._idle[account]

    async def _return_and_renew(self, store: Limits) -> None:
        """Give back and renew, one after the other: a slot that was given back is never renewed."""
        await self._return_released(store)
        if not self._taken:
            self._kept_at = self._clock.monotonic()
        elif self._clock.monotonic() - self._kept_at >= self._seconds / _RENEWALS:
            await store.renew_slots([(account, holder) for holder, account in self._taken.items()], self._seconds)
            self._kept_at = self._clock.monotonic()
        self._down = False

    def _failed(self) -> None:
        """Continue without the store: free the released slots in this process.

        The store gets the releases later; slots expire there anyway.
        """
        self._down = True
        self._kept_at = -math.inf  # a store that comes back may have lost what it had
        _log.debug("slot_renewal_failed")
        now = self._clock.monotonic()
        self._give_back_idle(now)
        releases = list(self._releases)
        self._releases.clear()
        for release in releases:
            self._count_out(release.slot)
            if now - release.at < self._seconds:
                self._releases.append(_Release(release.slot, _nothing, release.at))
        for release in releases:
            release.then()

    async def _sweep(self) -> None:
        """Give back what was not used again, in one call, and forget marks that are over."""
        while True:
            if not self._idle:
                self._any_idle = anyio.Event()
                await self._any_idle.wait()
            await self._clock.sleep(_IDLE_SECONDS)
            now = self._clock.monotonic()
            self._give_back_idle(now - _IDLE_SECONDS)
            for times in (self._yields, self._marked):
                for account in [account for account, until in times.items() if until <= now]:
                    del times[account]

    async def _return_released(self, store: Limits) -> None:
        """Give back the released slots, except those that this process may keep after their turn has ended."""
        while self._releases:
            batch = list(self._releases)
            turns_over = {release.slot.account: release.slot.limit for release in batch if release.may_stay}
            most = {account: await self._most_kept(store, account, limit) for account, limit in turns_over.items()}
            kept = self._kept(batch, most)
            returned = [release.slot for release in batch if release.slot.holder not in kept]
            if returned:
                await store.release_slots([(slot.account, slot.holder) for slot in returned])
            now = self._clock.monotonic()
            for release in batch:
                self._releases.popleft()
                if release.slot.holder in kept:
                    release.slot.since = now
                    self._keep_idle(release.slot, now)
                elif release.may_stay:
                    self._count_out(release.slot)
                    self._yields[release.slot.account] = now + _YIELD_SECONDS
                release.then()

    def _kept(self, batch: list[_Release], most: dict[str, int]) -> set[str]:
        """Return the holders of the slots that may stay, as many of each account as this process may keep."""
        kept, count = set[str](), dict(self._taken_count)
        for release in batch:
            slot = release.slot
            if release.may_stay and count[slot.account] <= most[slot.account]:
                kept.add(slot.holder)
            elif release.may_stay:
                count[slot.account] -= 1
        return kept


def _waiting(account: str) -> str:
    """Return the name under which processes mark that they wait for a slot of an account."""
    return f"{account}/wait"


def _paced(account: Account, requirement: Requirement) -> bool:
    return bool(account.per_minute) or requirement.capability in account.per_day


def buckets_of(account: Account, requirement: Requirement, parts: int) -> list[Bucket]:
    """Return the rate-limit tokens that a request takes; each of `parts` processes has its part of a limit."""
    found: list[Bucket] = []
    if account.per_minute:
        most = max(1.0, account.per_minute / parts)
        found.append(Bucket(name=f"{account.id}/minute", capacity=most, per_second=account.per_minute / parts / 60.0))
    if requirement.capability in account.per_day:
        each = account.per_day[requirement.capability] / parts
        name = f"{account.id}/day/{requirement.capability}"
        found.append(Bucket(name=name, capacity=max(1.0, each), per_second=each / _DAY))
    return found


def _nothing() -> None:
    """Do nothing."""
