"""The simulated site's batch calls. Source: "Batch calls"."""

from collections.abc import Callable
from typing import Any

from transports.simulator import emit, gems
from transports.simulator.accounts import Session
from transports.simulator.answer import Answer
from transports.simulator.check import Departure, require, same
from transports.simulator.history import Conversation, Turn
from transports.web import wire

GEMS, ORIGINAL = "CNgdBe", "c8o8Fe"

_NAMES = {
    "flash": "3.6 Flash",
    "pro": "3.1 Pro",
    "flash-thinking": "3.6 Flash Thinking",
    "flash-lite": "3.5 Flash-Lite",
}
_FLAGS: dict[str, tuple[list[int], list[int]]] = {
    "free": ([1], []),
    "plus": ([1], [115]),
    "pro": ([16], []),
    "advanced": ([8], [19]),
}
_QUOTAS = (
    ([[1, 11], [2, 11], [6, 11]], ("flash", "flash-thinking", "flash-lite")),
    ([[1, 4], [6, 6], [1, 15]], ("pro", "pro", "pro")),
)
_NOTHING = [None, None, None, None, None, ""]

FindOriginal = Callable[[str], str | None]
"""Returns the URL of the original of a picture, given its token."""


def models(plan: str) -> dict[str, str]:
    """Return the family of each model id that an account of this plan may name."""
    column = plan if plan in {"free", "plus"} else "advanced"
    return {ids[column]: family for family, ids in wire.MODEL_IDS.items()}


def shown(plan: str, family: str) -> tuple[str, str]:
    """Return the id and the name of a family's model for an account of this plan."""
    return next(identifier for identifier, one in models(plan).items() if one == family), _NAMES[family]


def answer(
    session: Session,
    calls: list[tuple[str, Any]],
    now: float,
    find_original: FindOriginal | None = None,
) -> bytes:
    """Answer checked calls; what is not allowed is rejected in its place. `now` is in epoch seconds."""
    answers: list[tuple[str, Any]] = []
    rejected: set[str] = set()
    for rpc, payload in calls:
        if session.account is None and rpc != wire.RPC_STATUS:
            rejected.add(rpc)
            answers.append((rpc, None))
            continue
        found = _original(session, payload, find_original) if rpc == ORIGINAL else _one(session, rpc, payload, now)
        if found is None:
            rejected.add(rpc)
        answers.append((rpc, found))
    return emit.batch(answers, frozenset(rejected))


def _one(session: Session, rpc: str, payload: Any, now: float) -> Any:
    match rpc:
        case wire.RPC_STATUS:
            require(same(payload, []), f"payload of {rpc}")
            return _status(session)
        case wire.RPC_ACTIVITY:
            require(same(payload, [[["bard_activity_enabled"]]]), f"payload of {rpc}")
            return [[["bard_activity_enabled", True]]]
        case wire.RPC_CHATS:
            _payload(rpc, payload, [13, None, [1, None, 1]], [13, None, [0, None, 1]])
            return _chats(session, pinned=payload[2][0] == 1)
        case wire.RPC_TURNS | wire.RPC_DELETE:
            return _conversation(session, rpc, payload, now)
        case wire.RPC_QUOTA:
            return _quota(session, _payload(rpc, payload, *([asked] for asked, _ in _QUOTAS)), now)
        case _ if rpc == GEMS:
            return gems.listed(own=_payload(rpc, payload, [4, ["en"], 0], [3, ["en"], 0]) == 0)
        case _:
            raise Departure(f"rpc {rpc[:16]}")


def _payload(rpc: str, payload: Any, *allowed: Any) -> int:
    """Return which of the payloads that the page knows it is."""
    found = next((number for number, one in enumerate(allowed) if same(payload, one)), None)
    if found is None:
        raise Departure(f"payload of {rpc}")
    return found


def _cid(rpc: str, payload: Any, *rest: Any) -> str:
    """Return the conversation that a payload begins with; `rest` is what must follow it."""
    match payload:
        case [str(cid), *following]:
            require(same(following, list(rest)), f"payload of {rpc}")
            return cid
        case _:
            raise Departure(f"payload of {rpc}")


def _status(session: Session) -> list[Any]:
    tiers, capabilities = _FLAGS[session.plan]
    entries = [
        _model(number, identifier, family) for number, (identifier, family) in enumerate(models(session.plan).items())
    ]
    fields: dict[int, Any] = {15: entries, 16: tiers, 17: capabilities}
    status = session.account.status if session.account else wire.STATUS_SIGNED_OUT
    return emit.layout(fields | ({14: status} if status else {}), sparse=False)


def _model(number: int, identifier: str, family: str) -> list[Any]:
    """Return a model's entry; from one to the next, the places and forms that the page knows alternate."""
    name, model_number = _NAMES[family], wire.MODEL_NUMBERS[family]
    if number % 4 < 2:
        fields: dict[int, Any] = {0: identifier, 1: family, 11: name, 12: "simulated", 17: model_number}
    else:
        fields = {0: identifier, 2: "simulated", 9: model_number, 10: family, 19: name}
    return emit.layout(fields, sparse=number % 2 == 1, dense_until=9)


def _chats(session: Session, *, pinned: bool) -> list[Any]:
    chats = [] if pinned else session.history.newest_first()
    return [None, None, [[chat.cid, chat.title, None, None, None, _time(chat.last.seconds)] for chat in chats]]


def _time(seconds: float) -> list[int]:
    whole = int(seconds)
    return [whole, int((seconds - whole) * 1e9)]


def _conversation(session: Session, rpc: str, payload: Any, now: float) -> list[Any]:
    """Read a conversation, or delete it."""
    if rpc == wire.RPC_DELETE:
        session.history.delete(_cid(rpc, payload))
        return []
    conversation = session.history.find(_cid(rpc, payload, 10, None, 1, [1], [4], None, 1))
    session.history.read += 1
    return _turns(conversation, now, sparse=session.history.read % 2 == 0)


def _turns(conversation: Conversation | None, now: float, *, sparse: bool) -> list[Any]:
    """Return a conversation's last turns, newest first, ten at most as was asked."""
    if conversation is None:
        return [[]]
    newest = list(reversed(conversation.turns))[:10]
    return [[_turn(conversation.cid, turn, turn.now(now), sparse=sparse) for turn in newest]]


def _turn(cid: str, turn: Turn, answered: Answer, *, sparse: bool) -> list[Any]:
    snapshot = emit.Snapshot(
        cid=cid,
        rid=turn.rid,
        rcid=turn.rcid,
        text=answered.text,
        thoughts=answered.thoughts,
        complete=answered.complete,
        rich=answered.rich,
        document=answered.document,
        card=answered.card,
        others=answered.others,
        sparse=sparse,
    )
    return [[cid, turn.rid], None, [[turn.prompt]], [emit.candidates(snapshot)]]


def _quota(session: Session, which: int, now: float) -> list[Any]:
    items: list[Any] = []
    for identity, family in zip(*_QUOTAS[which], strict=True):
        found = session.quota.standing(family, now)
        items.append([identity, None, found.percent, [found.reset], found.total, found.remaining])
    return [items]


def _original(session: Session, payload: Any, find_original: FindOriginal | None) -> Any:
    """Return where the original of a saved turn's picture is; None: there is no such picture."""
    where = f"payload of {ORIGINAL}"
    match payload:
        case [
            [_, [str(identity), 0], None, [19, ""], None, None, None, None, None, ""],
            [str(), str(), str(), None, ""],
            *_,
        ]:
            rid, rcid, cid = payload[1][:3]
        case _:
            raise Departure(where)
    picture = [[None, None, None, _NOTHING], [identity, 0], None, [19, ""], *[None] * 5, ""]
    require(same(payload, [picture, [rid, rcid, cid, None, ""], 1, 0, 1]), where)
    conversation = session.history.find(cid)
    turns = conversation.turns if conversation else []
    turn = next((turn for turn in turns if (turn.rid, turn.rcid) == (rid, rcid)), None)
    token = identity.removeprefix("img_")
    if turn is None or token not in turn.answer.pictures or find_original is None:
        return None
    url = find_original(token)
    return None if url is None else [url]
