"""Runs work that takes minutes: sends a turn or two, then polls the saved conversation for the result.

The site makes videos and research reports after the turn's stream has ended. A handle holds the conversation and
the phase of the work, so any process with the account can resume it. No turn is sent twice: if its answer was lost,
the conversation is searched for and read.
"""

from collections.abc import AsyncGenerator
from contextlib import ExitStack
from enum import StrEnum

import anyio
import msgspec
import structlog

from protocol.model import (
    BadRequest,
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
    WorkStarted,
    estimate_tokens,
)
from transports.clock import Clock
from transports.web.codec.answer import SiteConversation
from transports.web.config import Tools
from transports.web.long_running.search import (
    ConversationSender,
    Files,
    ShowsWork,
    Slots,
    TurnSearch,
    outcome_unknown,
)
from transports.web.session.background import BackgroundWork
from transports.web.turns.detached import TURN_SECONDS, detached_turn
from transports.web.turns.saved import SavedTurn

_MAX_MISSES = 30
"""Most reads in a row that may fail or lack what is expected."""

_log = structlog.get_logger()


class Prompt(msgspec.Struct, frozen=True):
    """Text and files of a request's first turn."""

    text: str
    files: Files = ()


class Phase(StrEnum):
    """The result that the work waits for next."""

    VIDEO = "video"
    PLAN = "plan"
    CONFIRMING = "confirming"
    """The confirmation of the plan is being sent, or was sent."""
    REPORT = "report"


def shows_work(phase: Phase) -> ShowsWork:
    """Return what tells whether an answer is to the turn that begins with this phase."""
    if phase is Phase.VIDEO:
        return lambda candidate: candidate.film is not None or candidate.pending
    return lambda candidate: candidate.plan is not None or candidate.document is not None


class WorkLocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Conversation and phase of the work: the content of a handle's token."""

    cid: str
    phase: Phase
    input_tokens: int = 0
    context: str = ""
    """The site's context token of the conversation, which the next turn repeats."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(WorkLocation).decode


def location_of(handle: Handle) -> WorkLocation:
    """Read a handle of this transport.

    Raises:
        BadRequest: the handle is invalid.

    """
    try:
        return _decode(handle.token)
    except msgspec.MsgspecError:
        raise BadRequest("The handle of this answer is invalid. Send the request again.") from None


class WorkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to poll, and what to do with the conversation afterwards."""

    transport: str
    account: str
    poll_seconds: float
    delete: bool
    """Delete conversations that have been read to the end."""
    delete_seconds: float
    tools: Tools
    input_tokens: int = 0
    """The tokens of the request's prompt."""
    retry_video: bool = True
    """Search for a refused video, and request it once more if the site does not make it."""


class LongRunningWork:
    """The work of one request."""

    def __init__(
        self,
        sender: ConversationSender,
        search: TurnSearch,
        background: BackgroundWork,
        clock: Clock,
        settings: WorkSettings,
    ) -> None:
        """Start without a conversation; `search` finds the turns of `sender`."""
        self.sender, self.search, self.clock = sender, search, clock
        self.chats, self._claims = search.chats, search.claims
        self._background, self._settings = background, settings
        self.tools, self.retry_video = settings.tools, settings.retry_video
        self.location: WorkLocation | None = None
        self._misses = 0

    async def begin(self, prompt: Prompt, slots: Slots, phase: Phase) -> AsyncGenerator[Event]:
        """Send the turn that starts the work: `WorkStarted` once the conversation is known, then its events.

        From then on the turn runs to its end even if the client leaves; a settled `WorkStarted` follows.

        Raises:
            UpstreamFailed: `upstream_outcome_unknown`: the work may have started, but cannot be found.
            GatewayError: the site refused.

        """
        sent_at, before = self.clock.wall(), self.sender.conversation
        tokens = self._settings.input_tokens
        try:
            with ExitStack() as unplaced:
                unplaced.enter_context(self._claims.unplaced(prompt.text))
                async with detached_turn(self._background, self.sender.send(prompt.text, slots, prompt.files)) as turn:
                    async for event in turn:
                        now = self.sender.conversation
                        if self.location is None and now is not None and now != before:
                            turn.keep_running()
                            place = WorkLocation(cid=now.cid, phase=phase, input_tokens=tokens)
                            yield self.move_to(place, settled=False)
                            unplaced.close()
                        if not isinstance(event, Finish):
                            yield event
        except UpstreamFailed as error:
            if error.certainty is not Certainty.MAYBE_ACCEPTED:
                taken = (
                    await self.search.refused(prompt.text, sent_at, shows_work(phase))
                    if self.sender.turn and self.location is None
                    else None
                )
                if taken is None:
                    raise
                yield self.resume_at(taken, phase)
                return
            _log.info("answer_lost", account=self._settings.account, code=error.code, started=self.location is not None)
        location = self.location
        if location is None:
            now = self.sender.conversation
            cid = now.cid if now else await self.search.lost(prompt.text, sent_at, shows_work(phase))
            location = WorkLocation(cid=cid, phase=phase, input_tokens=tokens)
        yield self.move_to(location)

    def ref(self, url: str) -> MediaRef:
        """Return the reference of a video of this account."""
        settings = self._settings
        return MediaRef(transport=settings.transport, account=settings.account, kind=MediaKind.VIDEO, url=url)

    def move_to(self, location: WorkLocation, *, settled: bool = True) -> WorkStarted:
        """Set the location of the work; return the event that announces it."""
        conversation = self.sender.conversation
        if conversation is not None and conversation.context:
            location = msgspec.structs.replace(location, context=conversation.context)
        self.location = location
        self._claims.add(location.cid)
        settings = self._settings
        return WorkStarted(
            handle=Handle(transport=settings.transport, account=settings.account, token=_encode(location).decode()),
            settled=settled,
        )

    async def read_turns(self) -> list[SavedTurn]:
        """Return the conversation's turns, newest first; empty if this read failed.

        Raises:
            UpstreamFailed: too many reads failed in a row, or the conversation is gone.
            GatewayError: the account can no longer be used.

        """
        assert self.location is not None, "read_turns needs a location"  # noqa: S101
        try:
            turns = await self.chats.turns(self.location.cid)
        except (UpstreamFailed, RateLimited) as error:
            self.note_miss(error)
            return []
        if not turns:
            self.note_miss()
        return turns

    def reset_misses(self) -> None:
        """Reset the count of misses: the expected turn was found."""
        self._misses = 0

    def note_miss(self, error: GatewayError | None = None) -> None:
        """Count a read that failed or lacked the expected turn.

        Raises:
            GatewayError: too many misses in a row: `error`, or that the outcome is unknown.

        """
        self._misses += 1
        if self._misses >= _MAX_MISSES:
            raise error or outcome_unknown()

    async def wait_to_poll(self) -> None:
        """Sleep until the next poll."""
        await self.clock.sleep(self._settings.poll_seconds)

    def finish(self, text: str) -> Finish:
        """Return the final event, and schedule the deletion of the conversation."""
        assert self.location is not None, "finish needs a location"  # noqa: S101
        cid, settings = self.location.cid, self._settings
        if settings.delete:
            self._background.later(settings.delete_seconds, "delete_conversation", lambda: self.chats.delete(cid))
        usage = Usage(input_tokens=self.location.input_tokens, output_tokens=estimate_tokens(text))
        return Finish(reason="stop", usage=usage)

    async def send_next(self, turn: SavedTurn, text: str, slots: Slots) -> None:
        """Send the next turn after `turn`; a broken stream is not an error, as the result is read by polling.

        The turn is sent to its end even if the client leaves: after half a turn it would be unknown whether the site
        has it.

        Raises:
            GatewayError: the site refused.

        """
        assert self.location is not None, "send_next needs a location"  # noqa: S101
        location = self.location
        self.sender.conversation = SiteConversation(
            cid=location.cid, rid=turn.rid, rcid=turn.rcid, context=location.context, turn=turn.index
        )
        try:
            async with detached_turn(self._background, self.sender.send(text, slots)) as detached:
                detached.keep_running()
                with anyio.move_on_after(TURN_SECONDS):
                    async for _ in detached:
                        pass
        except UpstreamFailed as error:
            if error.certainty is not Certainty.MAYBE_ACCEPTED:
                raise

    def resume_at(self, cid: str, phase: Phase) -> WorkStarted:
        """Continue in a conversation that was found; return the event that announces it."""
        if self.sender.conversation is not None and self.sender.conversation.cid != cid:
            self.sender.conversation = None
        return self.move_to(WorkLocation(cid=cid, phase=phase, input_tokens=self._settings.input_tokens))

    def discard(self) -> None:
        """Delete the conversation of the last turn: it holds no work."""
        conversation, settings = self.sender.conversation, self._settings
        if conversation is not None and settings.delete:
            cid = conversation.cid
            self._background.later(0.0, "delete_conversation", lambda: self.chats.delete(cid))


FRESH: Slots = {}
"""No additional slots."""
