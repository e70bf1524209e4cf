"""Finds the saved conversation of a turn that the site may have taken, although its answer was lost or is a refusal.

Theory of operation. The id of a turn decides, if the site has named it. Otherwise only the prompt is known, and other
conversations of the account may have the same one. So a conversation with this prompt counts only if

- no other turn is known to be in it: of this process by `ConversationClaims`, of others by the store (`is_watched`),
- its answer shows the work, or is not complete: an answer with pictures, or with a text alone, is to another request,
- and no other turn with the same prompt lacks a conversation at the same time: the search waits for that.

If it cannot be decided, the outcome is unknown, which is an error: no turn is sent twice, and no request gets the
result of another one.

Example: a picture and then a video are requested with the prompt "a cat". The site refuses the video's turn with 1053.
The search finds the picture's conversation by its prompt and skips it, so nothing is found, and the video is requested
once more.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from protocol.model import Event, RateLimited, UpstreamFailed
from transports.web.codec.answer import SiteConversation
from transports.web.codec.candidate import Candidate, read_candidate
from transports.web.codec.encode import Uploaded
from transports.web.session.claims import ConversationClaims
from transports.web.turns.saved import Chats, SavedTurn

_MAX_SEARCHES = 5
"""Most searches for a conversation."""
_SKEW_SECONDS = 120
"""Most seconds that the site's clock may differ from ours."""
_CHATS_READ = 10
_MAX_REFUSED_SEARCHES = 3
"""Most searches for a turn that the site has named and refused."""

Slots = Mapping[int, object]
Files = tuple[Uploaded, ...]

ShowsWork = Callable[[Candidate], bool]
"""Returns whether an answer shows the work of the turn that is searched for."""


class ConversationSender(Protocol):
    """Sends turns with one account and remembers the conversation of the last one."""

    conversation: SiteConversation | None
    turn: str
    """Id of the last turn, if the site has named it, even if it refused the turn."""

    def send(self, text: str, slots: Slots, files: Files = ()) -> AsyncGenerator[Event]:
        """Send a turn in the conversation of the last one; yield its events."""
        ...


def outcome_unknown() -> UpstreamFailed:
    """Return the error of work that may have started but cannot be found."""
    return UpstreamFailed(
        "The upstream may have started the work, but its result cannot be found. The request was not sent again.",
        code="upstream_outcome_unknown",
    )


class TurnSearch:
    """Searches the saved conversations of one account for the last turn of a sender."""

    def __init__(
        self,
        sender: ConversationSender,
        chats: Chats,
        claims: ConversationClaims,
        is_watched: Callable[[str], Awaitable[bool]],
        wait: Callable[[], Awaitable[None]],
    ) -> None:
        """`wait` sleeps until the next search; `is_watched` says whether another request awaits a conversation."""
        self._sender, self.chats, self.claims = sender, chats, claims
        self._is_watched, self._wait = is_watched, wait

    async def lost(self, text: str, sent_at: float, shows: ShowsWork) -> str:
        """Return the conversation of a turn whose answer was lost.

        Raises:
            UpstreamFailed: `upstream_outcome_unknown`: it was not found, or cannot be told from others.

        """
        found = await self._search(text, sent_at, shows, _MAX_SEARCHES)
        if found is None:
            raise outcome_unknown()
        return found

    async def refused(self, text: str, sent_at: float, shows: ShowsWork) -> str | None:
        """Return the conversation of a turn that the site refused but stored, or None.

        The site may list it late, so a turn that the site had named is searched for several times.

        Raises:
            UpstreamFailed: `upstream_outcome_unknown`: the last search failed, or it cannot be told from others.

        """
        return await self._search(text, sent_at, shows, _MAX_REFUSED_SEARCHES if self._sender.turn else 1)

    async def _search(self, text: str, sent_at: float, shows: ShowsWork, searches: int) -> str | None:
        """Search up to `searches` times, or longer while another turn with this prompt has no conversation."""
        with self.claims.unplaced(text):
            for search in range(1, _MAX_SEARCHES + 1):
                if search > 1:
                    await self._wait()
                found: list[str] | None = None
                certain = False
                with suppress(UpstreamFailed, RateLimited):
                    found, certain = await self._found(text, sent_at, shows)
                if found and (certain or self.claims.count_unplaced(text) == 1):
                    if len(found) == 1:
                        return found[0]
                    break
                if not found and search >= searches:
                    if found is None:
                        break
                    return None
        raise outcome_unknown()

    async def _found(self, text: str, sent_at: float, shows: ShowsWork) -> tuple[list[str], bool]:
        """Return the conversations that may hold the turn, and whether it is certain: its id was found."""
        rid, now = self._sender.turn, self._sender.conversation
        if now is not None:
            turns = await self.chats.turns(now.cid)
            if turns and (turns[0].has_prompt(text) or (rid and turns[0].rid == rid)):
                return [now.cid], True
        chats = sorted(await self.chats.latest(), key=lambda chat: -chat.seconds)
        named = [chat.cid for chat in chats if rid and chat.rid == rid]
        alike: list[str] = []
        for chat in [] if named else chats[:_CHATS_READ]:
            recent = chat.seconds >= sent_at - _SKEW_SECONDS
            turns = await self.chats.turns(chat.cid) if rid or recent else []
            if rid and any(turn.rid == rid for turn in turns):
                return [chat.cid], True
            fits = recent and len(turns) == 1 and turns[0].has_prompt(text) and _may_show(turns[0], shows)
            if fits and chat.cid not in self.claims and not await self._is_watched(chat.cid):
                alike.append(chat.cid)
        return (named, True) if named else (alike, False)


def _may_show(turn: SavedTurn, shows: ShowsWork) -> bool:
    """Return whether a turn shows the work, or does not show yet what it makes."""
    candidate = read_candidate(turn.candidates[0]) if turn.candidates else None
    return candidate is None or shows(candidate) or not (candidate.complete or candidate.pictures)
