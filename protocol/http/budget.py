"""A memory budget that all requests of a process share.

A request reserves bytes before it uses them, and waits a short time if the budget is full. The queue has this order:

1. Requests whose owner (a license) holds at most its fair share for its other requests, before the other requests.
2. Among these, requests that hold bytes and need more, since they give their bytes back sooner.
3. Then one request per owner in turn; within an owner, in the order of arrival.

While requests wait, a client that sends less than 64 KiB in two seconds is disconnected, the slowest first. If there is
none and a request has waited for two seconds, a client of an owner that holds more than its fair share is disconnected,
if the owner has another one.

Example: 256 MiB, licenses A and B. A holds 200 MiB for four uploads; a request of B needs 100 MiB and waits. The fair
share is 128 MiB, so after two seconds A's slowest upload is disconnected, and B gets its bytes.
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
"""Bounds the number of waiting requests: the server has read up to 1 MiB of each."""
_SLOW_SECONDS = 2.0
_PROGRESS_BYTES = 64 * 1024
"""A client that sends less in that time is disconnected while others wait."""
_LOOK_SECONDS = 0.5


class ByteBudget:
    """The bytes that all requests of a process share."""

    def __init__(
        self, total: int = TOTAL, wait_seconds: float = WAIT_SECONDS, *, most_waiting: int | None = None
    ) -> None:
        """Allow `total` reserved bytes, and let requests wait for bytes for at most `wait_seconds`.

        At most `most_waiting` requests wait, by default one per 2 MiB of the total.
        """
        self.total, self.wait_seconds = total, wait_seconds
        self.most_waiting = max(1, total // _BYTES_PER_WAITING) if most_waiting is None else most_waiting
        self.refused = 0
        """The number of requests that got no bytes in time, since the process began."""
        self.used = self.peak = 0
        """The bytes that are reserved now, and the maximum since `peak` was set."""
        self._held: Counter[str] = Counter()
        """Reserved bytes by owner."""
        self._waiting: list[_Waiting] = []
        """Waiting requests in the order of arrival."""
        self._turns: list[str] = []
        """Owners that got bytes while requests waited; the latest at the end."""
        self.senders: set[Sender] = set()
        """The clients that are sending a body for which bytes are reserved."""

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return len(self._waiting)

    def reserve(self, hold: "Reservation", size: int) -> bool:
        """Reserve `size` more bytes at once; return False if the budget is full or others wait."""
        if self._waiting or self.used + size > self.total:
            return False
        self._grant(hold, size)
        return True

    async def wait(self, hold: "Reservation", size: int) -> None:
        """Wait until `size` more bytes are reserved.

        Raises:
            Saturated: the wait timed out, or too many requests wait.

        """
        waiting = _Waiting(hold, size)
        self._waiting.append(waiting)
        self._serve()
        if len(self._waiting) > self.most_waiting:  # refuse the latest request of the owner with the most
            counts = Counter(waiting.hold.owner for waiting in self._waiting)
            self._refuse(max(reversed(self._waiting), key=lambda one: counts[one.hold.owner]))
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
            message = "The gateway has no memory left for a body of this size."
            raise Saturated(message, retry_after=_RETRY_SECONDS)

    def give_back(self, hold: "Reservation", size: int) -> None:
        """Take back bytes, and serve waiting requests."""
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
        """Return the fair share of an owner: the total, divided by the owners that hold or wait for bytes."""
        owners = self._held.keys() | {waiting.hold.owner for waiting in self._waiting}
        return self.total / max(1, len(owners))

    def _serve(self) -> None:
        """Serve waiting requests in the order of the queue until the budget is full."""
        while self._waiting:
            first = self._first()
            if self.used + first.size > self.total:
                growing = [waiting for waiting in self._waiting if waiting.hold.size]
                sizes = {id(waiting.hold): waiting.hold.size for waiting in growing}
                if growing and sum(sizes.values()) >= self.used:  # a deadlock: all that hold bytes wait for more
                    self._refuse(max(reversed(growing), key=lambda waiting: self._held[waiting.hold.owner]))
                return
            self._grant(first.hold, first.size)
            owner = first.hold.owner
            if owner in self._turns:
                self._turns.remove(owner)
            self._turns.append(owner)
            first.end(granted=True)
            self._waiting.remove(first)
        self._turns.clear()

    def _first(self) -> "_Waiting":
        """Return the request that is served next."""
        share = self._share()

        def order(waiting: _Waiting) -> tuple[bool, bool, int]:
            owner, is_new = waiting.hold.owner, not waiting.hold.size
            turn = self._turns.index(owner) if is_new and owner in self._turns else -1
            return self._held[owner] - waiting.hold.size > share, is_new, turn

        return min(self._waiting, key=order)

    def _refuse(self, waiting: "_Waiting") -> None:
        self._waiting.remove(waiting)
        waiting.end(granted=False)

    def _cut_one(self, waiting: "_Waiting") -> None:
        """Disconnect a client that sends too slowly, or one of an owner that holds more than its share."""
        sender = min(self.senders, key=_since, default=None)
        if sender is None or anyio.current_time() - sender.since < _SLOW_SECONDS:
            sender = self._sender_over_share(waiting)
        if sender is not None:
            self.senders.discard(sender)
            sender.cut()

    def _sender_over_share(self, waiting: "_Waiting") -> "Sender | None":
        """Return the slowest client of an owner that holds more than its share, if `waiting` may have its bytes."""
        if anyio.current_time() - waiting.since < _SLOW_SECONDS:
            return None
        share, (owner, held) = self._share(), self._held.most_common(1)[0]
        senders = [one for one in self.senders if one.owner == owner]
        fits = self._held[waiting.hold.owner] + waiting.size <= share
        return min(senders, key=_since) if len(senders) > 1 and held > share and fits else None


class Reservation:
    """The bytes of a budget that one request has reserved."""

    def __init__(self, budget: ByteBudget, owner: str = "") -> None:
        """Reserve nothing yet; `owner` is the license."""
        self._budget, self.owner = budget, owner
        self.size = 0

    async def raise_to(self, size: int) -> None:
        """Reserve up to `size` bytes in total, waiting if necessary.

        Raises:
            HttpError: the size exceeds the whole budget (413).
            Saturated: the wait timed out.

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
        """Reserve `size` more bytes; several tasks may do so for one reservation.

        Raises:
            HttpError, Saturated: as `raise_to`.

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
        """Give all bytes back."""
        self.lower_to(0)


class Sender:
    """A client that is sending a body for which bytes are reserved."""

    def __init__(self, budget: ByteBudget, cut: Callable[[], None], owner: str = "") -> None:
        """Begin to watch a client of an owner; `cut` is called to disconnect it."""
        self._budget, self.cut, self.owner = budget, cut, owner
        self.since = anyio.current_time()
        """The start of the period in which less than 64 KiB arrived."""
        self._size = 0
        budget.senders.add(self)

    def received(self, size: int) -> None:
        """Record that bytes arrived."""
        self._size += size
        if self._size >= _PROGRESS_BYTES:
            self._size, self.since = 0, anyio.current_time()

    def close(self) -> None:
        """Stop watching the client."""
        self._budget.senders.discard(self)


class _Waiting:
    """A request that waits for bytes."""

    def __init__(self, hold: Reservation, size: int) -> None:
        self.hold, self.size = hold, size
        self.since = anyio.current_time()
        self.over = anyio.Event()
        self.granted = False

    def end(self, *, granted: bool) -> None:
        """End the wait."""
        self.granted = granted
        self.over.set()


def _since(sender: Sender) -> float:
    return sender.since
