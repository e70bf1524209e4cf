"""Saves a session's newest value in the background until it succeeds: this process may hold the only valid one.

Source: reliability 6.2
"""

import math

import anyio

from transports.clock import Clock
from transports.web.session.store import SessionStore

_WAIT_SECONDS = 1.0
"""Delay before the first attempt; most values are saved at once without it."""
_LAST_SECONDS = 20.0


async def flush(session_store: SessionStore, clock: Clock) -> None:
    """Save unsaved values, retrying every second; cancellation waits up to 20 seconds for a last save."""
    try:
        while True:
            await session_store.wanted.wait()
            session_store.wanted = anyio.Event()
            await clock.sleep(_WAIT_SECONDS)
            await session_store.save(math.inf)
    finally:
        with anyio.move_on_after(_LAST_SECONDS, shield=True):
            await session_store.save(_LAST_SECONDS)
