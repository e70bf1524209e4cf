"""A store that forgets when the process ends: for tests, and for accounts that have nothing to lose."""

from transports.clock import Clock


class MemoryStore:
    """Sessions in memory."""

    def __init__(self, clock: Clock) -> None:
        """Begin empty."""
        self._clock = clock
        self._values: dict[str, tuple[bytes, int]] = {}
        self._writers: dict[str, tuple[str, float]] = {}

    async def load(self, account: str) -> tuple[bytes, int] | None:
        """Return an account's saved session and its version."""
        return self._values.get(account)

    async def save(self, account: str, value: bytes, *, expected: int) -> int | None:
        """Save when the stored version is `expected`; return the new version, or None."""
        _, version = self._values.get(account, (b"", 0))
        if version != expected:
            return None
        self._values[account] = (value, version + 1)
        return version + 1

    async def acquire(self, account: str, owner: str, ttl: float) -> bool:
        """Become the account's only writer for `ttl` seconds, unless another owner is."""
        holder, until = self._writers.get(account, (owner, 0.0))
        now = self._clock.monotonic()
        if holder != owner and until > now:
            return False
        self._writers[account] = (owner, now + ttl)
        return True

    async def release(self, account: str, owner: str) -> None:
        """Stop being the account's only writer, if `owner` is."""
        if self._writers.get(account, ("", 0.0))[0] == owner:
            del self._writers[account]
