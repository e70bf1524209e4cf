"""The site's answers as events and facts; no I/O. Source: "Response", "Codes", "Batch calls"."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from protocol.model import Event, Finish, GatewayError, UpstreamFailed, Waiting
from transports.web import jspb, wire
from transports.web.errors import drift, error_for_code
from transports.web.frames import FrameParser
from transports.web.narrate import Narrator, Teller
from transports.web.rich import read_candidate
from transports.web.snapshot import SnapshotReader, loads


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Where the site keeps a turn."""

    cid: str
    rid: str
    rcid: str = ""
    context: str = ""
    """Present when the turn is saved."""
    turn: int = 0
    """Index of the turn in its conversation."""


class AnswerReader:
    """Bytes of one StreamGenerate answer in, events out."""

    def __init__(self, *, max_frame: int, input_tokens: int, teller: Teller | None = None, turn: int = 0) -> None:
        """Refuse frames of more than `max_frame` UTF-16 units; `input_tokens` goes into the usage.

        `turn` is the index of the turn in its conversation.
        """
        self._frames = FrameParser(max_frame)
        self._snapshots = SnapshotReader()
        self._narrator = Narrator(teller or Teller())
        self._input_tokens = input_tokens
        self._turn = turn
        self._rcid = ""
        self.frames = 0
        """How many valid frames came."""
        self.finished = False
        """`Finish` was yielded."""
        self.complete = False
        """The answer is whole, though the stream may not have ended."""
        self.conversation: Conversation | None = None
        self.model_id = self.model_name = ""
        """Which model answers, as the site last said; empty while it has not. Source: "Who answered"."""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take the next bytes; yield what they say.

        Raises:
            GatewayError: the site says so, or speaks otherwise than we know; what came before was yielded.

        """
        for frame in self._frames.feed(data):
            if not self.finished:
                yield from self._frame(frame)

    def end(self) -> Iterator[Event]:
        """Take the end of the stream; yield the last events.

        Raises:
            UpstreamFailed: the answer was not whole.

        """
        if self.finished:
            return
        if not self.complete:
            raise UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")
        yield from self._finish()

    def _frame(self, frame: str) -> Iterator[Event]:
        read = self._snapshots.read(frame)
        self.frames += 1
        for part in read.parts:
            match jspb.text(part, wire.PART_KIND):
                case wire.PART_ANSWER:
                    yield from self._answer(frame, part, read.known)
                case wire.PART_END:
                    if not self._rcid:
                        raise drift("it ended without an answer")
                    yield from self._finish()
                case _:
                    pass

    def _answer(self, frame: str, part: Any, known: str) -> Iterable[Event]:
        body = jspb.text(part, wire.PART_BODY)
        if body is None:
            error = jspb.path(part, wire.PART_ERROR)
            code = jspb.integer(error, *wire.ERROR_CODE)
            if code is not None:
                raise error_for_code(code)
            return (Waiting(),) if error else ()
        inner = loads(body)
        candidate = self._candidate(jspb.array(inner, wire.INNER_CANDIDATES))
        self._keep_conversation(inner)
        self.model_id = jspb.text(inner, wire.INNER_MODEL_ID) or self.model_id
        self.model_name = jspb.text(inner, wire.INNER_MODEL_NAME) or self.model_name
        tool = jspb.text(inner, *wire.INNER_TOOL)
        events: list[Event] = self._narrator.run(tool) if tool else []
        if candidate is not None:
            events += self._tell(frame, candidate, known)
        return events or (Waiting(),)

    def _candidate(self, candidates: list[Any]) -> Any:
        if not candidates:
            return None
        if not self._rcid:
            self._rcid = jspb.text(candidates[0], wire.CANDIDATE_ID) or ""
        for candidate in candidates:
            if jspb.text(candidate, wire.CANDIDATE_ID) == self._rcid:
                return candidate
        raise drift("it switched to another candidate")

    def _tell(self, frame: str, candidate: Any, known: str) -> list[Event]:
        now = read_candidate(candidate, known)
        if now.text is not None and not now.card:
            self._snapshots.learn(frame, self._rcid, known, now.text)
        self.complete = self.complete or now.complete
        place = self.conversation
        return self._narrator.tell(now, (place.cid, place.rid) if place else ("", ""))

    def _finish(self) -> list[Event]:
        if self.finished:
            return []
        events = self._narrator.end()
        self.complete = self.finished = True
        return [*events, Finish(reason="stop", usage=self._narrator.usage(self._input_tokens))]

    def _keep_conversation(self, inner: Any) -> None:
        cid = jspb.text(inner, wire.INNER_CONVERSATION, 0)
        rid = jspb.text(inner, wire.INNER_CONVERSATION, 1)
        context = jspb.text(inner, wire.INNER_CONTEXT)
        if cid and rid:
            self.conversation = Conversation(cid=cid, rid=rid, rcid=self._rcid, context=context or "", turn=self._turn)


class BatchAnswers(msgspec.Struct, frozen=True):
    """What a batch call answered, by RPC id."""

    payloads: dict[str, Any]
    """The last payload of each RPC; None where the site rejected one of its calls."""
    rejections: dict[str, int]
    """Why calls were rejected, where the site says so: numbers of its own."""

    def get(self, rpc: str) -> Any:
        """Return an RPC's payload; None: it was rejected or is missing."""
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
    for frame in parser.feed(data):
        parts = loads(frame)
        for part in jspb.array(parts) if isinstance(parts, list) else []:
            if jspb.text(part, wire.PART_KIND) != wire.PART_ANSWER:
                continue
            rpc, body = jspb.text(part, wire.PART_RPC), jspb.text(part, wire.PART_BODY)
            code = jspb.integer(part, wire.PART_ERROR, *wire.ERROR_CODE)
            if rpc is None and code is not None:
                raise error_for_code(code)
            if rpc is not None:
                rejected = rpc in answers and answers[rpc] is None
                answers[rpc] = loads(body) if body is not None and not rejected else None
                reason = jspb.integer(part, *wire.PART_REJECTION)
                if body is None and reason is not None:
                    rejections[rpc] = reason
    if parser.inside:
        raise UpstreamFailed("The upstream's answer broke off.", code="upstream_truncated")
    return BatchAnswers(answers, rejections)


class DiscoveredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the site offers to an account."""

    id: str
    name: str
    number: int | None
    family: str = ""
    default: bool = False
    """The site marks it as the default, among several of one family."""


class AccountStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the site says of an account."""

    problem: GatewayError | None
    plan: str
    """free, plus, pro, ultra or advanced (a paid plan of which nothing more is known)."""
    models: tuple[DiscoveredModel, ...]
    capacity: int | None = None
    """What the model header says of the account; None: as `wire.CAPACITIES` says of its plan."""
    field13: bool = False
    """The model header carries the capacity one field later."""
    trusted: bool = True
    """False: the site does not let it have some features."""
    known: bool = True
    """False: the site did not tell; the rest is assumed."""


def decode_status(payload: Any, problem: GatewayError | None, tier: str | None = None) -> AccountStatus:
    """Read the answer of `otAQ7b`; `tier` is the plan that `jSf9Qc` has told.

    The plan is that one; without it an account that is offered a model of paid plans has a paid one; else flags decide.
    Source: "Plan"
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
"""Ids of models that paid plans alone are offered."""


def _integers(values: list[Any]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _plan(tiers: set[int], flags: set[int]) -> str:
    """Return the plan that an account's flags tell."""
    if wire.PLAN_PLUS in flags:
        return "plus"
    if wire.PLAN_PRO[0] in tiers or wire.PLAN_PRO[1] in flags:
        return "pro"
    return "advanced" if wire.PLAN_ADVANCED[0] in tiers or wire.PLAN_ADVANCED[1] in flags else "free"


def _model(entry: Any) -> DiscoveredModel | None:
    identifier = jspb.text(entry, *wire.DISCOVERED_ID)
    if identifier is None:
        return None
    return DiscoveredModel(
        id=identifier,
        name=_first_text(entry, wire.DISCOVERED_NAME),
        family=_first_text(entry, wire.DISCOVERED_FAMILY),
        number=jspb.integer(entry, wire.DISCOVERED_NUMBER),
        default=any(jspb.path(entry, place) is True for place in wire.DISCOVERED_DEFAULT),
    )


def _first_text(entry: Any, places: tuple[tuple[int], tuple[int]]) -> str:
    return next((text for place in places if (text := jspb.text(entry, *place))), "")
