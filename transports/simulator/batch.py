"""Answers the simulated site's batch calls: one function per RPC. A guest may call `otAQ7b` only.

Source: "Batch calls"
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from transports.simulator import encode, models
from transports.simulator.accounts import SimulatedSession
from transports.simulator.gems import Gem
from transports.simulator.request_checks import BatchCall, UnfitPayload, at, is_number
from transports.web import wire

_DENIED, _UNFIT = 7, 3
_FLAGS: dict[str, tuple[list[int], list[int]]] = {
    "free": ([1], []),
    "plus": ([1], [115]),
    "pro": ([16], []),
    "advanced": ([8], [19]),
}
_TIERS = {"free": 1, "plus": 4, "pro": 2, "advanced": 3}
_QUOTA_FAMILIES = {(1, 11): "flash", (2, 11): "flash-thinking", (6, 11): "flash-lite"}
_OF_PAGES = frozenset(
    {"cYRIkd", "whPPme", "ku4Jyf", "Te6DCf", "sJBwce", "L5adhe", "K4WWud", "o30O0e", "Bsxleb", "qWymEb"},
)
"""RPCs that browsers send for their pages; clients do not need their answers."""
_MOST_TURNS = 100

FindOriginal = Callable[[str], str | None]
"""Returns the URL of the original of a picture, given its token."""


class BatchContext(msgspec.Struct, frozen=True, kw_only=True):
    """The context in which batch calls are answered."""

    session: SimulatedSession
    now: float
    """In epoch seconds."""
    exact: bool = True
    """Answer in the site's own form; otherwise alternate between the forms that a decoder must read."""
    find_original: FindOriginal = lambda _: None


Answer = Callable[[BatchContext, Any], Any]
"""Returns the payload of an RPC's answer; raises UnfitPayload if the call's payload does not fit."""
_rpcs: dict[str, Answer] = {}
"""The RPCs of the protocol page's table."""


def _answers(rpc: str) -> Callable[[Answer], Answer]:
    """Register a function as the answer to an RPC."""

    def register(function: Answer) -> Answer:
        _rpcs[rpc] = function
        return function

    return register


def answer(calls: list[BatchCall], context: BatchContext) -> bytes:
    """Answer a batch; a call that is not allowed or does not fit gets a status in place of a payload."""
    parts: list[list[Any]] = []
    for call in calls:
        status = 0
        payload: Any = None
        known = _rpcs.get(call.rpc)
        if known is None:
            if call.rpc in _OF_PAGES:
                payload = []
            else:
                status = _UNFIT
        elif context.session.account is None and call.rpc != wire.RPC_STATUS:
            status = _DENIED
        else:
            try:
                payload = known(context, call.payload)
            except UnfitPayload:
                status = _UNFIT
        parts.append(encode.batch_part(call.rpc, payload, status, call.name))
    return encode.batch(parts, apart=context.exact)


def _fit(condition: object) -> None:
    if not condition:
        raise UnfitPayload


def _text(payload: Any, *path: int) -> str:
    found = at(payload, *path)
    _fit(isinstance(found, str))
    return str(found)


@_answers("otAQ7b")
def _status(context: BatchContext, payload: Any) -> list[Any]:
    _fit(isinstance(payload, list))
    session = context.session
    tiers, capabilities = _FLAGS[session.plan]
    entries = models.entries(session.plan) if context.exact else models.mixed_entries(session.plan)
    fields: dict[int, Any] = {15: entries, 16: tiers, 17: capabilities}
    status = session.account.status if session.account else wire.STATUS_SIGNED_OUT
    return encode.layout(fields | ({14: status} if status else {}), sparse=False)


@_answers("jSf9Qc")
def _usage(context: BatchContext, payload: Any) -> list[Any]:
    """Return the usage windows of the plan: five hours, a week."""
    _fit(isinstance(payload, list))
    standings = [context.session.quota.usage(family, context.now) for family in models.FAMILIES]
    used = max(standings, key=lambda one: one.percent)
    window = [used.remaining, used.percent / 100, 1, [[used.reset, 197701000]]]
    week = [48106, 0.00572625, 2, [[used.reset + 500_000, 197509000]]]
    return [_TIERS[context.session.plan], [window, week], False]


@_answers("ESY5D")
def _activity(context: BatchContext, payload: Any) -> list[Any]:
    _ = context
    _fit(isinstance(payload, list))
    return [[None, None, None, None, True]]


@_answers("aPya6c")
def _heartbeat(context: BatchContext, payload: Any) -> list[Any]:
    _ = payload
    standing = context.session.quota.usage(models.DEFAULT, context.now)
    return [False, standing.percent / 100, [standing.reset]]


@_answers("GPRiHf")
def _clean(context: BatchContext, payload: Any) -> list[Any]:
    _ = context, payload
    return [None, None]


@_answers("qpEbW")
def _quota(context: BatchContext, payload: Any) -> list[Any]:
    """Return the limit of each model family: a pair names a flash family, any other pair pro."""
    pairs = at(payload, 0)
    _fit(isinstance(pairs, list))
    limits: list[Any] = []
    for pair in cast("list[Any]", pairs):
        _fit(is_number(at(pair, 0)) and is_number(at(pair, 1)))
        family = _QUOTA_FAMILIES.get((at(pair, 0), at(pair, 1)), "pro")
        found = context.session.quota.usage(family, context.now)
        numbers = [found.percent, [found.reset], found.total, found.remaining]
        if context.exact and context.session.quota.unlimited(family, context.now):
            numbers = [0, [found.reset], 0, 0]
        limits.append([pair, None, *numbers])
    return [limits]


@_answers("MaZiqc")
def _chats(context: BatchContext, payload: Any) -> list[Any]:
    """Return a page of the conversations, newest first, and the token of the next page."""
    count, token, pinned = at(payload, 0), at(payload, 1), at(payload, 2, 0) == 1
    _fit(is_number(count) and (token is None or isinstance(token, str)))
    chats = [] if pinned else context.session.history.newest_first()
    chats, following = _page(chats, count, token)
    rows: list[Any] = []
    for chat in chats:
        unread = [[chat.cid, chat.last.rid], 1] if chat.last.work is not None else None
        rows.append([chat.cid, chat.title, None, None, None, _time(chat.last.seconds), unread, None, None, 2])
    return [None, following, rows]


def _page(items: list[Any], count: int, token: str | None) -> tuple[list[Any], str | None]:
    """Return a page of at most `count` items, and the token of the next page."""
    start = int(token[5:]) if token and token[:5] == "page-" and token[5:].isdecimal() else 0
    end = start + max(1, count)
    return items[start:end], f"page-{end}" if end < len(items) else None


def _time(seconds: float) -> list[int]:
    whole = int(seconds)
    return [whole, int((seconds - whole) * 1e9)]


@_answers("hNvQHb")
def _turns(context: BatchContext, payload: Any) -> list[Any]:
    """Return a conversation's turns, newest first; no turns if it does not exist."""
    history = context.session.history
    history.read += 1
    count = at(payload, 1)
    conversation = history.find(_text(payload, 0))
    if conversation is None:
        return [[]]
    newest = list(reversed(conversation.turns))
    token = at(payload, 2)
    wanted = min(count, _MOST_TURNS) if is_number(count) else 10
    turns, following = _page(newest, wanted, token if isinstance(token, str) else None)
    sparse = history.read % 2 == 0 and not context.exact
    shown: list[Any] = []
    for turn in turns:
        answered = turn.now(context.now)
        snapshot = encode.Snapshot(
            cid=conversation.cid,
            rid=turn.rid,
            rcid=turn.rcid,
            text=answered.text,
            thoughts=answered.thoughts,
            complete=answered.complete,
            rich=answered.rich,
            document=answered.document,
            card=answered.card,
            others=answered.others,
            sources=answered.sources,
            sparse=sparse,
            exact=context.exact,
        )
        prompt = [[turn.prompt], None, None, None, turn.model_id]
        ids = [conversation.cid, turn.rid]
        shown.append([ids, None, prompt, [encode.candidates(snapshot)], _time(turn.seconds)])
    return [shown, following] if following else [shown]


@_answers("GzXR5e")
def _delete(context: BatchContext, payload: Any) -> list[Any]:
    context.session.history.delete(_text(payload, 0))
    return []


@_answers("MUAZcd")
def _change(context: BatchContext, payload: Any) -> list[Any]:
    _fit(context.session.history.find(_text(payload, 2, 0)))
    return []


@_answers("CNgdBe")
def _gems(context: BatchContext, payload: Any) -> list[Any]:
    kind = at(payload, 0)
    gems = context.session.gems.listed(kind) if is_number(kind) else None
    _fit(gems is not None)
    return [None, None, gems]


def _gem(payload: Any) -> Gem:
    name, description, prompt = (_text(payload, index) for index in range(3))
    _fit(name)
    return Gem(name=name, description=description, prompt=prompt)


@_answers("oMH3Zd")
def _create_gem(context: BatchContext, payload: Any) -> list[Any]:
    return [context.session.gems.create(_gem(at(payload, 0)))]


@_answers("kHv0Vd")
def _change_gem(context: BatchContext, payload: Any) -> list[Any]:
    identity = _text(payload, 0)
    _fit(context.session.gems.change(identity, _gem(at(payload, 1))))
    return [identity]


@_answers("UXcSJb")
def _delete_gem(context: BatchContext, payload: Any) -> list[Any]:
    _fit(context.session.gems.delete(_text(payload, 0)))
    return []


@_answers("c8o8Fe")
def _original(context: BatchContext, payload: Any) -> Any:
    """Return the URL of the original of a saved turn's picture."""
    identity = _text(payload, 0, 1, 0)
    rid, rcid, cid = (_text(payload, 1, index) for index in range(3))
    conversation = context.session.history.find(cid)
    turns = conversation.turns if conversation else []
    turn = next((turn for turn in turns if turn.rid == rid and rcid in turn.rcids), None)
    token = turn.answer.picture(identity) if turn is not None else None
    url = context.find_original(token) if token is not None else None
    _fit(url)
    return [url]
