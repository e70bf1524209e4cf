"""Decode responses of the site: streamed answers, batch calls, account status; no I/O.

Source: "Response", "Codes", "Batch calls".
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from protocol.model import Certainty, DriftDetected, Event, Finish, GatewayError, UpstreamFailed, Waiting
from transports.web import wire
from transports.web.codec import jspb
from transports.web.codec.candidate import read_candidate
from transports.web.codec.codes import error_for_code
from transports.web.codec.events import EventBuilder, MediaRefs
from transports.web.codec.frames import Frame, FrameParser
from transports.web.codec.incremental_json import FrameParts, SnapshotReader, loads
from transports.web.codec.refusals import status_in, token_of
from transports.web.errors import error_for_http


class SiteConversation(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of a turn and its conversation at the site."""

    cid: str
    rid: str
    rcid: str = ""
    context: str = ""
    """Present if the site saved the turn."""
    turn: int = 0
    """Index of the turn in its conversation."""


class AnswerReader:
    """Incremental reader: takes the bytes of one StreamGenerate answer, yields events.

    After a complete candidate the answer stands: later error codes, failures and broken frames are ignored.
    """

    def __init__(self, *, max_frame: int, input_tokens: int, refs: MediaRefs | None = None, turn: int = 0) -> None:
        """Reject frames of more than `max_frame` UTF-16 units; `input_tokens` goes into the usage.

        `turn` is the index of the turn in its conversation.
        """
        self._frames = FrameParser(max_frame)
        self._snapshots = SnapshotReader(self._frames)
        self._refs = refs or MediaRefs()
        self._builder = EventBuilder(self._refs)
        self._input_tokens = input_tokens
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
        fresh = self._snapshots.behind(frame)
        growing, self._growing = self._growing, False
        text = self._snapshots.grown(fresh) if growing and fresh is not None else None
        if text is None or text.startswith(wire.CARD_TEXT_PREFIXES):
            return self._parts(self._snapshots.read(frame, fresh))
        self._growing = True
        return self._builder.grow(text, (self._kept.cid, self._kept.rid)) or (Waiting(),)

    def _parts(self, read: FrameParts) -> Iterator[Event]:
        for part in read.parts:
            match jspb.text(part, wire.PART_KIND):
                case wire.PART_ANSWER:
                    yield from self._answer(part, read)
                case wire.PART_FAILURE:
                    self._fail(
                        jspb.integer(part, wire.FAILURE_STATUS) or 0, partial(error_for_http, token=token_of(part))
                    )
                case wire.PART_END:
                    yield from self._closed()
                case _:
                    pass
        if len(read.parts) > 1:
            self._growing = False

    def _closed(self) -> list[Event]:
        """Handle the part that closes the stream."""
        if not self._accepted:
            raise UpstreamFailed("The upstream sent no answer.", code="upstream_rejected", certainty=Certainty.REFUSED)
        if not self._answered or (self._running and not (self._pending or self._refs.capability.lasting)):
            raise _broken_off()
        return self._finish()

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
        progress = _progress_line(inner)
        events: list[Event] = self._builder.add_progress(progress) if progress else []
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
        usage = self._builder.usage(self._input_tokens)
        return [*events, Finish(reason="stop", usage=usage, rewritten=self._builder.rewritten(self._input_tokens))]


def _progress_line(inner: Any) -> str:
    """Return a progress line for the tool that runs: the site's own text, else the tool's name; empty if none runs."""
    news = jspb.mapping(inner, wire.INNER_NEWS).get(wire.NEWS_TOOL)
    for tool in (news, jspb.field(inner, wire.INNER_TOOL)):
        name = jspb.text(tool, *wire.TOOL_NAME)
        if name and jspb.integer(tool, *wire.TOOL_STATE) != wire.TOOL_DONE:
            return jspb.text(tool, *wire.TOOL_WORDS) or f"Running {name}…"
    return ""


def _broken_off() -> UpstreamFailed:
    return UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")


class BatchAnswers(msgspec.Struct, frozen=True):
    """The answers to a batch call by RPC id."""

    payloads: dict[str, Any]
    """The last payload of each RPC; None if the site rejected one of its calls."""
    rejections: dict[str, int]
    """The site's reason codes for rejected calls, as far as it sent them."""

    def get(self, rpc: str) -> Any:
        """Return an RPC's payload; None if it was rejected or is missing."""
        return self.payloads.get(rpc)

    def denied(self, rpc: str) -> bool:
        """Return whether the site denied an RPC: the session is signed out, or the account may not make the call."""
        return self.rejections.get(rpc) == wire.REJECTED_DENIED


def decode_batch(data: bytes, max_frame: int) -> BatchAnswers:
    """Read the answer to a batch call.

    Raises:
        GatewayError: the answer carries an error code, or has an unknown form.

    """
    parser = FrameParser(max_frame)
    answers: dict[str, Any] = {}
    rejections: dict[str, int] = {}
    for part in _parts(parser, data):
        rpc, body = jspb.text(part, wire.PART_RPC), jspb.text(part, wire.PART_BODY)
        error = _batch_error(part)
        if error is not None and not answers:
            raise error
        if rpc is not None and error is None:
            rejected = rpc in answers and answers[rpc] is None
            answers[rpc] = loads(body) if body is not None and not rejected else None
            reason = jspb.integer(part, *wire.PART_REJECTION)
            if body is None and reason is not None:
                rejections[rpc] = reason
    if parser.inside:
        raise UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")
    return BatchAnswers(answers, rejections)


def _parts(parser: FrameParser, data: bytes) -> Iterator[Any]:
    """Yield the parts of all frames that answer or fail a call."""
    for frame in chain(parser.feed(data), parser.end()):
        for part in jspb.array([loads(frame)], 0):
            if jspb.text(part, wire.PART_KIND) in {wire.PART_ANSWER, wire.PART_FAILURE}:
                yield part


def _batch_error(part: Any) -> GatewayError | None:
    """Return the error of a part that fails the whole batch; None if the part answers or rejects one call."""
    if jspb.text(part, wire.PART_KIND) == wire.PART_FAILURE:
        return error_for_http(status_in(part), token=token_of(part))
    code = jspb.integer(part, wire.PART_ERROR, *wire.ERROR_CODE)
    return error_for_code(code) if code is not None and jspb.text(part, wire.PART_RPC) is None else None


class DiscoveredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the site offers to an account."""

    id: str
    name: str
    number: int | None
    family: str = ""
    default: bool = False
    """The site marks it as the default of its family."""


class AccountStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of an account as reported by the site."""

    problem: GatewayError | None
    plan: str
    """free, plus, pro, ultra or advanced (an unidentified paid plan)."""
    models: tuple[DiscoveredModel, ...]
    capacity: int | None = None
    """The capacity for the model header; None: that of the plan in `wire.CAPACITIES`."""
    field13: bool = False
    """The model header carries the capacity one field later."""
    trusted: bool = True
    """False: the site denies the account some features."""
    known: bool = True
    """False: the site did not report the status; the other fields are assumptions."""


def decode_status(payload: Any, problem: GatewayError | None, tier: str | None = None) -> AccountStatus:
    """Read the answer of `otAQ7b`; `tier` is the plan from the answer of `jSf9Qc`, if known.

    The plan is `tier`, else the plan that the account's flags name, else a paid plan if the site offers the account a
    model of paid plans. Source: "Batch calls"
    """
    tiers = set(_integers(jspb.array(payload, wire.ACCOUNT_TIERS)))
    flags = set(_integers(jspb.array(payload, wire.ACCOUNT_CAPABILITIES)))
    models = tuple(filter(None, map(_model, jspb.array(payload, wire.ACCOUNT_MODELS))))
    flagged = _plan(tiers, flags)
    offered = "advanced" if any(model.id in _PAID for model in models) else "free"
    plan = tier or (flagged if flagged != "free" else offered)
    late = next((capacity for flag, capacity in wire.FIELD_13_CAPACITIES.items() if flag in tiers), None)
    by_plan = wire.CAPACITIES[flagged if "free" not in {plan, flagged} else plan]
    return AccountStatus(problem=problem, plan=plan, models=models, capacity=late or by_plan, field13=late is not None)


_PAID = frozenset(identifier for ids in wire.MODEL_IDS.values() for plan, identifier in ids.items() if plan != "free")
"""Ids of models that only paid plans are offered."""


def _integers(values: list[Any]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _plan(tiers: set[int], flags: set[int]) -> str:
    """Return the plan that an account's flags name."""
    if wire.PLAN_PLUS in flags:
        return "plus"
    if wire.PLAN_PRO[0] in tiers or wire.PLAN_PRO[1] in flags:
        return "pro"
    return "advanced" if wire.PLAN_ADVANCED[0] in tiers or wire.PLAN_ADVANCED[1] in flags else "free"


def _model(entry: Any) -> DiscoveredModel | None:
    identifier = jspb.identifier(entry, *wire.DISCOVERED_ID)
    if not identifier:
        return None
    return DiscoveredModel(
        id=identifier,
        name=_first_text(entry, wire.DISCOVERED_NAME),
        family=_first_text(entry, wire.DISCOVERED_FAMILY),
        number=jspb.integer(entry, wire.DISCOVERED_NUMBER),
        default=any(jspb.path(entry, place) is True for place in wire.DISCOVERED_DEFAULT),
    )


def _first_text(entry: Any, places: tuple[tuple[int], tuple[int]]) -> str:
    return next((text for place in places if (text := jspb.encodable(entry, *place))), "")
