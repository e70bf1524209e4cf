"""Stream the feed as server-sent events until the client disconnects or shutdown begins."""

from typing import Any

import anyio
import msgspec

from protocol.http.context import context_of
from protocol.http.disconnect import CallbackEvent
from protocol.http.errors import CLIENT_GONE
from protocol.http.stream import SSE, STREAM_HEADERS
from protocol.model import Saturated
from service.admin.errors import refusal
from service.admin.feed import Feed, Follower
from service.admin.wire import LostEvents

BEAT_SECONDS = 10.0
LOST = LostEvents(message="Events after your last one are no longer available: read the accounts again.")
_LOST = "lost"
_RETRY = b"retry: 3000\n"
_BEAT = b": keep-alive\n\n"

_encode = msgspec.json.Encoder().encode


class FeedStream:
    """ASGI response that streams the feed to one client."""

    def __init__(self, feed: Feed, last: str | None, ending: CallbackEvent, beat_seconds: float = BEAT_SECONDS) -> None:
        """Start after the event `last`, or now; stop at the `ending` event."""
        self._feed, self._last, self._ending, self._beat = feed, last, ending, beat_seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the response."""
        record = context_of(scope).record
        try:
            with self._feed.follow(self._last) as follower:
                record.stream = True
                if await self._run(follower, receive, send):
                    record.error = CLIENT_GONE
        except Saturated as error:
            record.error = error.code
            await refusal(error)(scope, receive, send)

    async def _run(self, follower: Follower, receive: Any, send: Any) -> bool:
        """Send events, and a heartbeat comment when there are none; return whether the client disconnected.

        The response also ends if the client reads too slowly.
        """
        gone = False
        headers = [(b"content-type", SSE.media_type), *STREAM_HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                nonlocal gone
                while (await receive())["type"] != "http.disconnect":
                    pass
                gone = True
                tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            with anyio.CancelScope() as scope:
                self._ending.add_callback(scope.cancel)
                try:
                    first = _event(follower.at, _LOST, LOST) if follower.lost else _event(follower.at)
                    await send(_body_chunk(_RETRY + first))
                    while (changes := await follower.next(self._beat)) is not None:
                        events = [_event(one.id, one.change.event, one.change) for one in changes]
                        await send(_body_chunk(b"".join(events) or _BEAT))
                finally:
                    self._ending.remove_callback(scope.cancel)
            tasks.cancel_scope.cancel()
        if not gone:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return gone


def _event(identity: str, name: str = "", data: msgspec.Struct | None = None) -> bytes:
    """Encode an event; without data it only sets the client's last event id."""
    lines = f"id: {identity}\n".encode()
    if data is not None:
        lines += f"event: {name}\n".encode() + b"data: " + _encode(data) + b"\n"
    return lines + b"\n"


def _body_chunk(data: bytes) -> Any:
    return {"type": "http.response.body", "body": data, "more_body": True}
