"""Lists, reads and deletes the conversations that the site stores for an account.

Source: "Batch calls".
"""

from typing import Any

import msgspec

from protocol.model import UpstreamFailed
from transports.web import wire
from transports.web.codec import jspb
from transports.web.session.session import Session

_TURNS_READ = 10


class SavedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a saved conversation."""

    rid: str
    prompt: str
    candidates: tuple[Any, ...]
    """As in StreamGenerate's answer."""
    index: int = 0
    """Position in the conversation, from 0; of long conversations, in the part of it that was read."""

    def has_prompt(self, text: str) -> bool:
        """Return whether the turn's prompt is `text`; white space may differ."""
        return self.prompt.split() == text.split()

    @property
    def rcid(self) -> str:
        """The first candidate's id."""
        return jspb.identifier(self.candidates[0], wire.CANDIDATE_ID) if self.candidates else ""


class SavedChat(msgspec.Struct, frozen=True, kw_only=True):
    """A saved conversation, as the account's list names it."""

    cid: str
    seconds: int
    """The epoch second of its last turn."""
    rid: str = ""
    """The id of its last turn, where the list names it."""


def turns_payload(cid: str) -> str:
    """Return the payload that asks for a conversation's turns."""
    return msgspec.json.encode([cid, _TURNS_READ, None, 1, [1], [4], None, 1]).decode()


def delete_payload(cid: str) -> str:
    """Return the payload that deletes a conversation."""
    return msgspec.json.encode([cid]).decode()


def decode_turns(payload: Any) -> list[SavedTurn]:
    """Read the answer of `hNvQHb`: turns, newest first."""
    turns = jspb.array(payload, wire.TURNS)
    return [
        SavedTurn(
            index=len(turns) - 1 - position,
            rid=jspb.identifier(turn, *wire.TURN_RID),
            prompt=jspb.text(turn, *wire.TURN_PROMPT) or "",
            candidates=tuple(jspb.array(turn, *wire.TURN_CANDIDATES)),
        )
        for position, turn in enumerate(turns)
    ]


def decode_chats(payload: Any) -> list[SavedChat]:
    """Read the answer of `MaZiqc`: conversations, as the site orders them."""
    return [
        SavedChat(
            cid=cid,
            seconds=jspb.integer(chat, *wire.CHAT_SECONDS) or 0,
            rid=jspb.identifier(chat, *wire.CHAT_LAST_TURN),
        )
        for chat in jspb.array(payload, wire.CHATS)
        if (cid := jspb.text(chat, wire.CHAT_CID))
    ]


class Chats:
    """The saved conversations of one account."""

    def __init__(self, session: Session) -> None:
        """Use this session for all calls."""
        self._session = session

    async def turns(self, cid: str) -> list[SavedTurn]:
        """Return a conversation's latest turns, newest first; empty if the conversation does not exist.

        Raises:
            GatewayError: the site did not answer as it should.

        """
        return decode_turns(await self._call(wire.RPC_TURNS, turns_payload(cid)))

    async def latest(self) -> list[SavedChat]:
        """Return the account's latest conversations.

        Raises:
            GatewayError: the site did not answer as it should.

        """
        return decode_chats(await self._call(wire.RPC_CHATS, wire.CHATS_PAYLOAD))

    async def delete(self, *cids: str) -> None:
        """Delete conversations, in one call.

        Raises:
            GatewayError: the site did not answer as it should.

        """
        await self._call(wire.RPC_DELETE, *map(delete_payload, cids))

    async def _call(self, rpc: str, *payloads: str) -> Any:
        """Make batch calls of one kind."""
        answers = await self._session.ask(*((rpc, payload) for payload in payloads))
        answer = answers.get(rpc)
        if answer is None:
            raise UpstreamFailed(
                "The upstream refused to read or delete saved conversations of this account.", code="upstream_rejected"
            )
        return answer
