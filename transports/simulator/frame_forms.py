"""Writes an answer's frames in the site's own form, or in the forms that a decoder must survive. No I/O."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from transports.simulator import encode

_FLICKERS = ("", "\n```", "", "\\")
_MARK = re.compile(r"[*_`#\[\]~>]")
_WORD = re.compile(r"\w\Z")
_OPEN_FENCE = re.compile(r"(?m)^```")
_WITHOUT_END_EVERY = 4
"""Every n-th answer ends with a state frame instead of the end frame (`e`)."""


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that the site gives a turn."""

    cid: str
    rid: str
    rcid: str
    context: str = ""
    """Empty: the turn is not saved."""
    model: tuple[str, str] | None = None
    """Id and name of the model that answers; None: the site does not say."""
    title: str = ""
    """Title of the conversation; the first turn's answer names it."""
    number: int = 0
    """Number of turns that the site has answered before."""


class FrameForm:
    """Alternates between frame forms that a decoder must accept.

    The arrays are dense or sparse, with or without bookkeeping.
    """

    exact = False

    def __init__(self, ids: Ids, *, sparse: bool | None = None) -> None:
        """Write one answer's frames; `sparse` chooses the arrays' form, None lets it alternate."""
        self.ids, self._sparse = ids, sparse

    def sparse(self, number: int) -> bool:
        """Return whether the frame of this number has high-numbered fields in a trailing dict."""
        return number % 2 == 1 if self._sparse is None else self._sparse

    def opening(self) -> Iterator[bytes]:
        """Yield the frames before the first snapshot."""
        yield encode.bookkeeping(37)

    def tool(self, words: str) -> Iterator[bytes]:
        """Yield the progress of a tool that runs before the answer."""
        _ = words
        return iter(())

    def flicker(self, number: int, text: str, following: str) -> str:
        """Return text that a frame shows after its own and that the next frame removes."""
        _ = text, following
        return _FLICKERS[number % len(_FLICKERS)]

    def snapshot(self, snapshot: encode.Snapshot, number: int) -> bytes:
        """Return a snapshot's frame; some frames have bookkeeping, before or after the content."""
        if number % 7 == 6:
            return encode.answer(snapshot, ["di", number], first=number % 2 == 0)
        return encode.answer(snapshot)

    def behind(self) -> Iterator[bytes]:
        """Yield the frames after the whole answer."""
        return iter(())

    def closing(self, length: int) -> Iterator[bytes]:
        """Yield the last frames."""
        yield encode.bookkeeping(41)
        yield encode.end(length)

    def error(self, code: int, *, alone: bool) -> Iterator[bytes]:
        """Yield a code's frame; `alone`: no content came before it."""
        _ = alone
        yield encode.error(code)


class ExactForm(FrameForm):
    """The site's own form: ids, snapshots, title, bookkeeping, end. Source: "Response"."""

    exact = True

    def sparse(self, number: int) -> bool:
        """Write dense arrays unless `sparse` is set."""
        _ = number
        return bool(self._sparse)

    def opening(self) -> Iterator[bytes]:
        """Yield the ids frame."""
        ids = self.ids
        yield self._state([ids.cid, ids.rid], {"18": ids.rid, "21": [self._token()], "44": True})

    def tool(self, words: str) -> Iterator[bytes]:
        """Yield a tool's progress at both places where the site shows it."""
        running = ["data_analysis_tool", [None, None, words, ""], 1, [None, [*[None] * 7, [20]], False]]
        yield self._state(None, {"7": [None, running]})
        yield encode.inner([None, [self.ids.cid, self.ids.rid], None, None, None, None, [None, running]])

    def flicker(self, number: int, text: str, following: str) -> str:
        """Show a backslash only before a Markdown mark, a closing fence only inside an open one."""
        if _MARK.match(following) and not _WORD.search(text):
            return "\\"
        fences = len(_OPEN_FENCE.findall(text))
        return "\n```" if fences % 2 and text[-1:] != "`" and number % 2 else ""

    def snapshot(self, snapshot: encode.Snapshot, number: int) -> bytes:
        """Return a snapshot's frame."""
        _ = number
        return encode.answer(snapshot)

    def behind(self) -> Iterator[bytes]:
        """Yield the title of a conversation that begins."""
        if self.ids.title:
            yield self._state([self.ids.cid, self.ids.rid], {"11": [self.ids.title], "44": True})

    def closing(self, length: int) -> Iterator[bytes]:
        """Yield bookkeeping and the end, or a frame of state in place of both."""
        if self.ids.number % _WITHOUT_END_EVERY == _WITHOUT_END_EVERY - 1:
            yield encode.inner([{"37": [0]}])
            return
        yield from super().closing(length)

    def error(self, code: int, *, alone: bool) -> Iterator[bytes]:
        """Yield a code's frame; the refusal of a tool comes after a frame with the turn's id."""
        if alone and code == 1053:
            ids = self.ids
            yield self._state([None, ids.rid], {"18": ids.rid, "21": [self._token()], "44": True})
        yield encode.error(code)

    def _token(self) -> str:
        return f"AUEngZ-{self.ids.rid[2:]}"

    def _state(self, conversation: list[Any] | None, state: dict[str, Any]) -> bytes:
        return encode.inner([None, conversation, state])
