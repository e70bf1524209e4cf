"""Ends an answer where the caller said: the upstream knows no stop sequences, so they are looked for here."""

from collections.abc import AsyncIterable, AsyncIterator

from protocol.model import Event, Finish, Text, Thought, Usage, estimate_tokens


class Cutter:
    """Finds the first of several texts in a text that comes in pieces; holds back what may begin one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        """Look for `stops`, none of them empty."""
        self._stops = stops
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Take a piece; return what is surely before any stop."""
        text = self._held + text
        self._held = ""
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found = True
            return text[: min(places)]
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """Return what was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of `text` are the beginning of `stop`."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)


async def cut(events: AsyncIterable[Event], stops: tuple[str, ...], input_tokens: int) -> AsyncIterator[Event]:
    """Yield events up to the first stop sequence, then `Finish`; nothing of the sequence is yielded."""
    cutter = Cutter(stops)
    said = thought = ""
    async for event in events:
        if isinstance(event, Finish) and (rest := cutter.rest()):
            yield Text(text=rest)
        if not isinstance(event, Text):
            thought += event.text if isinstance(event, Thought) else ""
            yield event
            continue
        piece = cutter.push(event.text)
        said += piece
        if piece:
            yield Text(text=piece)
        if cutter.found:
            yield Finish(reason="stop", usage=_usage(said, thought, input_tokens))
            return


def _usage(text: str, thoughts: str, input_tokens: int) -> Usage:
    reasoning = estimate_tokens(thoughts)
    output = estimate_tokens(text) + reasoning
    return Usage(input_tokens=input_tokens, output_tokens=output, reasoning_tokens=reasoning)
