"""A memory budget that all requests of a process share.

A request reserves bytes before it takes them, and waits a short time where there is no room. A request whose owner (a
license) holds more than its fair share of the bytes for other requests comes after those of other owners. Among the
rest, a request that holds bytes and needs more goes before those that hold none: it gives back sooner. Those are served
in turns of one per owner, first come first served within an owner.

While requests wait, clients that hold bytes are cut off: one that sends next to nothing, the slowest first; and, where
a request of another owner has waited for a while, one of several clients of an owner that holds more than its share.
"""

from collections import Counter
from collections.abc import Callable

import anyio

from protocol.http.errors import HttpError
from protocol.model import Saturated

MIB = 1024 * 1024
TOTAL = 256 * MIB
WAIT_SECONDS = 5.0
_RETRY_SECONDS = 2.0
_BYTES_PER_WAITING = 2 * MIB
"""The server has read up to 1 MiB of a request that waits: this bounds the number of those."""
_SLOW_SECONDS = 2.0
_PROGRESS_BYTES = 64 * 1024
"""A client that sends less in that time is cut off while others wait."""
_LOOK_SECONDS = 0.5


class ByteBudget:
    """Bytes that all requests of a process share."""

    def __init__(
        self, total: int = TOTAL, wait_seconds: float = WAIT_SECONDS, *, most_waiting: int | None = None
    ) -> None:
        """Let requests hold `total` bytes at once, and wait at most `wait_seconds` for them.

        At most `most_waiting` requests wait, by default one per 2 MiB of the total.
        """
        self.total, self.wait_seconds = total, wait_seconds
        self.most_waiting = max(1, total // _BYTES_PER_WAITING) if most_waiting is None else most_waiting
        self.refused = 0
        """How many requests found no room in time, since the process began."""
        self.used = self.peak = 0
        """What is reserved now, and the most that was since `peak` was set."""
        self._held: Counter[str] = Counter()
        """Reserved bytes by owner."""
        self._waiting: list[_Waiting] = []
        """In the order of arrival."""
        self._turns: list[str] = []
        """Owners that were served while requests waited, the last one at the end."""
        self.senders: set[Sender] = set()
        """The clients that send what bytes are reserved for."""

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def reserve(self, hold: "Reservation", size: int) -> bool:
        """Reserve `size` more bytes for a hold at once; False: there is no room, or others wait."""
        if self._waiting or self.used + size > self.total:
            return False
        self._grant(hold, size)
        return True

    async def wait(self, hold: "Reservation", size: int) -> None:
        """Wait until `size` more bytes are reserved for a hold.

        Raises:
            Saturated: there was no room in time, or too many requests wait.

        """
        waiting = _Waiting(hold, size)
        self._waiting.append(waiting)
        self._serve()
        if len(self._waiting) > self.most_waiting:
            self._refuse_surplus()
        try:
            with anyio.move_on_after(self.wait_seconds):
                while not waiting.over.is_set():
                    self._cut_one(waiting)
                    with anyio.move_on_after(_LOOK_SECONDS):
                        await waiting.over.wait()
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._serve()
        if not waiting.granted:
            self.refused += 1
            raise _no_room()

    def give_back(self, hold: "Reservation", size: int) -> None:
        """Take back bytes, and let those that wait have them."""
        hold.size -= size
        self.used -= size
        self._held[hold.owner] -= size
        if not self._held[hold.owner]:
            del self._held[hold.owner]
        self._serve()

    def _grant(self, hold: "Reservation", size: int) -> None:
        self.used += size
        self.peak = max(self.peak, self.used)
        self._held[hold.owner] += size
        hold.size += size

    def _share(self) -> float:
        """Return the fair share of each owner that holds bytes or waits for some."""
        owners = self._held.keys() | {waiting.hold.owner for waiting in self._waiting}
        return self.total / max(1, len(owners))

    def _serve(self) -> None:
        """Serve those that wait in their order, as far as there is room."""
        while self._waiting:
            first = self._first()
            if self.used + first.size > self.total:
                self._refuse_stuck()
                return
            self._grant(first.hold, first.size)
            self._take_turn(first.hold.owner)
            first.end(granted=True)
            self._waiting.remove(first)
        self._turns.clear()

    def _first(self) -> "_Waiting":
        """Return the one that is served next."""
        share = self._share()

        def order(waiting: _Waiting) -> tuple[bool, bool, int]:
            owner, is_new = waiting.hold.owner, not waiting.hold.size
            turn = self._turns.index(owner) if is_new and owner in self._turns else -1
            return self._held[owner] - waiting.hold.size > share, is_new, turn

        return min(self._waiting, key=order)

    def _take_turn(self, owner: str) -> None:
        if owner in self._turns:
            self._turns.remove(owner)
        self._turns.append(owner)

    def _refuse_surplus(self) -> None:
        """Refuse the last request of the owner with the most that wait."""
        counts = Counter(waiting.hold.owner for waiting in self._waiting)
        self._refuse(max(reversed(self._waiting), key=lambda waiting: counts[waiting.hold.owner]))

    def _refuse_stuck(self) -> None:
        """Refuse a request if all that hold bytes wait for more: none of them would give any back."""
        growing = [waiting for waiting in self._waiting if waiting.hold.size]
        if growing and sum({id(waiting.hold): waiting.hold.size for waiting in growing}.values()) >= self.used:
            self._refuse(max(reversed(growing), key=lambda waiting: self._held[waiting.hold.owner]))

    def _refuse(self, waiting: "_Waiting") -> None:
        self._waiting.remove(waiting)
        waiting.end(granted=False)

    def _cut_one(self, waiting: "_Waiting") -> None:
        """Cut off a client that sends too slowly, or one of an owner that holds more than its share."""
        now = anyio.current_time()
        sender = min(self.senders, key=_since, default=None)
        if sender is None or now - sender.since < _SLOW_SECONDS:
            sender = self._unfair(waiting) if now - waiting.since >= _SLOW_SECONDS else None
        if sender is not None:
            self.senders.discard(sender)
            sender.cut()

    def _unfair(self, waiting: "_Waiting") -> "Sender | None":
        """Return the slowest client of the owner that holds the most, if a waiting request's owner holds too little."""
        share, (owner, held) = self._share(), self._held.most_common(1)[0]
        senders = [sender for sender in self.senders if sender.owner == owner]
        if len(senders) < 2 or held <= share or self._held[waiting.hold.owner] + waiting.size > share:
            return None
        return min(senders, key=_since)


class Reservation:
    """The bytes of a budget that one request has reserved."""

    def __init__(self, budget: ByteBudget, owner: str = "") -> None:
        """Reserve nothing yet; `owner` is the license."""
        self._budget, self.owner = budget, owner
        self.size = 0

    async def raise_to(self, size: int) -> None:
        """Reserve bytes until there are `size` of them; wait for room.

        Raises:
            HttpFault: there can never be as many (413).
            Saturated: there was no room in time.

        """
        more = size - self.size
        if more <= 0:
            return
        if size > self._budget.total:
            message = f"The request needs more memory than the {self._budget.total} bytes that all requests share."
            raise HttpError(413, "request_too_large", message)
        if not self._budget.reserve(self, more):
            await self._budget.wait(self, more)

    async def add(self, size: int) -> None:
        """Reserve `size` more bytes; several tasks may do so for one hold.

        Raises:
            HttpFault, Saturated: as `raise_to`.

        """
        await self.raise_to(self.size + size)

    def lower_by(self, size: int) -> None:
        """Give back `size` bytes."""
        self.lower_to(max(0, self.size - size))

    def lower_to(self, size: int) -> None:
        """Give back all but `size` bytes."""
        less = self.size - size
        if less > 0:
            self._budget.give_back(self, less)

    def release(self) -> None:
        """Give all back."""
        self.lower_to(0)


class Sender:
    """A client that sends a body which bytes are reserved for."""

    def __init__(self, budget: ByteBudget, cut: Callable[[], None], owner: str = "") -> None:
        """Watch an owner's client from now on; `cut` is called when it is too slow while others wait."""
        self._budget, self.cut, self.owner = budget, cut, owner
        self.since = anyio.current_time()
        """Since when less than 64 KiB have come."""
        self._size = 0
        budget.senders.add(self)

    def received(self, size: int) -> None:
        """Record that bytes arrived."""
        self._size += size
        if self._size >= _PROGRESS_BYTES:
            self._size, self.since = 0, anyio.current_time()

    def close(self) -> None:
        """Watch the client no more."""
        self._budget.senders.discard(self)


class _Waiting:
    """A request that waits for bytes."""

    def __init__(self, hold: Reservation, size: int) -> None:
        self.hold, self.size = hold, size
        self.since = anyio.current_time()
        self.over = anyio.Event()
        self.granted = False

    def end(self, *, granted: bool) -> None:
        """Wait no longer."""
        self.granted = granted
        self.over.set()


def _since(sender: Sender) -> float:
    return sender.since


def _no_room() -> Saturated:
    return Saturated("The gateway has no memory left for a body of this size.", retry_after=_RETRY_SECONDS)
