"""How much an account carries, over all processes: a seat for each request, and tokens for its pace.

One process alone counts in its own memory. Where there are others, the store has the seats; while it is out of order
each process takes its part of every limit. Source: reliability 6.3.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.lowlevel
import msgspec
import structlog

from transports.account import Account
from transports.clock import Clock
from transports.pool.state import Want
from transports.store import MemoryStore, Store
from transports.store.port import FULL, Bucket
from transports.tasks import beside_and_last

_AGAIN_SECONDS = 1.0
_ENTER_SECONDS = 1.0
"""A client that leaves meanwhile waits so long for the store at most; its own deadline is shorter."""
_LAST_SECONDS = 3.0
_DAY = 86400.0

_log = structlog.get_logger()


class Seat(msgspec.Struct, frozen=True):
    """A seat that was taken."""

    account: str
    holder: str


class _Left(msgspec.Struct, frozen=True):
    seat: Seat
    then: Callable[[], None]
    at: float


class Seats:
    """The seats that this process has taken."""

    def __init__(
        self,
        clock: Clock,
        replica: str,
        *,
        shared: Store | None = None,
        replicas: Callable[[], int] = lambda: 1,
        seconds: float = 60.0,
    ) -> None:
        """Take them in `shared`, as one of so many `replicas`; None: this process is the only one.

        A seat that is not kept any more is free after `seconds`.
        """
        self._clock, self._replica, self._shared, self._replicas = clock, replica, shared, replicas
        self._seconds = seconds
        self._own = MemoryStore(clock)
        self._held: dict[str, str] = {}
        self._of: dict[str, int] = {}
        self._left: deque[_Left] = deque()
        self._news = anyio.Event()
        self._kept_at = clock.monotonic()
        self._count = 0
        self._down = False

    async def enter(self, account: Account, want: Want) -> tuple[Seat, float]:
        """Take a seat of an account; with it comes 0.0 where that was done, FULL, or the seconds until it may be.

        A process that is alone has no use for seats: it knows what it carries.
        """
        self._count += 1
        seat = Seat(account.id, f"{self._replica}:{self._count}")
        if self._shared is None:
            return seat, await self._enter_alone(account, want, seat, 1)
        wait = FULL
        try:
            with anyio.fail_after(_ENTER_SECONDS, shield=True):  # a call that was cut off may still be done, and late
                wait = await self._shared.enter(
                    seat.account,
                    seat.holder,
                    seats=account.concurrency,
                    seconds=self._seconds,
                    buckets=buckets_of(account, want, 1) if _paced(account, want) else (),
                )
            await anyio.lowlevel.checkpoint_if_cancelled()
        except OSError:
            wait = await self._enter_alone(account, want, seat, max(1, self._replicas()))
            if wait:
                self._give_back(seat, _nothing)
        except BaseException:
            self._give_back(seat, _nothing)
            raise
        if not wait:
            self._hold(seat)
        return seat, wait

    def leave(self, seat: Seat, then: Callable[[], None]) -> None:
        """Give a seat back, and call `then` once others can have it; it may be called at once."""
        if self._shared is None:
            then()
            return
        if self._held.pop(seat.holder, None) is not None:
            self._count_out(seat.account)
        if self._down:
            then()
            then = _nothing
        self._give_back(seat, then)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Keep seats and give them back for as long as the context lasts, and after it what is left to give back."""
        if self._shared is None:
            yield
            return
        runs = (partial(self._run, self._shared), self._remind)
        async with beside_and_last(runs, partial(self._leave_all, self._shared), _LAST_SECONDS):
            yield

    async def _enter_alone(self, account: Account, want: Want, seat: Seat, parts: int) -> float:
        """Take a seat without asking the others: one of this process's part of them."""
        if self._shared is not None and self._of.get(account.id, 0) >= max(1, account.concurrency // parts):
            return FULL
        if not _paced(account, want):
            return 0.0
        buckets = buckets_of(account, want, parts)
        return await self._own.enter(seat.account, seat.holder, seats=1_000_000, seconds=0.0, buckets=buckets)

    def _hold(self, seat: Seat) -> None:
        self._held[seat.holder] = seat.account
        self._of[seat.account] = self._of.get(seat.account, 0) + 1

    def _count_out(self, account: str) -> None:
        self._of[account] -= 1
        if not self._of[account]:
            del self._of[account]

    def _give_back(self, seat: Seat, then: Callable[[], None]) -> None:
        self._left.append(_Left(seat, then, self._clock.monotonic()))
        self._news.set()

    async def _run(self, store: Store) -> None:
        """Give back and keep, one after the other: a seat that was left is never kept."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            try:
                await self._leave_all(store)
                await self._keep(store)
                self._down = False
            except OSError:
                self._down = True
                _log.debug("seats_not_kept")
                self._let_go()
                self._news.set()
                await self._clock.sleep(_AGAIN_SECONDS)

    async def _remind(self) -> None:
        while True:
            await self._clock.sleep(self._seconds / 3)
            self._news.set()

    async def _leave_all(self, store: Store) -> None:
        while self._left:
            first = self._left[0]
            await store.leave(first.seat.account, first.seat.holder)
            self._left.popleft()
            first.then()

    async def _keep(self, store: Store) -> None:
        """Keep all seats, now and then: the store has them for a time only."""
        if self._held and self._clock.monotonic() - self._kept_at >= self._seconds / 3:
            await store.stay([(account, holder) for holder, account in self._held.items()], self._seconds)
            self._kept_at = self._clock.monotonic()
        elif not self._held:
            self._kept_at = self._clock.monotonic()

    def _let_go(self) -> None:
        """Let this process have what it left: the store is out of order, and will be told, unless it forgets by itself.

        No seat outlives its time there.
        """
        now = self._clock.monotonic()
        waiting = [left for left in self._left if now - left.at < self._seconds]
        for left in self._left:
            left.then()
        self._left = deque(_Left(left.seat, _nothing, left.at) for left in waiting)


def _paced(account: Account, want: Want) -> bool:
    return bool(account.per_minute) or want.capability in account.per_day


def buckets_of(account: Account, want: Want, parts: int) -> list[Bucket]:
    """Return the tokens that a request takes; with `parts`, of which this process has one of so many."""
    found: list[Bucket] = []
    if account.per_minute:
        most = max(1.0, account.per_minute / parts)
        found.append(Bucket(name=f"{account.id}/minute", most=most, per_second=account.per_minute / parts / 60.0))
    if want.capability in account.per_day:
        each = account.per_day[want.capability] / parts
        name = f"{account.id}/day/{want.capability}"
        found.append(Bucket(name=name, most=max(1.0, each), per_second=each / _DAY))
    return found


def _nothing() -> None:
    """Call nobody."""
