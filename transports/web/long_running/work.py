"""Work that takes minutes: said in a turn or two, then read from its saved conversation until it is there.

The site makes videos and researches after the stream of the turn that asked for them has ended. What is known of
the work is where its conversation is and how far it had come: a handle, that any process with the account can go on
from. Nothing is said twice: where the answer to a turn was lost, the conversation is looked for and read.
"""

from collections.abc import AsyncGenerator, Mapping
from enum import StrEnum
from typing import Protocol

import anyio
import msgspec
import structlog

from protocol.model import (
    BadRequest,
    Begun,
    Certainty,
    Event,
    Finish,
    GatewayError,
    Handle,
    MediaKind,
    MediaRef,
    RateLimited,
    UpstreamFailed,
    Usage,
    estimate_tokens,
)
from transports.clock import Clock
from transports.web.codec.decode import SiteConversation
from transports.web.codec.encode import Uploaded
from transports.web.config import Tools
from transports.web.session.background import BackgroundWork
from transports.web.turns.detached import TURN_SECONDS, detached_turn
from transports.web.turns.saved import Chats, SavedTurn

_MAX_MISSES = 30
"""So many readings in a row may fail, or not show what should be there."""
_MAX_SEARCHES = 5
"""So often a conversation is looked for."""
_SKEW_SECONDS = 120
"""The site's clock and ours may differ by so much."""
_CHATS_READ = 10
_MAX_LOOKS = 3
"""So often a turn is looked for that the site has named, and refused."""

_log = structlog.get_logger()

Slots = Mapping[int, object]
Files = tuple[Uploaded, ...]


class Prompt(msgspec.Struct, frozen=True):
    """What a request's first turn says."""

    text: str
    files: Files = ()


class Phase(StrEnum):
    """What the conversation is waited for."""

    VIDEO = "video"
    PLAN = "plan"
    CONFIRMING = "confirming"
    """The plan's confirmation has been said, or is just being said."""
    REPORT = "report"


class WorkLocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where work goes on: what a handle's token holds."""

    cid: str
    phase: Phase
    input_tokens: int = 0
    context: str = ""
    """The site's word for the conversation, which the next turn repeats."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(WorkLocation).decode


def location_of(handle: Handle) -> WorkLocation:
    """Read a handle of this transport.

    Raises:
        BadRequest: it is none.

    """
    try:
        return _decode(handle.token)
    except msgspec.MsgspecError:
        raise BadRequest("This answer cannot be picked up: its handle is not understood.") from None


def outcome_unknown() -> UpstreamFailed:
    """Return the error of work that may have begun and cannot be found."""
    return UpstreamFailed(
        "The upstream may have begun the work, and no answer of it can be found; it was not asked again.",
        code="upstream_outcome_unknown",
    )


class ConversationSender(Protocol):
    """Says turns in one account's name; remembers the conversation that the last one was in."""

    conversation: SiteConversation | None
    turn: str
    """Id of the last turn, where the site has named one, be it one that it refused."""

    def send(self, text: str, slots: Slots, files: Files = ()) -> AsyncGenerator[Event]:
        """Say a turn, in the conversation of the last one; yield what its stream says."""
        ...


class WorkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to wait."""

    transport: str
    account: str
    poll_seconds: float
    delete: bool
    """Delete conversations that have been read to the end."""
    delete_seconds: float
    tools: Tools
    retry_video: bool = True
    """Look what has become of a video that the site refused, and ask once more for it where it is not made."""


class LongRunningWork:
    """One request's work."""

    def __init__(
        self, sender: ConversationSender, chats: Chats, background: BackgroundWork, clock: Clock, settings: WorkSettings
    ) -> None:
        """Begin with no conversation."""
        self.sender, self.chats, self.clock = sender, chats, clock
        self._background, self._settings = background, settings
        self.tools, self.retry_video = settings.tools, settings.retry_video
        self.location: WorkLocation | None = None
        self._misses = 0

    async def begin(self, prompt: Prompt, slots: Slots, phase: Phase) -> AsyncGenerator[Event]:
        """Say the turn that begins the work; yield `Begun` as soon as it is known where, and what the stream says.

        From then on it is said to its end whoever leaves; a `Begun` that is settled tells of it.

        Raises:
            UpstreamFailed: `upstream_outcome_unknown`: it may have begun, and cannot be found.
            GatewayError: the site refused.

        """
        said_at, before = self.clock.wall(), self.sender.conversation
        tokens = estimate_tokens(prompt.text)
        try:
            async with detached_turn(self._background, self.sender.send(prompt.text, slots, prompt.files)) as turn:
                async for event in turn:
                    now = self.sender.conversation
                    if self.location is None and now is not None and now != before:
                        turn.keep_running()
                        yield self.move_to(WorkLocation(cid=now.cid, phase=phase, input_tokens=tokens), settled=False)
                    if not isinstance(event, Finish):
                        yield event
        except UpstreamFailed as error:
            if error.certainty is not Certainty.MAYBE_ACCEPTED:
                taken = (
                    await self.find_refused_turn(prompt.text, said_at)
                    if self.sender.turn and self.location is None
                    else None
                )
                if taken is None:
                    raise
                yield self.resume_at(taken, phase, prompt)
                return
            _log.info("answer_lost", account=self._settings.account, code=error.code, begun=self.location is not None)
        location = self.location
        if location is None:
            now = self.sender.conversation
            cid = now.cid if now else await self._find_by_prompt(prompt.text, said_at)
            location = WorkLocation(cid=cid, phase=phase, input_tokens=tokens)
        yield self.move_to(location)

    def ref(self, url: str) -> MediaRef:
        """Return where a video of this account is."""
        settings = self._settings
        return MediaRef(transport=settings.transport, account=settings.account, kind=MediaKind.VIDEO, url=url)

    def move_to(self, location: WorkLocation, *, settled: bool = True) -> Begun:
        """Note where the work is now; return the event that tells."""
        conversation = self.sender.conversation
        if conversation is not None and conversation.context:
            location = msgspec.structs.replace(location, context=conversation.context)
        self.location = location
        settings = self._settings
        return Begun(
            handle=Handle(transport=settings.transport, account=settings.account, token=_encode(location).decode()),
            settled=settled,
        )

    async def read_turns(self) -> list[SavedTurn]:
        """Read the conversation, newest turn first; nothing where it cannot be read for once.

        Raises:
            UpstreamFailed: it was not to be read so often, or is gone.
            GatewayError: the account is of no use any more.

        """
        assert self.location is not None, "work is looked at where it is"  # noqa: S101
        try:
            turns = await self.chats.turns(self.location.cid)
        except (UpstreamFailed, RateLimited) as error:
            self.note_miss(error)
            return []
        if not turns:
            self.note_miss()
        return turns

    def reset_misses(self) -> None:
        """Note that what was looked for is there."""
        self._misses = 0

    def note_miss(self, error: GatewayError | None = None) -> None:
        """Note that what was looked for is not there, though it should be.

        Raises:
            GatewayError: it was so too often in a row: `error`, or that nobody knows what has become of the work.

        """
        self._misses += 1
        if self._misses >= _MAX_MISSES:
            raise error or outcome_unknown()

    async def wait_to_poll(self) -> None:
        """Wait until it is time to look again."""
        await self.clock.sleep(self._settings.poll_seconds)

    def finish(self, text: str, thoughts: str = "") -> Finish:
        """Return the last event; the conversation, read to its end, will be deleted."""
        assert self.location is not None, "work ends where it is"  # noqa: S101
        cid, settings = self.location.cid, self._settings
        if settings.delete:
            self._background.later(settings.delete_seconds, "delete_conversation", lambda: self.chats.delete(cid))
        reasoning = estimate_tokens(thoughts)
        usage = Usage(
            input_tokens=self.location.input_tokens,
            output_tokens=estimate_tokens(text) + reasoning,
            reasoning_tokens=reasoning,
        )
        return Finish(reason="stop", usage=usage)

    async def send_next(self, turn: SavedTurn, text: str, slots: Slots) -> None:
        """Say the next turn, behind `turn`; that its answer breaks off is no failure: it is read afterwards.

        Whoever waits for the work may leave meanwhile: what is being said is said to its end all the same, since
        half a turn would leave nobody knowing whether the site has it.

        Raises:
            GatewayError: the site refused.

        """
        assert self.location is not None, "work goes on where it is"  # noqa: S101
        location = self.location
        self.sender.conversation = SiteConversation(
            cid=location.cid, rid=turn.rid, rcid=turn.rcid, context=location.context, turn=turn.index
        )
        try:
            async with detached_turn(self._background, self.sender.send(text, slots)) as said:
                said.keep_running()
                with anyio.move_on_after(TURN_SECONDS):
                    async for _ in said:
                        pass
        except UpstreamFailed as error:
            if error.certainty is not Certainty.MAYBE_ACCEPTED:
                raise

    async def _find_by_prompt(self, text: str, said_at: float) -> str:
        """Return the conversation that a turn went to whose answer was lost."""
        found: list[str] = []
        for _ in range(_MAX_SEARCHES):
            try:
                found = [cid async for cid in self._matching(text, said_at)]
            except (UpstreamFailed, RateLimited):
                found = []
            if found:
                break
            await self.wait_to_poll()
        if len(found) != 1:  # of two alike, nobody can tell which is whose
            raise outcome_unknown()
        return found[0]

    async def _matching(self, text: str, said_at: float) -> AsyncGenerator[str]:
        chats = [chat for chat in await self.chats.latest() if chat.seconds >= said_at - _SKEW_SECONDS]
        for chat in sorted(chats, key=lambda chat: -chat.seconds)[:_CHATS_READ]:
            turns = await self.chats.turns(chat.cid)
            if len(turns) == 1 and turns[0].has_prompt(text):
                yield chat.cid

    async def find_refused_turn(self, text: str, said_at: float) -> str | None:
        """Return the conversation of a turn that the site refused and took all the same; None: there is none.

        The site may list it late: it is looked for a few times where the site had named the turn before it refused it.

        Raises:
            UpstreamFailed: `upstream_outcome_unknown`: the last look failed, or found several that fit.

        """
        rid = self.sender.turn
        looks = _MAX_LOOKS if rid else 1
        for look in range(1, looks + 1):
            try:
                found = await self._find_by_turn(text, said_at, rid)
            except (UpstreamFailed, RateLimited):
                if look == looks:
                    raise outcome_unknown() from None
                found = []
            if len(found) > 1:
                raise outcome_unknown()
            if found:
                return found[0]
            if look < looks:
                await self.wait_to_poll()
        return None

    async def _find_by_turn(self, text: str, said_at: float, rid: str) -> list[str]:
        """Return the conversations that a refused turn may be in: the one with its id, else those with its words."""
        now = self.sender.conversation
        if now is not None:
            turns = await self.chats.turns(now.cid)
            if turns and (turns[0].has_prompt(text) or (rid and turns[0].rid == rid)):
                return [now.cid]
        if not rid:
            return [cid async for cid in self._matching(text, said_at)]
        chats = sorted(await self.chats.latest(), key=lambda chat: -chat.seconds)
        named = [chat.cid for chat in chats if chat.rid == rid]
        fitting: list[str] = []
        for chat in [] if named else chats[:_CHATS_READ]:
            turns = await self.chats.turns(chat.cid)
            if any(turn.rid == rid for turn in turns):
                return [chat.cid]
            if len(turns) == 1 and turns[0].has_prompt(text) and chat.seconds >= said_at - _SKEW_SECONDS:
                fitting.append(chat.cid)
        return named or fitting

    def resume_at(self, cid: str, phase: Phase, prompt: Prompt) -> Begun:
        """Go on in a conversation that was found; return the event that tells where the work is."""
        if self.sender.conversation is not None and self.sender.conversation.cid != cid:
            self.sender.conversation = None
        return self.move_to(WorkLocation(cid=cid, phase=phase, input_tokens=estimate_tokens(prompt.text)))

    def discard(self) -> None:
        """Have the site forget the conversation of the last turn: no work is in it."""
        conversation, settings = self.sender.conversation, self._settings
        if conversation is not None and settings.delete:
            cid = conversation.cid
            self._background.later(0.0, "delete_conversation", lambda: self.chats.delete(cid))


FRESH: Slots = {}
"""No slot besides those of every turn."""
