"""The script of one streamed answer: which bytes come when, and which fault interrupts them."""

import math
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec

from transports.clock import Clock
from transports.simulator import encode
from transports.simulator.answer import SimulatedAnswer
from transports.simulator.config import Pace
from transports.simulator.frame_forms import FrameForm
from transports.simulator.prompt_directives import PromptScript

CUT = None
"""Yielded in place of bytes to cut the connection."""

_CHARACTERS_PER_TOKEN = 4
_FRAMES_PER_SECOND = 25
_MOST_FRAMES = 250
_LATE_FRAMES = 2


class ResponseScript:
    """One answer, as the site streams it."""

    def __init__(
        self, script: PromptScript, answer: SimulatedAnswer, form: FrameForm, pace: Pace, clock: Clock
    ) -> None:
        """Prepare the answer of a script."""
        self._script, self._answer, self._form, self._pace, self._clock = script, answer, form, pace, clock
        self._ids = form.ids
        self._length = len(answer.text) + (len(answer.document.body) if answer.document else 0)

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
        yield encode.PREFIX
        for number in range(script.queue):
            yield encode.queued(number)
            await self._clock.sleep(script.queue_seconds)
        await self._clock.sleep(self._pace.first_token_seconds if script.delay is None else script.delay)
        if self._fault(0) != "error":
            async for piece in self._before():
                yield piece
        steps = self._steps()
        rate = self._rate()
        pause = self._length / _CHARACTERS_PER_TOKEN / rate / max(1, len(steps)) if rate else 0.0
        for number, end in enumerate(steps):
            fault = self._fault(number)
            if fault is not None:
                async for piece in self._fail(fault):
                    yield piece
                return
            yield self._frame(number, end, late=number >= len(steps) - _LATE_FRAMES)
            await self._clock.sleep(pause) if pause else None
        async for piece in self._close(len(steps)):
            yield piece

    async def _before(self) -> AsyncIterator[bytes]:
        """Yield the frames before the answer's own text: ids, a tool's progress, thoughts, text that is rewritten."""
        for piece in self._form.opening():
            yield piece
        if self._answer.tool_words:
            for piece in self._form.tool(self._answer.tool_words):
                yield piece
        thoughts = self._answer.thoughts
        for end in _steps(len(thoughts), 3):
            yield encode.answer(self._snapshot(0, thoughts=thoughts[:end], sparse=self._form.sparse(end)))
        for end in _steps(len(self._script.rewrite), 3):
            yield encode.answer(self._snapshot(0, text=self._script.rewrite[:end], sparse=self._form.sparse(end)))

    def _steps(self) -> list[int]:
        """Return the lengths of the answer's growing prefixes; a rewritten answer comes in one step."""
        if self._script.rewrite:
            return [self._length]
        frames, rate = self._script.frames, self._rate()
        if not frames and rate:
            tokens_per_frame = max(1.0, rate / _FRAMES_PER_SECOND)
            frames = max(1, math.ceil(self._length / (_CHARACTERS_PER_TOKEN * tokens_per_frame)))
        elif not frames:
            frames = min(_MOST_FRAMES, math.ceil(self._length / 32))
        return _steps(self._length, max(frames, self._script.most_before))

    async def _close(self, number: int) -> AsyncIterator[bytes | None]:
        fault = self._fault(number, last=True)
        if fault is not None:
            async for piece in self._fail(fault):
                yield piece
            return
        form, script = self._form, self._script
        context, sparse = form.ids.context, form.sparse(number)
        whole = self._snapshot(self._length, rich=self._answer.rich, context=context, sparse=sparse)
        whole = msgspec.structs.replace(whole, complete=self._answer.complete, sources=self._answer.sources)
        pieces = [encode.answer(whole), *form.behind()]
        if script.late_error is not None:
            pieces += form.error(script.late_error, alone=False)
        yield b"".join([*pieces, *form.closing(self._length)])

    def _frame(self, number: int, end: int, *, late: bool) -> bytes:
        """Return a frame of the answer up to `end`, in its text or in the document after it."""
        flicker = ""
        if self._pace.flicker and self._script.flicker and end < self._length:
            following = self._answer.text[end : end + 1]
            flicker = self._form.flicker(number, self._answer.text[:end], following)
        answer = self._answer
        rich = answer.rich if late else answer.meanwhile
        snapshot = self._snapshot(
            end, flicker, rich=rich, tool="" if late else answer.tool, sparse=self._form.sparse(number)
        )
        if self._script.switch_after is not None and number >= self._script.switch_after:
            snapshot = msgspec.structs.replace(snapshot, rcid=f"{snapshot.rcid}b")
        return self._form.snapshot(snapshot, number)

    def _snapshot(self, end: int, flicker: str = "", **fields: Any) -> encode.Snapshot:
        """Return the answer up to `end`, in its text or in the document after it."""
        answer = self._answer
        text, document = answer.text[:end], None
        if answer.document is not None and end > len(answer.text):
            body = answer.document.body[: end - len(answer.text)] + flicker
            cited = answer.document.citations if end == self._length else []
            document = msgspec.structs.replace(answer.document, body=body, citations=cited)
        elif flicker:
            text += flicker
        others = tuple(other[:end] for other in answer.others)
        snapshot = encode.Snapshot(
            cid=self._ids.cid,
            rid=self._ids.rid,
            rcid=self._ids.rcid,
            text=text,
            thoughts=answer.thoughts,
            document=document,
            card=answer.card,
            others=others,
            model=self._ids.model,
            exact=self._form.exact,
            seconds=self._clock.wall(),
        )
        return msgspec.structs.replace(snapshot, **fields) if fields else snapshot

    def _fault(self, number: int, *, last: bool = False) -> "Fault | None":
        """Return the fault before the text frame `number`; if the text is shorter, at its end."""
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
                for piece in self._form.error(self._script.error or 0, alone=not self._script.after):
                    yield piece
                yield encode.bookkeeping(192)
                yield encode.end(0)
            case "drop":
                yield b'999\n[["wrb.fr",null,"'
                yield CUT
            case "eof":
                return
            case "stall":
                while True:
                    await self._clock.sleep(3600)
            case "garbage":
                yield b"12\nthis is not a frame\n"

    def _rate(self) -> float:
        """Return the tokens per second; 0: no pauses."""
        if self._script.tokens_per_second is not None:
            return self._script.tokens_per_second
        rate, longest = self._pace.tokens_per_second, self._pace.max_seconds
        tokens = self._length / _CHARACTERS_PER_TOKEN
        return max(rate, tokens / longest) if rate and longest else rate


Fault = Literal["error", "drop", "eof", "stall", "garbage"]


def _steps(length: int, frames: int) -> list[int]:
    """Return the lengths of `frames` growing prefixes of a text, or of as many as it has characters."""
    frames = min(frames, length)
    return list(dict.fromkeys(math.ceil(length * (number + 1) / frames) for number in range(frames)))
