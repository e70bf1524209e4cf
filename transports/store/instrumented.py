"""A store that reports the duration and outcome of every call to an observer."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

import anyio

from transports.clock import Clock
from transports.store.breaker import BreakerObserver
from transports.store.port import Backend, StoreDown
from transports.store.sqlite_file import FileObserver


class StoreObserver(BreakerObserver, FileObserver, Protocol):
    """Is notified about every call of a store."""

    def store_call(self, operation: str, seconds: float, outcome: str) -> None:
        """Handle the end of a call; `outcome` is ok, cancelled, error, or the reason of a StoreDown."""
        ...

    def store_evicts(self, *, evicts: bool) -> None:
        """Handle whether the server may evict records to make room for others."""
        ...


def instrumented(backend: Backend, clock: Clock, observer: StoreObserver) -> Backend:
    """Wrap a backend so that `observer` is notified about its calls."""
    return cast("Backend", _Observed(backend, clock, observer))


class _Observed:
    """Wraps each method of the backend on its first use."""

    def __init__(self, backend: Backend, clock: Clock, observer: StoreObserver) -> None:
        self._backend, self._clock, self._observer = backend, clock, observer

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method: Callable[..., Awaitable[Any]] = getattr(self._backend, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            begun, outcome = self._clock.monotonic(), "ok"
            try:
                return await method(*arguments, **options)
            except StoreDown as down:
                outcome = down.reason
                raise
            except anyio.get_cancelled_exc_class():
                outcome = "cancelled"
                raise
            except Exception:
                outcome = "error"
                raise
            finally:
                self._observer.store_call(name, self._clock.monotonic() - begun, outcome)

        setattr(self, name, call)
        return call
