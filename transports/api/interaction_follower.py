"""Follows an interaction by its stream, for a client that reads along, and says how the work goes on.

A stream may break at any byte. It is resumed after the last event that came whole, so nothing is shown twice. If it
keeps breaking without an event between, or cannot be opened, the caller asks for the interaction again and again
instead. The result is not read from the stream but from the interaction, once it has ended.

Source: "Interactions".
"""

from collections.abc import AsyncGenerator, Iterator
from urllib.parse import quote

import msgspec
import structlog

from protocol.model import Event, RateLimited, Thought, UpstreamFailed, Waiting
from transports.api.interaction_wire import InteractionEvent, decode_interaction_event
from transports.clock import Clock
from transports.generate_content.api_client import ApiClient
from transports.generate_content.sse import SseReader, SseTooLong

_MAX_BREAKS = 5
"""Most breaks in a row of a stream that is resumed."""
_LONGEST_EVENT = 64 * 1024 * 1024
_DONE = b"[DONE]"
_ENDS = frozenset({"interaction.completed", "error"})

_log = structlog.get_logger()


class Polling(msgspec.Struct, frozen=True):
    """How often work is asked for."""

    clock: Clock
    seconds: float


class Progress:
    """What a client has seen of the work."""

    def __init__(self, clock: Clock, pause: float) -> None:
        """Report that the work goes on after `pause` seconds without a thought."""
        self._clock, self._pause, self._shown = clock, pause, 0
        self._started = self._reported = clock.monotonic()

    def thoughts(self, texts: list[str]) -> Iterator[Event]:
        """Yield those of all thoughts so far that were not shown."""
        yield from self.news(texts[self._shown :])

    def news(self, texts: list[str]) -> Iterator[Event]:
        """Yield further thoughts."""
        for text in texts:
            self._shown += 1
            self._reported = self._clock.monotonic()
            yield Thought(text=f"{text.strip()}\n")

    def sign(self) -> Event:
        """Return a sign of life."""
        now = self._clock.monotonic()
        if now - self._reported < self._pause:
            return Waiting()
        self._reported = now
        return Thought(text=f"The upstream is working… {now - self._started:.0f} s\n")


class InteractionFollower:
    """Follows one interaction."""

    def __init__(self, api: ApiClient, identity: str, progress: Progress, polling: Polling) -> None:
        """Resume after `polling.seconds`, and yield signs of life as often."""
        self._api, self._progress, self._polling = api, progress, polling
        self._path, self._last, self._breaks = f"interactions/{identity}?stream=true", "", 0
        self._ended = False

    async def events(self) -> AsyncGenerator[Event]:
        """Yield thoughts and signs of life until the interaction has ended, or its stream is given up."""
        while not self._ended and self._breaks < _MAX_BREAKS:
            self._breaks += 1
            try:
                async for event in self._stream():
                    yield event
            except (UpstreamFailed, RateLimited, SseTooLong, msgspec.MsgspecError) as error:
                _log.info("interaction_stream_broken", error=type(error).__name__)
            if not self._ended:
                yield self._progress.sign()
                await self._polling.clock.sleep(self._polling.seconds)

    async def _stream(self) -> AsyncGenerator[Event]:
        place = f"&last_event_id={quote(self._last)}" if self._last else ""
        sse = SseReader(_LONGEST_EVENT)
        async with self._api.download(f"{self._path}{place}") as response:
            while not self._ended:
                piece = await self._api.next_piece(response, self._polling.seconds)
                if piece is None:
                    yield self._progress.sign()
                    continue
                if not piece:
                    return
                for data in sse.feed(piece):
                    for event in self._read(data):
                        yield event

    def _read(self, data: bytes) -> Iterator[Event]:
        if data == _DONE:
            self._ended = True
            return
        event: InteractionEvent = decode_interaction_event(data)
        self._last, self._breaks = event.event_id or self._last, 0
        self._ended |= event.event_type in _ENDS
        if event.delta is not None and event.delta.type == "thought_summary" and event.delta.content is not None:
            yield from self._progress.news([event.delta.content.text])
