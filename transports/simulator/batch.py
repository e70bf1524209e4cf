"""The simulated site's batch calls. Source: "Batch calls"."""

from typing import Any

from transports.simulator import emit
from transports.simulator.accounts import Conversation, Session, Turn
from transports.simulator.check import Departure, require
from transports.web import wire

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


def models(plan: str) -> dict[str, str]:
    """Return the family of each model id that an account of this plan may name."""
    column = plan if plan in {"free", "plus"} else "advanced"
    return {ids[column]: family for family, ids in wire.MODEL_IDS.items()}


def answer(session: Session, calls: list[tuple[str, Any]], now: float) -> bytes:
    """Answer checked calls; what is not allowed is rejected in its place."""
    answers: list[tuple[str, Any]] = []
    rejected: set[str] = set()
    for rpc, payload in calls:
        if session.account is None and rpc != wire.RPC_STATUS:
            rejected.add(rpc)
        answers.append((rpc, None if rpc in rejected else _one(session, rpc, payload, now)))
    return emit.batch(answers, frozenset(rejected))


def _one(session: Session, rpc: str, payload: Any, now: float) -> Any:
    match rpc:
        case wire.RPC_STATUS:
            require(payload == [], f"payload of {rpc}")
            return _status(session)
        case wire.RPC_ACTIVITY:
            require(payload == [[["bard_activity_enabled"]]], f"payload of {rpc}")
            return [[["bard_activity_enabled", True]]]
        case wire.RPC_CHATS:
            require(payload in ([13, None, [1, None, 1]], [13, None, [0, None, 1]]), f"payload of {rpc}")
            return _chats(session, now, pinned=payload[2][0] == 1)
        case wire.RPC_TURNS:
            return _turns(session.conversations.get(_cid(rpc, payload, 10, None, 1, [1], [4], None, 1)))
        case wire.RPC_DELETE:
            session.conversations.pop(_cid(rpc, payload), None)
            return []
        case wire.RPC_QUOTA:
            return _quota(session, now)
        case _:
            raise Departure(f"rpc {rpc[:16]}")


def _cid(rpc: str, payload: Any, *rest: Any) -> str:
    """Return the conversation that a payload begins with; `rest` is what must follow it."""
    match payload:
        case [str(cid), *following]:
            require(following == list(rest), f"payload of {rpc}")
            return cid
        case _:
            raise Departure(f"payload of {rpc}")


def _status(session: Session) -> list[Any]:
    tiers, capabilities = _FLAGS[session.plan]
    entries = [
        _model(number, identifier, family) for number, (identifier, family) in enumerate(models(session.plan).items())
    ]
    status = session.account.status if session.account else wire.STATUS_SIGNED_OUT
    return emit.layout({14: status, 15: entries, 16: tiers, 17: capabilities}, sparse=False)


def _model(number: int, identifier: str, family: str) -> list[Any]:
    name = _NAMES[family]
    fields: dict[int, Any] = {0: identifier, 1: family, 11: name, 12: "simulated", 17: wire.MODEL_NUMBERS[family]}
    return emit.layout(fields, sparse=number % 2 == 1)


def _chats(session: Session, now: float, *, pinned: bool) -> list[Any]:
    chats = [] if pinned else list(reversed(session.conversations.values()))
    return [None, None, [[chat.cid, chat.title, None, None, None, [int(now), 0]] for chat in chats]]


def _turns(conversation: Conversation | None) -> list[Any]:
    if conversation is None:
        return [[]]
    return [[_turn(conversation.cid, turn) for turn in reversed(conversation.turns)]]


def _turn(cid: str, turn: Turn) -> list[Any]:
    snapshot = emit.Snapshot(
        cid=cid,
        rid=turn.rid,
        rcid=turn.rcid,
        text=turn.text,
        thoughts=turn.thoughts,
        complete=True,
    )
    return [[cid, turn.rid], None, [[turn.prompt]], [[emit.candidate(snapshot)]]]


def _quota(session: Session, now: float) -> list[Any]:
    limit = session.account.quota if session.account else 0
    reset = [int(now) + 3600]
    return [
        [
            [
                number,
                None,
                round(100 * session.used[family] / limit) if limit else 0,
                reset,
                limit,
                limit - session.used[family],
            ]
            for family, number in wire.MODEL_NUMBERS.items()
        ],
    ]
