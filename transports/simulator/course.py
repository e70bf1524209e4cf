"""The course of one answer: which bytes come when, and what goes wrong on the way."""

import math
from collections.abc import AsyncIterator, Iterator
from typing import Literal

import msgspec

from transports.clock import Clock
from transports.simulator import emit
from transports.simulator.config import Pace
from transports.simulator.script import Script

CUT = None
"""Instead of bytes: cut the connection here."""

_CHARACTERS_PER_TOKEN = 4
_FRAMES_PER_SECOND = 25
_MOST_FRAMES = 250
_FLICKERS = ("", "\n```", "", "\\")


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """The names the site gives a turn."""

    cid: str
    rid: str
    rcid: str


class Course:
    """One answer, as the site streams it."""

    def __init__(self, script: Script, pace: Pace, clock: Clock, ids: Ids, context: str) -> None:
        """Prepare; nothing is awaited yet."""
        self._script, self._pace, self._clock, self._ids, self._context = script, pace, clock, ids, context

    async def chunks(self) -> AsyncIterator[bytes | None]:
        """Yield the body's chunks, `CUT` where the connection breaks."""
        size = self._script.chunk or self._pace.chunk_bytes
        async for piece in self._pieces():
            if piece is None or not size:
                yield piece
                continue
            for start in range(0, len(piece), size):
                yield piece[start : start + size]

    async def _pieces(self) -> AsyncIterator[bytes | None]:
        script = self._script
        yield emit.PREFIX
        for _ in range(script.queue):
            yield emit.queued()
            await self._clock.sleep(script.queue_seconds)
        await self._clock.sleep(self._pace.first_token_seconds if script.delay is None else script.delay)
        yield emit.bookkeeping(37)
        if script.thoughts:
            for end in _steps(len(script.thoughts), 3):
                yield emit.answer(self._snapshot("", script.thoughts[:end], complete=False, sparse=bool(end % 2)))
        steps = _steps(len(script.text), self._frames())
        pause = self._pause(len(steps))
        for number, end in enumerate(steps):
            fault = self._fault(number)
            if fault is not None:
                async for piece in self._fail(fault):
                    yield piece
                return
            yield self._frame(number, end)
            await self._clock.sleep(pause) if pause else None
        async for piece in self._close(len(steps)):
            yield piece

    async def _close(self, number: int) -> AsyncIterator[bytes | None]:
        fault = self._fault(number, last=True)
        if fault is not None:
            async for piece in self._fail(fault):
                yield piece
            return
        whole = self._snapshot(self._script.text, self._script.thoughts, complete=True, sparse=self._sparse(number))
        yield emit.answer(whole) + emit.bookkeeping(41) + emit.end(len(self._script.text))

    def _frame(self, number: int, end: int) -> bytes:
        text = self._script.text[:end]
        if self._pace.flicker and self._script.flicker and end < len(self._script.text):
            text += _FLICKERS[number % len(_FLICKERS)]
        ids = self._ids
        if self._script.switch_after is not None and number >= self._script.switch_after:
            ids = msgspec.structs.replace(ids, rcid=f"{ids.rcid}b")
        snapshot = self._snapshot(text, self._script.thoughts, complete=False, sparse=self._sparse(number))
        return emit.answer(msgspec.structs.replace(snapshot, rcid=ids.rcid))

    def _snapshot(self, text: str, thoughts: str, *, complete: bool, sparse: bool) -> emit.Snapshot:
        return emit.Snapshot(
            cid=self._ids.cid,
            rid=self._ids.rid,
            rcid=self._ids.rcid,
            text=text,
            thoughts=thoughts,
            complete=complete,
            context=self._context if complete else "",
            sparse=sparse,
        )

    def _sparse(self, number: int) -> bool:
        return number % 2 == 1 if self._script.sparse is None else self._script.sparse

    def _fault(self, number: int, *, last: bool = False) -> "Fault | None":
        """Return what goes wrong before the text frame `number`; where the text is shorter, at its end."""
        script = self._script
        plans: tuple[tuple[Fault, int | None], ...] = (
            ("error", script.after if script.error is not None else None),
            ("drop", script.drop_after),
            ("eof", script.eof_after),
            ("stall", script.stall_after),
            ("garbage", script.garbage_after),
        )
        return next((fault for fault, at in plans if at is not None and (number >= at or last)), None)

    async def _fail(self, fault: "Fault") -> AsyncIterator[bytes | None]:
        match fault:
            case "error":
                yield emit.error(self._script.error or 0)
                yield emit.end(0)
            case "drop":
                yield b'999\n[["wrb.fr",null,"'
                yield CUT
            case "eof":
                return
            case "stall":
                while True:
                    await self._clock.sleep(3600)
            case "garbage":
                yield b"12\nthis is no frame\n"

    def _frames(self) -> int:
        length = len(self._script.text)
        if self._script.frames:
            return self._script.frames
        rate = self._rate()
        if not rate:
            return min(_MOST_FRAMES, math.ceil(length / 32))
        tokens_per_frame = max(1.0, rate / _FRAMES_PER_SECOND)
        return max(1, math.ceil(length / (_CHARACTERS_PER_TOKEN * tokens_per_frame)))

    def _rate(self) -> float:
        """Tokens per second; 0: no pause at all."""
        if self._script.tokens_per_second is not None:
            return self._script.tokens_per_second
        rate, longest = self._pace.tokens_per_second, self._pace.longest_seconds
        tokens = len(self._script.text) / _CHARACTERS_PER_TOKEN
        return max(rate, tokens / longest) if rate and longest else rate

    def _pause(self, frames: int) -> float:
        rate = self._rate()
        return len(self._script.text) / _CHARACTERS_PER_TOKEN / rate / max(1, frames) if rate else 0.0


Fault = Literal["error", "drop", "eof", "stall", "garbage"]


def _steps(length: int, frames: int) -> list[int]:
    """Return the lengths of `frames` growing prefixes of a text."""
    return list(_unique(math.ceil(length * (number + 1) / frames) for number in range(frames))) if length else []


def _unique(values: Iterator[int]) -> Iterator[int]:
    last = 0
    for value in values:
        if value != last:
            yield value
        last = value
