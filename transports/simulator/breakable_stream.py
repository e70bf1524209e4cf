"""An ASGI response that can break off, and that stops when its client disconnects."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, cast

import anyio


class BreakableStream:
    """Sends chunks until they end, break off or the client disconnects, and counts the outcome."""

    def __init__(self, chunks: AsyncIterator[bytes | None], seen: Counter[str], done: Callable[[], None]) -> None:
        """Count outcomes in `seen`; call `done` after a whole answer."""
        self._chunks, self._seen, self._done = cast("AsyncGenerator[bytes | None]", chunks), seen, done
        self.while_open: AbstractContextManager[None] = nullcontext()
        """Context that is open while the response is sent."""
        self.headers = {"content-type": "application/json; charset=utf-8"}

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        """Send the response."""
        self._seen["streams_open"] += 1
        outcome = "streams_left"
        try:
            with self.while_open:
                async with anyio.create_task_group() as tasks:

                    async def cancel_on_disconnect() -> None:
                        while (await receive())["type"] != "http.disconnect":
                            pass
                        tasks.cancel_scope.cancel()

                    tasks.start_soon(cancel_on_disconnect)
                    outcome = "streams_whole" if await self._send(send) else "streams_cut"
                    tasks.cancel_scope.cancel()
        finally:
            self._seen["streams_open"] -= 1
            self._seen[outcome] += 1

    async def _send(self, send: Any) -> bool:
        headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                if chunk is None:
                    return False
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._done()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True
