"""Offers the store a session's newest value for as long as the process lives: it may hold the only valid one.

Source: reliability 6.2
"""

import math

import anyio

from transports.clock import Clock
from transports.web.session.store import SessionStore

_WAIT_SECONDS = 1.0
"""What is saved at once needs no offer."""
_LAST_SECONDS = 20.0


async def flush(session_store: SessionStore, clock: Clock) -> None:
    """Save what the store has not got, tried every second, whenever there is something; its end waits for it."""
    try:
        while True:
            await session_store.wanted.wait()
            session_store.wanted = anyio.Event()
            await clock.sleep(_WAIT_SECONDS)
            await session_store.save(math.inf)
    finally:
        with anyio.move_on_after(_LAST_SECONDS, shield=True):
            await session_store.save(_LAST_SECONDS)
