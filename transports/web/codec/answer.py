r"""Read one streamed answer: bytes become frames, frames become snapshots, snapshots become events; no I/O.

Frames are cumulative: a megabyte of answer in ten thousand frames is five gigabytes on the wire, nearly all of it
repeated. `SnapshotReader` therefore decodes incrementally. If a frame starts with the same bytes as the last one, up to
a position inside the answer's text, it removes the known part of the text, decodes the short JSON that is left and puts
the known text back in front:

    last frame        [["r1",["The sky is blue"]]]
    shared prefix     [["r1",["The sky is
    this frame        [["r1",["The sky is blue today"]]]
    decoded JSON      [["r1",[" blue today"]]]
    text              "The sky is" + " blue today"

(In a real frame the candidate is a JSON string inside a JSON string, so its quotes are escaped.) The prefix must end
between two escapes and before the end of the text that the site may still change (`_settled_end`). If only the text
grew, even the short JSON is not decoded (`grown`). A frame with a different prefix is decoded whole, so this changes
the cost, never the result.

`AnswerReader` reads the parts of each frame: content, an error code, the end. It passes the candidate to
`events.EventBuilder`, which returns what is new. Source: "Response", "Codes".
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, cast

import msgspec

from protocol.model import (
    NO_USAGE,
    Certainty,
    DriftDetected,
    Event,
    Finish,
    GatewayError,
    UpstreamFailed,
    Usage,
    Waiting,
)
from transports.web import wire
from transports.web.codec import jspb
from transports.web.codec.batch import status_in, token_of
from transports.web.codec.candidate import read_candidate
from transports.web.codec.codes import error_for_code
from transports.web.codec.events import EventBuilder, MediaRefs
from transports.web.codec.frames import Frame, FrameParser, Shared, loads
from transports.web.errors import drift, error_for_http

_TEXT_STARTS = '[[\\"%s\\",[\\"'
"""How a candidate and its text start inside the frame's JSON: `[4] = [[rcid, [text …`."""

_PIECE = re.compile(
    r'(?P<plain>[^"\\]+)'
    r"|(?P<unit>\\\\?u(?!0022|005[Cc]|[Dd])[0-9A-Fa-f]{4})"
    r"|\\\\u[0-9A-Fa-f]{4}"
    r"|\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}"
    r'|\\\\(?:\\["\\]|[^"\\])'
)
"""One token of a string inside a string: plain characters, or an escape of either string."""

_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
"""A text without escapes."""

_UNSETTLED = "` \t"

_HALF = re.compile(r"\\\\?u[Dd][89ABab][0-9A-Fa-f]{2}")
"""The first half of an escaped surrogate pair; the second half must not be separated from it."""

_FLICKER = 256
"""The site may still change this many characters at the end of the text."""


class FrameParts:
    """The parts of one frame, and the beginning of the answer's text that was removed from them."""

    __slots__ = ("json", "known", "parts", "shared")

    def __init__(self, json: bytes, known: str, *, shared: bool) -> None:
        """Decode a frame's JSON. If `shared`, the beginning of the candidate's text, `known`, was removed from it.

        Raises:
            DriftDetected: the JSON is not an array of parts.

        """
        parts = loads(json)
        if not isinstance(parts, list):
            raise drift("a frame is not an array")
        self.parts = cast("list[Any]", parts)
        self.json, self.known, self.shared = json, known, shared


class SnapshotReader:
    """Decode the frames of one answer, and remember the prefix that need not be decoded again."""

    def __init__(self, frames: FrameParser) -> None:
        """Start without a shared prefix; this reader sets the prefix of `frames`."""
        self._frames = frames
        self._text_at = 0
        """Where the answer's text starts in the shared prefix, which ends inside the text; 0: no prefix yet."""
        self._known = ""
        """The decoded text of the shared prefix."""
        self._tail = b""
        """Everything after the text in the last frame."""

    def behind(self, frame: Frame) -> bytes | None:
        """Return the bytes after the shared prefix, or None if the frame does not start with it."""
        return frame.behind(self._frames.shared) if self._text_at else None

    def covers(self, frame: Frame, following: Frame) -> bool:
        """Return whether `following` differs from `frame` only by additional text at the end of its text.

        Then `frame` contains nothing that `following` lacks, and need not be decoded.
        """
        before, after = self.behind(frame), self.behind(following)
        tail = self._tail
        if before is None or after is None or len(after) <= len(before):
            return False
        if not (before.endswith(tail) and after.endswith(tail)):
            return False
        return after.startswith(before[: len(before) - len(tail)])

    def read(self, frame: Frame, added: bytes | None) -> FrameParts:
        """Decode a frame; `added` is the result of `behind` for it.

        Raises:
            DriftDetected: the frame is not an array of parts.

        """
        if added is None:
            return FrameParts(frame.whole(), "", shared=False)
        return FrameParts(bytes(self._frames.shared.data[: self._text_at]) + added, self._known, shared=True)

    def grown(self, added: bytes) -> str | None:
        """Return the whole text of a frame that differs from the last only in its text; None if it must be decoded.

        `added` is the result of `behind` for the frame.
        """
        tail = self._tail
        if not added.endswith(tail):
            return None
        try:
            written = added[: len(added) - len(tail)].decode()
        except UnicodeDecodeError:
            return None
        if _PLAIN.fullmatch(written):
            settled = max(len(written.rstrip(_UNSETTLED)), len(written) - _FLICKER)
            text = self._known + written
            known = text if settled == len(written) else self._known + written[:settled]
        else:
            settled, end = _settled_end(written)
            if end != len(written):
                return None
            text = self._known + _unescaped(written)
            known = self._known + _unescaped(written[:settled])
            if not text.startswith(known):
                return None
        if settled:
            self._frames.shared.extend(written[:settled].encode())
            self._known = known
        return text

    def learn(self, read: FrameParts, rcid: str, text: str) -> bool:
        """Remember the frame `read`, whose candidate `rcid` has the text `text`.

        Return whether that succeeded: then `grown` can read frames that continue it.
        """
        start = self._text_at
        if not read.shared:
            opening = (_TEXT_STARTS % rcid).encode()
            start = read.json.find(opening) + len(opening)
            if start < len(opening):
                return False
        written = read.json[start:].decode()
        settled, end = _settled_end(written)
        known = _unescaped(written[:settled])
        if not text.startswith(known, len(read.known)):
            return False
        self._tail = written[end:].encode()
        beginning = written[:settled].encode()
        if read.shared:
            self._frames.shared.extend(beginning)
        else:
            self._frames.shared = Shared(read.json[:start] + beginning)
        self._text_at = start
        self._known = read.known + known
        return True


def _settled_end(written: str) -> tuple[int, int]:
    """Return where the settled part of an escaped text ends, and where the text itself ends.

    `written` is the text as escaped in its frame, perhaps with more of the frame after it. The settled part ends
    between two escapes, at a position that the site should no longer change. Plain characters are settled at once,
    except trailing characters that may flicker. Those, and escapes, are settled once they are more than `_FLICKER`
    characters from the end; so the part that is read again is bounded for every text.
    """
    end = position = 0
    boundaries: list[int] = []
    while piece := _PIECE.match(written, position):
        position = piece.end()
        plain = piece["plain"]
        if plain is not None:
            kept = plain.rstrip(_UNSETTLED)
            if kept:
                end = piece.start() + len(kept)
            boundaries.append(max(piece.start(), position - _FLICKER))
        elif piece["unit"] is not None:
            end = position
        if not _HALF.fullmatch(piece.group()):
            boundaries.append(position)
    settled = bisect_right(boundaries, position - _FLICKER)
    return max(end, boundaries[settled - 1]) if settled else end, position


def _unescaped(written: str) -> str:
    """Decode a text that is escaped as a string inside a string."""
    inner = loads(f'["{written}"]')[0]
    return loads(f'["{inner}"]')[0]


class SiteConversation(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of a turn and its conversation at the site."""

    cid: str
    rid: str
    rcid: str = ""
    context: str = ""
    """Present if the site saved the turn."""
    turn: int = 0
    """Index of the turn in its conversation."""
    tools: str = ""
    """The digest of the tools that the conversation has seen (`turns.tool_calls.digest`)."""


class AnswerReader:
    """Incremental reader: takes the bytes of one StreamGenerate answer, yields events.

    After a complete candidate the answer stands: later error codes, failures and broken frames are ignored.
    """

    def __init__(
        self, *, max_frame: int, prompt: Usage = NO_USAGE, refs: MediaRefs | None = None, turn: int = 0
    ) -> None:
        """Reject frames of more than `max_frame` UTF-16 units; `prompt` is the usage without the answer.

        `turn` is the index of the turn in its conversation.
        """
        self._frames = FrameParser(max_frame)
        self._snapshots = SnapshotReader(self._frames)
        self._refs = refs or MediaRefs()
        self._builder = EventBuilder(self._refs)
        self._prompt = prompt
        self._turn = turn
        self._accepted = self._answered = False
        """`accepted`: a content part arrived, perhaps only with ids. `answered`: a candidate arrived."""
        self._running = self._pending = False
        """`running`: the candidate said that it is incomplete. `pending`: a file will be ready after the stream."""
        self._growing = False
        """The last frame contained only a candidate, so the next may differ only in its text."""
        self._rcid = ""
        self._kept = SiteConversation(cid="", rid="")
        """The conversation's ids received so far."""
        self.frames = 0
        """Number of valid frames."""
        self.finished = False
        """`Finish` was yielded."""
        self.complete = False
        """The answer is complete, though the stream may not have ended."""
        self.model_id = self.model_name = ""
        """The model that answers, as last named by the site; empty until then. Source: "Who answered"."""
        self.code: int | None = None
        """The error code sent by the site, or the HTTP status of an `er` part."""
        self.ignored = False
        """`code` arrived after a complete candidate."""

    @property
    def conversation(self) -> SiteConversation | None:
        """The turn's ids at the site; None until the site has sent the conversation's id."""
        return self._kept if self._kept.cid else None

    @property
    def begun(self) -> bool:
        """Whether part of the answer was yielded; progress lines do not count."""
        return self._builder.begun

    @property
    def rid(self) -> str:
        """The turn's id, which the site may send before the conversation's; empty until then."""
        return self._kept.rid

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take the next bytes; yield the events in them.

        Raises:
            GatewayError: the site refused, or sent an unknown form. Events before the error were yielded.

        """
        frames = self._frames
        frames.push(data)
        try:
            frame = frames.find()
            while frame is not None and not self.finished:
                following = frames.find()
                if following is not None and self._snapshots.covers(frame, following):
                    self.frames += 1  # a slow reader finds many frames at once and decodes only the last
                else:
                    yield from self._frame(frame)
                frame = following
            frames.check()
        except DriftDetected:
            if not self.complete:
                raise
            yield from self._finish()

    def end(self) -> Iterator[Event]:
        """End the stream; yield the last events.

        Raises:
            UpstreamFailed: the answer is incomplete.

        """
        for frame in self._frames.last():
            if not self.finished:
                yield from self._frame(frame)
        if self.finished:
            return
        if not (self.complete or self._pending):
            raise _broken_off()
        yield from self._finish()

    def _frame(self, frame: Frame) -> Iterable[Event]:
        """Read a frame; return its events, as an iterator that may raise an error after them."""
        self.frames += 1
        added = self._snapshots.behind(frame)
        growing, self._growing = self._growing, False
        text = self._snapshots.grown(added) if growing and added is not None else None
        if text is None or text.startswith(wire.CARD_TEXT_PREFIXES):
            return self._parts(self._snapshots.read(frame, added))
        self._growing = True
        return self._builder.grow(text, (self._kept.cid, self._kept.rid)) or (Waiting(),)

    def _parts(self, read: FrameParts) -> Iterator[Event]:
        for part in read.parts:
            match jspb.text(part, wire.PART_KIND):
                case wire.PART_ANSWER:
                    yield from self._answer(part, read)
                case wire.PART_FAILURE:
                    self._fail(status_in(part), partial(error_for_http, token=token_of(part)))
                case wire.PART_END:
                    if not self._accepted:
                        message = "The upstream sent no answer."
                        raise UpstreamFailed(message, code="upstream_rejected", certainty=Certainty.REFUSED)
                    lasting = self._pending or self._refs.capability.long_running
                    if not self._answered or (self._running and not lasting):
                        raise _broken_off()
                    yield from self._finish()
                case _:
                    pass
        if len(read.parts) > 1:
            self._growing = False

    def _fail(self, number: int, error: Callable[[int], GatewayError]) -> None:
        """Record an error code or status that the site sent instead of or after content.

        Raises:
            GatewayError: there was no complete candidate before the error.

        """
        self.code, self.ignored = number, self.complete
        if not self.complete:
            raise error(number)

    def _answer(self, part: Any, read: FrameParts) -> Iterable[Event]:
        body = jspb.text(part, wire.PART_BODY)
        if body is None:
            error = jspb.path(part, wire.PART_ERROR)
            code = jspb.integer(error, *wire.ERROR_CODE)
            if code is not None:
                self._fail(code, error_for_code)
            return (Waiting(),) if error else ()
        inner = loads(body)
        self._accepted = True
        candidate = self._candidate(jspb.array(inner, wire.INNER_CANDIDATES))
        # ids that the frame leaves out keep their value
        before = self._kept
        turn = jspb.identifier(jspb.mapping(inner, wire.INNER_NEWS).get(wire.NEWS_TURN))
        self._kept = SiteConversation(
            cid=jspb.identifier(inner, wire.INNER_CONVERSATION, 0) or before.cid,
            rid=jspb.identifier(inner, wire.INNER_CONVERSATION, 1) or turn or before.rid,
            rcid=self._rcid,
            context=jspb.identifier(inner, wire.INNER_CONTEXT) or before.context,
            turn=self._turn,
        )
        self.model_id = jspb.text(inner, wire.INNER_MODEL_ID) or self.model_id
        self.model_name = jspb.text(inner, wire.INNER_MODEL_NAME) or self.model_name
        events: list[Event] = []
        # the tool that runs: the site's own text about it, else its name
        for tool in (jspb.mapping(inner, wire.INNER_NEWS).get(wire.NEWS_TOOL), jspb.field(inner, wire.INNER_TOOL)):
            name = jspb.text(tool, *wire.TOOL_NAME)
            if name and jspb.integer(tool, *wire.TOOL_STATE) != wire.TOOL_DONE:
                events = self._builder.add_progress(jspb.text(tool, *wire.TOOL_WORDS) or f"Running {name}…")
                break
        if candidate is not None:
            now = read_candidate(candidate, read.known)
            grows = now.text is not None and not now.card and not now.complete
            self._growing = grows and self._snapshots.learn(read, self._rcid, now.text or "")
            self._answered = True
            self._pending = self._pending or now.pending
            self._running = (self._running or now.running) and not now.complete
            self.complete = (self.complete or now.complete) and not now.running
            events += self._builder.update(now, (self._kept.cid, self._kept.rid))
        return events or (Waiting(),)

    def _candidate(self, candidates: list[Any]) -> Any:
        """Return the candidate with the id seen first; if it is gone, the first candidate."""
        for candidate in candidates:
            if self._rcid and jspb.identifier(candidate, wire.CANDIDATE_ID) == self._rcid:
                return candidate
        if not candidates:
            return None
        self._rcid = jspb.identifier(candidates[0], wire.CANDIDATE_ID) or self._rcid
        return candidates[0]

    def _finish(self) -> list[Event]:
        if self.finished:
            return []
        events = self._builder.end()
        self.complete = self.finished = True
        usage = self._builder.usage(self._prompt)
        return [*events, Finish(reason="stop", usage=usage, rewritten=self._builder.rewritten(self._prompt))]


def _broken_off() -> UpstreamFailed:
    return UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")
