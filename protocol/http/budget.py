"""A budget of bytes: what all requests of a process hold in memory at once.

A request reserves bytes before it takes them, and waits a short time where there is no room. Those that wait are
served in turns of one per owner (a license), first come first served within an owner. A request that holds bytes and
needs more goes before all that hold none: it gives back sooner.

While requests wait, a client that holds bytes and sends next to nothing is cut off, the one that is slowest first.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

import anyio

from protocol.http.faults import HttpFault
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
        self._growing: deque[_Waiting] = deque()
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self.senders: set[Sender] = set()
        """The clients that send what bytes are reserved for."""

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._growing) + sum(map(len, self._waiting.values()))

    def reserve(self, hold: "Hold", size: int) -> bool:
        """Reserve `size` more bytes for a hold at once; False: there is no room, or others came first."""
        if self._growing or (self._waiting and not hold.size) or self.used + size > self.total:
            return False
        self._grant(hold, size)
        return True

    async def wait(self, hold: "Hold", size: int) -> None:
        """Wait until `size` more bytes are reserved for a hold.

        Raises:
            Saturated: there was no room in time, or too many requests wait.

        """
        if self.waiting >= self.most_waiting:
            self.refused += 1
            raise _no_room()
        waiting = _Waiting(hold, size)
        queue = self._growing if hold.size else self._waiting.setdefault(hold.owner, deque())
        queue.append(waiting)
        try:
            with anyio.move_on_after(self.wait_seconds):
                while not waiting.granted.is_set():
                    self._cut_slowest()
                    with anyio.move_on_after(_LOOK_SECONDS):
                        await waiting.granted.wait()
        finally:
            if not waiting.granted.is_set():
                queue.remove(waiting)
                if not queue and self._waiting.get(hold.owner) is queue:
                    del self._waiting[hold.owner]
                self._serve()
        if not waiting.granted.is_set():
            self.refused += 1
            raise _no_room()

    def give_back(self, size: int) -> None:
        """Take back bytes, and let those that wait have them."""
        self.used -= size
        self._serve()

    def _cut_slowest(self) -> None:
        """Cut off the slowest of the clients that send too slowly."""
        sender = min(self.senders, key=lambda sender: sender.since, default=None)
        if sender is not None and anyio.current_time() - sender.since >= _SLOW_SECONDS:
            self.senders.discard(sender)
            sender.cut()

    def _grant(self, hold: "Hold", size: int) -> None:
        self.used += size
        self.peak = max(self.peak, self.used)
        hold.size += size

    def _serve(self) -> None:
        while self._growing:
            if not self._serve_first(self._growing):
                return
        while self._waiting:
            owner, queue = next(iter(self._waiting.items()))
            if not self._serve_first(queue):
                return
            if queue:
                self._waiting.move_to_end(owner)
            else:
                del self._waiting[owner]

    def _serve_first(self, queue: "deque[_Waiting]") -> bool:
        first = queue[0]
        if self.used + first.size > self.total:
            return False
        queue.popleft()
        self._grant(first.hold, first.size)
        first.granted.set()
        return True


class Hold:
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
            raise HttpFault(413, "request_too_large", message)
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
            self.size = size
            self._budget.give_back(less)

    def release(self) -> None:
        """Give all back."""
        self.lower_to(0)


class Sender:
    """A client that sends a body which bytes are reserved for."""

    def __init__(self, budget: ByteBudget, cut: Callable[[], None]) -> None:
        """Watch a client from now on; `cut` is called when it is too slow while others wait."""
        self._budget, self.cut = budget, cut
        self.since = anyio.current_time()
        """Since when less than 64 KiB have come."""
        self._size = 0
        budget.senders.add(self)

    def came(self, size: int) -> None:
        """Note that so many bytes came."""
        self._size += size
        if self._size >= _PROGRESS_BYTES:
            self._size, self.since = 0, anyio.current_time()

    def close(self) -> None:
        """Watch the client no more."""
        self._budget.senders.discard(self)


class _Waiting:
    """A request that waits for bytes."""

    def __init__(self, hold: Hold, size: int) -> None:
        self.hold, self.size = hold, size
        self.granted = anyio.Event()


def _no_room() -> Saturated:
    return Saturated("The gateway has no memory left for a body of this size.", retry_after=_RETRY_SECONDS)
