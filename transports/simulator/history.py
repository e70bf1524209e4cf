"""One account's saved conversations. No I/O."""

from collections import OrderedDict

import msgspec

from transports.simulator.answer import PendingWork, SimulatedAnswer

_MOST = 1000


class SavedHistoryTurn(msgspec.Struct, frozen=True, kw_only=True):
    """A saved turn."""

    rid: str
    rcid: str
    context: str
    prompt: str
    answer: SimulatedAnswer
    seconds: float
    """Time of the turn, in epoch seconds."""
    model_id: str | None = None
    """Id of the model that answered."""
    work: PendingWork | None = None

    @property
    def rcids(self) -> tuple[str, ...]:
        """The ids of its candidates."""
        return self.rcid, *(f"{self.rcid}{number}" for number in range(2, len(self.answer.others) + 2))

    def now(self, now: float) -> SimulatedAnswer:
        """Return its answer at this time."""
        return self.answer if self.work is None else self.work.answer(now)


class SavedConversation(msgspec.Struct, kw_only=True):
    """A saved conversation."""

    cid: str
    title: str
    turns: list[SavedHistoryTurn] = []

    @property
    def last(self) -> SavedHistoryTurn:
        """Its last turn; every conversation has one."""
        return self.turns[-1]


class History:
    """Conversations by their id, the one with the newest turn last."""

    def __init__(self) -> None:
        """Start without conversations."""
        self._kept: OrderedDict[str, SavedConversation] = OrderedDict()
        self.read = 0
        """Number of times that conversations were read."""

    def save(self, cid: str, turn: SavedHistoryTurn) -> None:
        """Save a turn."""
        conversation = self._kept.setdefault(cid, SavedConversation(cid=cid, title=turn.prompt[:40]))
        conversation.turns.append(turn)
        self._kept.move_to_end(cid)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def find(self, cid: str) -> SavedConversation | None:
        """Return a conversation."""
        return self._kept.get(cid)

    def delete(self, cid: str) -> None:
        """Delete a conversation."""
        self._kept.pop(cid, None)

    def newest_first(self) -> list[SavedConversation]:
        """Return all conversations, the newest first."""
        return list(reversed(self._kept.values()))

    def find_last_turn(self, place: list[str]) -> SavedHistoryTurn | None:
        """Return the turn that `[cid, rid, rcid, context]` names, if it is its conversation's last.

        `rcid` may be that of any candidate. Empty ids are not compared: a client that lost the
        answer does not know them.
        """
        cid, rid, rcid, context = place
        conversation = self._kept.get(cid)
        if conversation is None:
            return None
        last = conversation.last
        fits = rid in ("", last.rid) and rcid in ("", *last.rcids) and context in ("", last.context)
        return last if fits else None
